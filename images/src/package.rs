//! `images package`: one file out of a Debian package, verified like every other input. The tests fetch
//! clients this way that the host's own release does not package as they need them.

use crate::archive::{Archive, Source};
use crate::cache::{self, Cache};
use crate::deb::PackageFiles;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes `file` of the package `name` to `output`, executable; returns the package's version.
pub(crate) async fn run(
    name: &str,
    file: &str,
    output: &Path,
    source: Source,
    cache: Cache,
) -> Result<String> {
    let archive = Archive::open(source, cache).await?;
    let package = archive.packages().await?.find(name)?;
    let files = PackageFiles::read(&archive.package_file(&package).await?, |path| path == file)?;
    let bytes = files.get(file)?;
    if let Some(parent) = output.parent() {
        fs::create_dir_all(parent).with_context(|| format!("Could not create {}", parent.display()))?;
    }
    cache::write_atomically(output, bytes)
        .and_then(|()| fs::set_permissions(output, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("Could not write {}", output.display()))?;
    Ok(package.version)
}
