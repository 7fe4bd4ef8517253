//! One error type for the whole domain: a kind, which decides status and retry, and the sentence the
//! user reads. The sentences follow moby's where clients match on them.

use std::fmt;

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
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for EngineError {}
