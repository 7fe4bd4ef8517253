//! The bundle of certificate authorities, as Debian's `update-ca-certificates` would make it.

use crate::deb::{DebError, PackageFiles};
use std::path::Path;

const FOLDER: &str = "usr/share/ca-certificates/mozilla/";

/// Reads Mozilla's authorities out of the `ca-certificates` package: one PEM text, ordered by name.
pub(crate) fn bundle(package: &Path) -> Result<Vec<u8>, DebError> {
    let files = PackageFiles::read(package, |path| path.starts_with(FOLDER) && path.ends_with(".crt"))?;
    let mut bundle = Vec::new();
    for (_, certificate) in files.iter() {
        bundle.extend_from_slice(certificate);
        if !certificate.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    if bundle.is_empty() {
        return Err(DebError::NoFile { path: package.to_path_buf(), file: format!("{FOLDER}*.crt") });
    }
    Ok(bundle)
}
