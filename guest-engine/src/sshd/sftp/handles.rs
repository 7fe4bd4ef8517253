//! What a client has open. Handles are numbers as text; they end with the session.

use russh_sftp::protocol::StatusCode;
use std::collections::HashMap;
use std::fs::{DirEntry, File, ReadDir};
use std::sync::{Arc, Mutex};

/// As many as OpenSSH allows.
const MAX_OPEN: usize = 256;

#[derive(Clone, Debug)]
pub(super) enum Open {
    File(Arc<File>),
    Folder(Arc<Mutex<ReadDir>>),
}

#[derive(Debug, Default)]
pub(super) struct Handles {
    open: HashMap<u64, Open>,
    next: u64,
}

impl Handles {
    pub(super) fn insert(&mut self, open: Open) -> Result<String, StatusCode> {
        if self.open.len() >= MAX_OPEN {
            return Err(StatusCode::Failure);
        }
        self.next += 1;
        self.open.insert(self.next, open);
        Ok(self.next.to_string())
    }

    pub(super) fn file(&self, handle: &str) -> Result<Arc<File>, StatusCode> {
        match self.get(handle) {
            Some(Open::File(file)) => Ok(Arc::clone(file)),
            _ => Err(StatusCode::Failure),
        }
    }

    pub(super) fn folder(&self, handle: &str) -> Result<Arc<Mutex<ReadDir>>, StatusCode> {
        match self.get(handle) {
            Some(Open::Folder(folder)) => Ok(Arc::clone(folder)),
            _ => Err(StatusCode::Failure),
        }
    }

    pub(super) fn close(&mut self, handle: &str) -> Result<Open, StatusCode> {
        handle.parse().ok().and_then(|number: u64| self.open.remove(&number)).ok_or(StatusCode::Failure)
    }

    fn get(&self, handle: &str) -> Option<&Open> {
        self.open.get(&handle.parse().ok()?)
    }
}

/// The next entries of a folder, at most `count`; none at its end.
pub(super) fn next_entries(folder: &Mutex<ReadDir>, count: usize) -> std::io::Result<Vec<DirEntry>> {
    match folder.lock() {
        Ok(mut entries) => entries.by_ref().take(count).collect(),
        Err(_) => Err(std::io::ErrorKind::Other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_of_their_kind_and_end_once() {
        let mut handles = Handles::default();
        let file = handles.insert(Open::File(Arc::new(File::open("/dev/null").unwrap()))).unwrap();
        assert!(handles.file(&file).is_ok());
        assert!(handles.folder(&file).is_err());
        assert!(handles.close(&file).is_ok());
        assert!(handles.close(&file).is_err());
        assert!(handles.file("nonsense").is_err());
    }

    #[test]
    fn nobody_opens_without_end() {
        let mut handles = Handles::default();
        let file = Arc::new(File::open("/dev/null").unwrap());
        for _ in 0..MAX_OPEN {
            handles.insert(Open::File(Arc::clone(&file))).unwrap();
        }
        assert!(handles.insert(Open::File(file)).is_err());
    }
}
