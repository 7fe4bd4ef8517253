//! There is one keeper per machine: the lock that it holds for life, and that frees itself with it.

use super::KeeperError;
use crate::{file_error::FileError, store::files};
use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct KeeperLock {
    _file: File,
}

impl KeeperLock {
    /// Takes the lock; `None` when another keeper has it.
    pub(super) fn take(directory: &Path) -> Result<Option<Self>, KeeperError> {
        let path = directory.join(files::KEEPER_LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(FileError::on("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(FileError::new("lock", &path, source).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_exclusive_and_ends_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let first = KeeperLock::take(directory.path()).unwrap();
        assert!(first.is_some());
        assert!(KeeperLock::take(directory.path()).unwrap().is_none());
        drop(first);
        assert!(KeeperLock::take(directory.path()).unwrap().is_some());
    }
}
