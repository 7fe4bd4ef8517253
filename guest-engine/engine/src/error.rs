//! One error type for the whole domain: a kind, which decides status and retry, and the sentence the
//! user reads. The sentences follow moby's where clients match on them.

use std::{fmt, io};

/// What class of failure it is. `guest-engine`'s HTTP edge maps each to one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The named object does not exist (404).
    NotFound,
    /// The request makes no sense (400).
    InvalidParameter,
    /// The object's state forbids it (409).
    Conflict,
    /// It is so already (304, no body).
    NotModified,
    /// Not allowed, whatever the state (403).
    Forbidden,
    /// Who is asking is not known (401).
    Unauthorized,
    /// Something needed is not there right now (503).
    Unavailable,
    /// The engine does not do this (501).
    NotImplemented,
    /// The engine's or the system's fault (500).
    System,
}

/// Failure of a domain operation.
#[derive(Debug)]
pub struct EngineError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result of a domain operation.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

impl EngineError {
    /// An error of `kind` with the sentence the user reads.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Keeps what caused it; the wire message becomes `message: cause`.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same failure, with what it was a failure of in front: `what: message`.
    #[must_use]
    pub fn of(self, what: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// What class of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParameter, message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// 501.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotImplemented, message)
    }

    /// 500.
    pub fn system(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::System, message)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut source = self.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(error) = source {
            match error.downcast_ref::<io::Error>() {
                Some(error) => write!(f, ": {}", system_words(error))?,
                None => write!(f, ": {error}")?,
            }
            source = error.source();
        }
        Ok(())
    }
}

/// What the system says, as dockerd passes it on: clients look for `no such file or directory`.
fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    let Some(code) = error.raw_os_error() else { return text };
    let words = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl std::error::Error for EngineError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_errors_are_worded_as_clients_know_them() {
        let error = EngineError::system("lstat /x").because(io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "lstat /x: no such file or directory");
        let own = EngineError::system("Could not read").because(io::Error::other("Bad magic"));
        assert_eq!(own.to_string(), "Could not read: Bad magic");
    }
}
