//! The command line.

use crate::apt_sources;
use crate::archive::Source;
use crate::build;
use crate::busybox_image;
use crate::cache::Cache;
use crate::manifest;
use crate::package;
use crate::report;
use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

/// Build the guest image of machine from pinned, verified inputs
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the guest image: kernel, initramfs and manifest
    Build {
        /// The static machine-engine program
        #[arg(long, value_name = "PATH")]
        engine: PathBuf,
        /// Folder of the image; replaced as a whole
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        #[command(flatten)]
        source: SourceArguments,
    },
    /// Write a small busybox image for "docker load"
    Busybox {
        /// Where the archive is written
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// Name and tag of the image
        #[arg(long, default_value = "busybox:latest")]
        name: String,
        #[command(flatten)]
        source: SourceArguments,
    },
    /// Write one file of a Debian package, verified, and make it executable
    Package {
        /// Name of the package
        name: String,
        /// Path inside the package, such as bin/docker (usr/ before bin, sbin and lib is left out)
        #[arg(long, value_name = "PATH")]
        file: String,
        /// Where it is written
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        source: SourceArguments,
    },
    /// Verify an image folder and list what it was made from
    Manifest {
        /// Folder of the image
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct SourceArguments {
    /// Debian archive [default: the one in this host's apt sources]
    #[arg(long, value_name = "URL", env = "MACHINE_DEBIAN_MIRROR")]
    mirror: Option<String>,
    /// Debian release
    #[arg(long, default_value = "trixie", value_parser = parse_suite)]
    suite: String,
    /// Keys that may sign the archive's index
    #[arg(long, value_name = "FILE", default_value = "/usr/share/keyrings/debian-archive-keyring.gpg")]
    keyring: PathBuf,
    /// Folder of downloads [default: $XDG_CACHE_HOME/machine/downloads or ~/.cache/machine/downloads]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Use only what has been downloaded before
    #[arg(long)]
    offline: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Runs one command.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Build { engine, output, source } => {
            let (source, cache) = source.resolve()?;
            let image = build::run(&engine, &output, source, cache).await?;
            report::data(&build::summary(&output, &image))?;
        }
        Command::Busybox { output, name, source } => {
            let (source, cache) = source.resolve()?;
            let id = busybox_image::run(&name, &output, source, cache).await?;
            report::data(&format!("{}  {name}  {id}\n", output.display()))?;
        }
        Command::Package { name, file, output, source } => {
            let (source, cache) = source.resolve()?;
            let version = package::run(&name, &file, &output, source, cache).await?;
            report::data(&format!("{}  {name} {version}\n", output.display()))?;
        }
        Command::Manifest { folder, format } => {
            let image = manifest::read(&folder)?;
            manifest::verify(&folder, &image)?;
            report::data(&match format {
                Format::Table => manifest::table(&image),
                Format::Json => serde_json::to_string_pretty(&image)? + "\n",
            })?;
        }
    }
    Ok(())
}

impl SourceArguments {
    fn resolve(self) -> Result<(Source, Cache)> {
        let mirror = match self.mirror.filter(|mirror| !mirror.is_empty()) {
            Some(mirror) => mirror.trim_end_matches('/').to_owned(),
            None => apt_sources::debian_mirror(Path::new("/etc/apt"))?,
        };
        let cache = Cache::open(self.cache)?;
        Ok((Source { mirror, suite: self.suite, keyring: self.keyring, offline: self.offline }, cache))
    }
}

/// A suite becomes part of a URL.
fn parse_suite(text: &str) -> Result<String, String> {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if plain { Ok(text.to_owned()) } else { Err("expected a release such as trixie".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        assert!(parse_suite("trixie-backports").is_ok());
        assert!(parse_suite("../etc").is_err() && parse_suite("").is_err());
    }
}
