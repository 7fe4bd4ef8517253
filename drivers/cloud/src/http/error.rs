//! What can go wrong between us and a provider.

use machine_drivers::DriverError;
use std::time::Duration;

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloudError {
    /// The provider said no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// There was no answer, or not the end of it.
    #[error("{what} was not answered")]
    NoAnswer {
        what: String,
        /// It was sent, and may have been acted on.
        sent: bool,
        #[source]
        source: reqwest::Error,
    },
    /// The allowance of calls is used up for longer than we wait.
    #[error("The limit of calls is used up for another {} s", .wait.as_secs())]
    RateLimited { wait: Duration },
    /// The answer is not what the API promises.
    #[error("{what} was answered with something else than promised: {detail}")]
    Nonsense { what: String, detail: String },
    /// Something takes too long.
    #[error("{what} took longer than {} s", .limit.as_secs())]
    Slow { what: String, limit: Duration },
    /// An action was begun and failed.
    #[error("{what} failed: {message}")]
    Action { what: String, message: String },
    /// What was asked for is not to be had.
    #[error("{0}")]
    Unavailable(String),
    /// It is a driver's error already.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// A provider's no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The provider's word for it.
    pub(crate) code: String,
    /// Its sentence.
    pub(crate) message: String,
    /// It holds for a moment only, and nothing was done.
    pub(crate) passing: bool,
}

impl CloudError {
    /// What was asked for is not to be had.
    pub(crate) fn unavailable(sentence: impl Into<String>) -> Self {
        Self::Unavailable(sentence.into())
    }

    pub(super) fn unbuilt(what: &str) -> Self {
        Self::Nonsense { what: what.to_owned(), detail: "the request cannot be made twice".to_owned() }
    }

    /// The call certainly had no effect and may be made again.
    pub(super) fn nothing_was_done(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status == 429 || refusal.passing,
            Self::NoAnswer { sent, .. } => !sent,
            _ => false,
        }
    }

    /// Making the call again may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(refusal.status, 408 | 500 | 502 | 503 | 504),
            Self::NoAnswer { .. } => true,
            _ => false,
        }
    }

    /// Whether the call may have been acted on though it failed: the response was lost, or the provider
    /// fell over.
    pub(crate) fn is_ambiguous(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status >= 500,
            Self::NoAnswer { sent, .. } => *sent,
            Self::Nonsense { .. } => true,
            _ => false,
        }
    }

    /// The failure in the seam's words; `provider` is who is spoken to.
    pub(crate) fn into_driver_error(self, provider: &str) -> DriverError {
        match self {
            Self::Driver(error) => error,
            Self::Unavailable(sentence) => DriverError::InvalidSpec(sentence),
            Self::Slow { what, limit } => DriverError::Timeout { what, limit },
            Self::Refused(refusal) if refusal.status == 401 => DriverError::Prerequisite {
                what: format!("{provider} does not accept the credentials: {}", refusal.message),
                hint: "They may have expired or been revoked; \"machine set --credentials NAME\" gives a machine new \
                       ones, from the environment"
                    .to_owned(),
            },
            Self::Refused(refusal) if refusal.status == 403 => DriverError::Prerequisite {
                what: format!("{provider} does not allow that: {}", refusal.message),
                hint: "The credentials may be read-only or lack a permission; a limit of the account may be reached"
                    .to_owned(),
            },
            error => {
                let mut what = format!("{provider}: {error}");
                if let Self::NoAnswer { source, .. } = &error {
                    what = format!("{what} ({source})");
                }
                DriverError::Provider { what }
            }
        }
    }
}
