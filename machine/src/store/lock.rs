//! The machine's lock: held by every command that changes the machine, for as long as it does.
//!
//! It is a `flock` on a file inside the machine's folder, so the kernel lets go of it however its
//! holder ends, and it leaves with the folder. Whoever waited for the lock of a machine that was removed
//! meanwhile holds the lock of a file that is no longer there, and is told so.

use super::files;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The lock of one machine; dropping it lets go.
#[derive(Debug)]
pub struct MachineLock {
    _file: File,
}

/// What came of an attempt to take the lock.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Held(MachineLock),
    /// Another command holds it: wait for it with [`Waiting::wait`].
    Busy(Waiting),
    /// The folder is not there, or no longer.
    Gone,
}

/// A lock that somebody else holds.
#[derive(Debug)]
pub struct Waiting {
    file: File,
    path: PathBuf,
}

impl MachineLock {
    /// Tries to lock the machine in `folder`, without waiting.
    pub fn attempt(folder: &Path) -> io::Result<Attempt> {
        let path = folder.join(files::MACHINE_LOCK);
        let file = match OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Gone),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => Ok(held(file, &path)),
            Err(TryLockError::WouldBlock) => Ok(Attempt::Busy(Waiting { file, path })),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether some command is changing the machine in `folder` right now.
    pub fn is_held(folder: &Path) -> bool {
        // Not opened for writing and not created: this is for commands that only look.
        File::open(folder.join(files::MACHINE_LOCK))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Waiting {
    /// Blocks until the other command is done.
    pub fn wait(self) -> io::Result<Attempt> {
        self.file.lock()?;
        Ok(held(self.file, &self.path))
    }
}

/// The lock counts only when `path` still names the locked file.
fn held(file: File, path: &Path) -> Attempt {
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
            Attempt::Held(MachineLock { _file: file })
        }
        _ => Attempt::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!MachineLock::is_held(folder.path()));
        let Attempt::Held(lock) = MachineLock::attempt(folder.path()).unwrap() else { panic!("not held") };
        assert!(MachineLock::is_held(folder.path()));
        let Attempt::Busy(waiting) = MachineLock::attempt(folder.path()).unwrap() else { panic!("not busy") };
        drop(lock);
        assert!(matches!(waiting.wait().unwrap(), Attempt::Held(_)));
    }

    #[test]
    fn whoever_waited_for_a_removed_machine_learns_that_it_is_gone() {
        let store = tempfile::tempdir().unwrap();
        let folder = store.path().join("dev");
        std::fs::create_dir(&folder).unwrap();
        let Attempt::Held(lock) = MachineLock::attempt(&folder).unwrap() else { panic!("not held") };
        let Attempt::Busy(waiting) = MachineLock::attempt(&folder).unwrap() else { panic!("not busy") };
        std::fs::rename(&folder, store.path().join(".removing-dev")).unwrap();
        drop(lock);
        assert!(matches!(waiting.wait().unwrap(), Attempt::Gone));
        assert!(matches!(MachineLock::attempt(&folder).unwrap(), Attempt::Gone));
    }
}
