//! The image folder as a whole: read, checked, shown, and replaced in one step.

use anyhow::{Context, Result, bail};
use guest_contract::image::{Artifact, ImageManifest, Input, MANIFEST_VERSION};
use guest_contract::paths::image_files;
use guest_contract::version::RELEASE;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::digest;

/// Reads the manifest of an image folder.
pub(crate) fn read(folder: &Path) -> Result<ImageManifest> {
    let path = folder.join(image_files::MANIFEST);
    let text = fs::read(&path).with_context(|| format!("Could not read {}", path.display()))?;
    let manifest: ImageManifest = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a guest image's manifest", path.display()))?;
    if manifest.version > MANIFEST_VERSION {
        bail!(
            "{} has version {}, newer than the {MANIFEST_VERSION} that this program reads",
            path.display(),
            manifest.version
        );
    }
    Ok(manifest)
}

/// Writes the manifest into an image folder.
pub(crate) fn write(folder: &Path, manifest: &ImageManifest) -> Result<()> {
    let mut text = serde_json::to_string_pretty(manifest)?;
    text.push('\n');
    let path = folder.join(image_files::MANIFEST);
    fs::write(&path, text).with_context(|| format!("Could not write {}", path.display()))
}

/// Checks the artifacts of a folder against its manifest.
pub(crate) fn verify(folder: &Path, manifest: &ImageManifest) -> Result<()> {
    for artifact in [&manifest.kernel, &manifest.initramfs] {
        verify_artifact(folder, artifact)?;
    }
    Ok(())
}

fn verify_artifact(folder: &Path, artifact: &Artifact) -> Result<()> {
    let path = folder.join(&artifact.file);
    let (sha256, size) =
        digest::of_file(&path).with_context(|| format!("Could not read {}", path.display()))?;
    if (sha256.as_str(), size) != (artifact.sha256.as_str(), artifact.size) {
        bail!("{} is not the file that the manifest describes: its sha256 is {sha256}", path.display());
    }
    Ok(())
}

/// Whether `folder` already holds an intact image made from `inputs` by this release.
///
/// `inputs` are those that decide all others: a signed index names every package's digest, so the
/// packages themselves need no look.
pub(crate) fn is_current(folder: &Path, inputs: &[Input]) -> Option<ImageManifest> {
    let manifest = read(folder).ok()?;
    let same_inputs = inputs.iter().all(|input| manifest.inputs.contains(input));
    let same_format = manifest.version == MANIFEST_VERSION && manifest.release == RELEASE;
    (same_inputs && same_format && verify(folder, &manifest).is_ok()).then_some(manifest)
}

/// Puts `new` in the place of `folder` in one step: who reads `folder` sees the old image or the new.
pub(crate) fn replace(new: &Path, folder: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, folder, RenameFlags::EXCHANGE) {
        // The old image now lies under the new one's temporary name; its owner removes it.
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::NOENT) => fs::rename(new, folder),
        // File systems that cannot exchange: a short gap instead.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::remove_dir_all(folder)?;
            fs::rename(new, folder)
        }
        Err(error) => Err(error.into()),
    }
}

/// The inputs as a table for people.
pub(crate) fn table(manifest: &ImageManifest) -> String {
    let header = ["INPUT", "VERSION", "ORIGIN", "SHA256"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header)
        .chain(manifest.inputs.iter().map(|input| {
            [input.name.clone(), input.version.clone(), input.origin.clone(), input.sha256.clone()]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, version, origin) = (width(0), width(1), width(2));
    rows.iter().fold(String::new(), |mut text, row| {
        let [a, b, c, d] = row;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{a:name$}  {b:version$}  {c:origin$}  {d}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, contents: &str) -> Input {
        Input {
            name: name.to_owned(),
            version: "1".to_owned(),
            sha256: digest::of_bytes(contents.as_bytes()),
            origin: "trixie".to_owned(),
        }
    }

    fn image(folder: &Path, inputs: Vec<Input>) -> ImageManifest {
        let artifact = |file: &str| {
            fs::write(folder.join(file), file).unwrap();
            Artifact {
                file: file.to_owned(),
                size: file.len() as u64,
                sha256: digest::of_bytes(file.as_bytes()),
                unpacked_size: 1,
                unpacked_sha256: digest::of_bytes(b"x"),
            }
        };
        let manifest = ImageManifest {
            version: MANIFEST_VERSION,
            release: RELEASE.to_owned(),
            kernel_release: "6.12".to_owned(),
            kernel: artifact(image_files::KERNEL),
            initramfs: artifact(image_files::INITRAMFS),
            command_line: "quiet".to_owned(),
            inputs,
        };
        write(folder, &manifest).unwrap();
        manifest
    }

    #[test]
    fn an_image_is_current_until_an_input_or_an_artifact_changes() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = vec![input("InRelease", "a"), input("engine", "b"), input("kernel", "c")];
        assert_eq!(is_current(folder.path(), &inputs[..2]), None);
        let manifest = image(folder.path(), inputs.clone());
        assert_eq!(is_current(folder.path(), &inputs[..2]), Some(manifest.clone()));
        assert_eq!(is_current(folder.path(), &[input("engine", "another")]), None);
        fs::write(folder.path().join(image_files::KERNEL), "damaged").unwrap();
        assert_eq!(is_current(folder.path(), &inputs[..2]), None);
        let error = verify(folder.path(), &manifest).unwrap_err().to_string();
        assert!(error.contains(image_files::KERNEL), "{error}");
    }

    #[test]
    fn a_manifest_from_the_future_is_named_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = image(folder.path(), Vec::new());
        manifest.version = MANIFEST_VERSION + 1;
        write(folder.path(), &manifest).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("newer than"));
    }

    #[test]
    fn a_folder_is_replaced_whether_it_exists_or_not() {
        let root = tempfile::tempdir().unwrap();
        let (new, folder) = (root.path().join("new"), root.path().join("image"));
        for contents in ["one", "two"] {
            fs::create_dir_all(&new).unwrap();
            fs::write(new.join("file"), contents).unwrap();
            replace(&new, &folder).unwrap();
            assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), contents);
        }
        assert_eq!(fs::read_to_string(new.join("file")).unwrap(), "one");
    }

    #[test]
    fn the_table_is_aligned() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = image(folder.path(), vec![input("a", "1"), input("longer-name", "2")]);
        let text = table(&manifest);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("INPUT        VERSION  ORIGIN  SHA256"));
        assert!(lines[1].starts_with("a            1        trixie  "));
    }
}
