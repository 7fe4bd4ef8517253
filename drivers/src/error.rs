//! What can go wrong in a driver, by what the user can do about it.

use std::{io, time::Duration};

/// Failure of a driver call.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The specification cannot be honoured; the sentence names the field.
    #[error("{0}")]
    InvalidSpec(String),
    /// The host lacks something; the hint is a command or action that helps.
    #[error("{what}")]
    Prerequisite { what: String, hint: String },
    /// The instance does not exist (any more).
    #[error("Instance {id} does not exist")]
    NotFound { id: String },
    /// The call needs a running instance.
    #[error("Instance {id} is not running")]
    NotRunning { id: String },
    /// The call did not finish in time.
    #[error("{what} took longer than {} s", .limit.as_secs())]
    Timeout { what: String, limit: Duration },
    /// The VM process or provider refused or failed; the sentence carries its own words.
    #[error("{what}")]
    Provider { what: String },
    /// The driver, which is somebody else's program, does not have the method.
    #[error("The driver's program {what} does not know how to {method}")]
    Unsupported { what: String, method: &'static str },
    /// A file of the instance could not be read or written.
    #[error("Could not {action} {path}")]
    File {
        action: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
}
