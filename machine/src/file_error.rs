//! A file or folder that cannot be used: what was to be done with which, and what the system said.

use std::{
    io,
    path::{Path, PathBuf},
};

/// One sentence; the system's own words are its source.
#[derive(Debug, thiserror::Error)]
#[error("Could not {action} {}", .path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    /// `action` is a verb, such as `read`.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source }
    }

    /// The same, for `map_err`.
    pub fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }

    /// What the system said.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}
