//! `make bench`: our figures and, side by side in the same run, those of what a user would have without
//! us. Prints one `name value unit` line a figure and the ratio below each pair. A quiet machine helps:
//! `make bench BENCH="guest native tunnel"` picks sections.

mod build;
mod folders;
mod guest;
mod images;
mod native;
mod native_peer;
mod provision;
mod sample;
mod tunnel;
mod vm_peer;

use anyhow::{Result, bail};

#[expect(clippy::print_stderr, reason = "progress of a program for people")]
fn main() -> Result<()> {
    let mut sections: Vec<String> = std::env::args().skip(1).collect();
    if sections.is_empty() {
        sections = ["guest", "tunnel", "folders", "native", "images", "build"].map(str::to_owned).into();
    }
    for section in sections {
        eprintln!("# {section}");
        match section.as_str() {
            "guest" => guest::bench()?,
            "tunnel" => tunnel::bench()?,
            "folders" => folders::bench()?,
            "native" => native::bench()?,
            "images" => images::bench()?,
            "build" => build::bench()?,
            "provision" => provision::bench()?,
            other => {
                bail!(
                    "There is no section {other}; there are guest, tunnel, folders, native, images, build and provision"
                )
            }
        }
    }
    Ok(())
}
