//! Where a driver's executable is.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The first executable file called `program` in `folders`. Folders that are relative, and so another one in
/// every working folder, are left out.
pub fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let places = folders.iter().filter(|folder| folder.is_absolute()).map(|folder| folder.join(program));
    places.into_iter().find(|path| is_executable(path))
}

/// Whether a driver can be called so: a file name, with nothing in it that a path or a flag could mean.
pub fn is_driver_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 64 && name.chars().all(plain)
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_can_be_run_counts() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [PathBuf::from("relative"), a.path().to_owned(), b.path().to_owned()];
        fs::write(a.path().join("x"), "").unwrap();
        fs::write(b.path().join("x"), "").unwrap();
        assert_eq!(find("x", &folders), None, "neither can be run");
        fs::set_permissions(b.path().join("x"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("x", &folders), Some(b.path().join("x")));
    }

    #[test]
    fn a_name_is_no_path() {
        assert!(is_driver_name("proxmox-ve") && is_driver_name("kvm2"));
        for name in ["", ".", "../x", "a/b", "-x", "a b", "ä"] {
            assert!(!is_driver_name(name), "{name:?}");
        }
    }
}
