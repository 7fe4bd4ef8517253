//! What every command's failure ends as: a kind, which decides the exit code, a sentence, its causes
//! and hints. This is the only place that decides either.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | any failure |
//! | 2 | the command line is wrong |
//! | 3 | a check before creating failed (as docker-machine) |
//! | 130 | interrupted by Ctrl-C or SIGTERM |
//! | other | the remote command's, with `machine ssh` |

use crate::{
    config::ConfigError,
    env::UnknownShell,
    file_error::FileError,
    image::ImageError,
    machine::NameError,
    store::{RecordError, StoreError},
    template::TemplateError,
};
use machine_drivers::DriverError;
use std::error::Error;

/// A command's failure.
#[derive(Debug)]
pub struct CommandError {
    /// Decides the exit code.
    pub kind: ErrorKind,
    /// One sentence, capitalised, without final dot; empty when all has been said already.
    pub message: String,
    /// Why.
    pub causes: Vec<String>,
    /// What the user can do, most helpful first.
    pub hints: Vec<String>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something did not work.
    Failed,
    /// The command line is wrong.
    Usage,
    /// A check before creating failed.
    PreCreateCheck,
    /// The user interrupted.
    Interrupted,
    /// A remote command ended with this code; nothing is to be said.
    Remote(i32),
}

impl CommandError {
    /// A failure that is told by one sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// A failure of something we tried; `error` and its sources become the causes.
    pub fn caused(message: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        Self { causes: chain(error), ..Self::new(ErrorKind::Failed, message) }
    }

    /// The same, when the cause has been turned into a [`CommandError`] already: keeps its kind and hints.
    pub fn within(self, message: impl Into<String>) -> Self {
        let mut causes = vec![self.message];
        causes.extend(self.causes);
        Self { message: message.into(), causes, ..self }
    }

    /// Adds a hint.
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says it is of another kind.
    pub fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Keeps the failure of cleaning up beside the failure that made it necessary.
    pub fn and_cleanup(mut self, cleanup: Result<(), Self>) -> Self {
        if let Err(cleanup) = cleanup {
            self.causes.push(format!("Cleaning up failed as well: {}", cleanup.message));
            self.causes.extend(cleanup.causes);
            self.hints.extend(cleanup.hints);
        }
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> i32 {
        match self.kind {
            ErrorKind::Failed => 1,
            ErrorKind::Usage => 2,
            ErrorKind::PreCreateCheck => 3,
            ErrorKind::Interrupted => 130,
            ErrorKind::Remote(code) => code,
        }
    }

    /// A failure that has its own sentence.
    pub fn plain(error: &(dyn Error + 'static)) -> Self {
        let mut sentences = chain(error);
        let message = sentences.remove(0);
        Self { causes: sentences, ..Self::new(ErrorKind::Failed, message) }
    }
}

/// The error's sentence and those of its sources.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut sentences = vec![capitalised(error)];
    let mut error = error;
    while let Some(source) = error.source() {
        sentences.push(capitalised(source));
        error = source;
    }
    sentences
}

fn capitalised(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

impl From<NameError> for CommandError {
    fn from(error: NameError) -> Self {
        Self::plain(&error)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::plain(&error).hinted("Set HOME, or name a folder with --storage-path")
    }
}

impl From<ImageError> for CommandError {
    fn from(error: ImageError) -> Self {
        Self::plain(&error)
            .of_kind(ErrorKind::PreCreateCheck)
            .hinted("Build it with \"make build\", or name its folder with --image or MACHINE_GUEST_IMAGE")
    }
}

impl From<UnknownShell> for CommandError {
    fn from(error: UnknownShell) -> Self {
        Self::plain(&error)
            .of_kind(ErrorKind::Usage)
            .hinted("Known are sh, bash, zsh, fish, powershell, cmd, tcsh and emacs")
    }
}

impl From<TemplateError> for CommandError {
    fn from(error: TemplateError) -> Self {
        Self::plain(&error)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let plain = Self::plain(&error);
        match error {
            StoreError::NotFound { .. } => {
                plain.hinted("\"machine ls\" lists machines, \"machine create\" makes a new one")
            }
            StoreError::Taken { name } => plain.hinted(format!(
                "Start it with \"machine start {name}\" or remove it with \"machine rm {name}\""
            )),
            StoreError::Record { source: RecordError::Newer { .. }, .. } => {
                plain.hinted("Use the newer machine that wrote it")
            }
            StoreError::Record { source: RecordError::Damaged(_), path } => {
                let folder = path.parent().unwrap_or(&path);
                plain.hinted(format!("If it cannot be mended, remove the folder {}", folder.display()))
            }
            StoreError::NotOurs { .. } => {
                plain.hinted("Run as that user, or name another folder with --storage-path")
            }
            StoreError::File(_) => plain,
        }
    }
}

impl From<FileError> for CommandError {
    fn from(error: FileError) -> Self {
        Self::plain(&error)
    }
}

impl From<DriverError> for CommandError {
    fn from(error: DriverError) -> Self {
        let plain = Self::plain(&error);
        match error {
            DriverError::Prerequisite { hint, .. } if !hint.is_empty() => plain.hinted(hint),
            _ => plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn causes_are_told_in_order_and_capitalised() {
        let source = io::Error::other("disk on fire");
        let error = FileError::new("read", "/x".as_ref(), source);
        let error = CommandError::from(error).within("Could not list machines");
        assert_eq!(error.message, "Could not list machines");
        assert_eq!(error.causes, ["Could not read /x", "Disk on fire"]);
    }

    #[test]
    fn a_failed_cleanup_is_told_as_well() {
        let error = CommandError::new(ErrorKind::Interrupted, "Interrupted").and_cleanup(Err(
            CommandError::new(ErrorKind::Failed, "Could not remove it").hinted("Try again"),
        ));
        assert_eq!(error.exit_code(), 130);
        assert_eq!(error.causes, ["Cleaning up failed as well: Could not remove it"]);
        assert_eq!(error.hints, ["Try again"]);
    }
}
