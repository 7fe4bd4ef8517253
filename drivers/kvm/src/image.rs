//! The guest image as the driver finds it: its manifest.

use guest_contract::{
    ImageManifest,
    image::{Artifact, MANIFEST_VERSION},
    paths::image_files,
};
use machine_drivers::DriverError;
use std::{fs, path::Path};

/// Reads the manifest and makes sure that its files are there.
pub(crate) fn open(folder: &Path) -> Result<ImageManifest, DriverError> {
    let path = folder.join(image_files::MANIFEST);
    let bytes = fs::read(&path)
        .map_err(|error| damaged(format!("The guest image {} cannot be read: {error}", path.display())))?;
    let manifest: ImageManifest = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(format!("The guest image {} is damaged: {error}", path.display())))?;
    if manifest.version > MANIFEST_VERSION {
        return Err(damaged(format!("The guest image {} needs a newer release of machine", path.display())));
    }
    for artifact in [&manifest.kernel, &manifest.initramfs] {
        whole(folder, artifact)?;
    }
    Ok(manifest)
}

fn whole(folder: &Path, artifact: &Artifact) -> Result<(), DriverError> {
    let plain = Path::new(&artifact.file).file_name() == Some(artifact.file.as_ref());
    let hash = artifact.unpacked_sha256.len() == 64
        && artifact.unpacked_sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain || !hash {
        return Err(damaged(format!("The guest image in {} has a damaged manifest", folder.display())));
    }
    let path = folder.join(&artifact.file);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() == artifact.size => Ok(()),
        Ok(metadata) => Err(damaged(format!(
            "{} has {} bytes instead of {}",
            path.display(),
            metadata.len(),
            artifact.size
        ))),
        Err(error) => Err(damaged(format!("The guest image's {} cannot be read: {error}", path.display()))),
    }
}

/// A guest image that cannot be used, and what to do about it.
pub(crate) fn damaged(what: String) -> DriverError {
    DriverError::Prerequisite { what, hint: "Build the guest image again with: make build".to_owned() }
}
