//! `images`: builds the guest image of `machine` from pinned and verified inputs.

mod apt_sources;
mod archive;
mod build;
mod busybox;
mod busybox_image;
mod cache;
mod certificates;
mod cli;
mod control;
mod deb;
mod digest;
mod download;
mod elf;
mod guest_tree;
mod initramfs;
mod kernel;
mod keyring;
mod manifest;
mod module_lists;
mod modules;
mod package;
mod packages_index;
mod release;
mod report;
mod version;

use clap::Parser;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::failure(&error);
            ExitCode::FAILURE
        }
    }
}
