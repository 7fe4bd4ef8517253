//! Bytes in a folder, a file with several names counted once, a link by its target, as dockerd does.

use std::{collections::HashSet, fs, io, os::unix::fs::MetadataExt, path::Path};

/// Sizes of everything but folders below `folder`; what vanishes meanwhile does not count.
pub(crate) fn of(folder: &Path) -> io::Result<u64> {
    let mut counted = HashSet::new();
    let mut folders = vec![folder.to_owned()];
    let mut total = 0;
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if (metadata.is_file() || metadata.is_symlink())
                && (metadata.nlink() == 1 || counted.insert(metadata.ino()))
            {
                total += metadata.len();
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("a"), [0; 100]).unwrap();
        fs::hard_link(folder.path().join("a"), folder.path().join("sub/b")).unwrap();
        fs::write(folder.path().join("sub/c"), [0; 10]).unwrap();
        std::os::unix::fs::symlink("abc", folder.path().join("link")).unwrap();
        assert_eq!(of(folder.path()).unwrap(), 113);
        assert_eq!(of(&folder.path().join("nothing")).unwrap(), 0);
    }
}
