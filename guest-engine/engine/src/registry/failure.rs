//! Why a registry did not give what was asked for, in the words of Docker.

use crate::{EngineError, ErrorKind};
use reqwest::{Response, StatusCode, Url, header};
use serde::Deserialize;
use std::{error::Error, fmt, io, time::Duration};

/// Bytes of an error answer that are read.
const BODY_LIMIT: usize = 64 * 1024;

/// How the standard library begins what the resolver says.
const LOOKUP: &str = "failed to lookup address information: ";

/// A failed request.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No answer: refused, name unknown, TLS, broken.
    Unreachable { what: String, cause: String },
    /// Nothing came for too long.
    Stalled { what: String },
    /// The registry's own words.
    Refused { status: StatusCode, errors: Vec<Complaint>, retry_after: Option<Duration> },
    /// It wants to know who asks, and we cannot say.
    NoCredentials,
    /// What came is not what it should be.
    Content(String),
    /// It came from us.
    Ours(EngineError),
}

/// One error of an answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Complaint {
    pub code: String,
    pub message: String,
}

impl Failure {
    /// Of a request that got no answer.
    pub(crate) fn of_request(what: &str, error: &reqwest::Error) -> Self {
        // The URL is in `what`, and its query may hold a token.
        let mut causes = Vec::new();
        let mut refused = false;
        let mut next: Option<&dyn Error> = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            let io = cause.downcast_ref::<io::Error>();
            refused |= io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused);
            next = cause.source();
        }
        // The outer ones only say that it failed.
        let cause = causes.pop().unwrap_or_else(|| "no answer".to_owned());
        let host = error.url().map(authority).unwrap_or_default();
        let cause = if refused {
            format!("dial tcp {host}: connect: connection refused")
        } else if let Some(why) = cause.strip_prefix(LOOKUP) {
            let why = if why.contains("Name or service not known") { "no such host" } else { why };
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            format!("dial tcp: lookup {name}: {why}")
        } else {
            cause
        };
        Self::Unreachable { what: what.to_owned(), cause }
    }

    /// Of an answer that is no success.
    pub(super) async fn of_answer(mut response: Response) -> Self {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut body = Vec::new();
        // What cannot be read is left out: the status says enough.
        while let Ok(Some(piece)) = response.chunk().await {
            body.extend_from_slice(&piece);
            if body.len() > BODY_LIMIT {
                break;
            }
        }
        Self::Refused { status, errors: complaints(&body), retry_after }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } => true,
            // Without a date it usually is a limit of hours.
            Self::Refused { status: StatusCode::TOO_MANY_REQUESTS, retry_after, .. } => retry_after.is_some(),
            Self::Refused { status, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::NoCredentials | Self::Content(_) | Self::Ours(_) => false,
        }
    }

    /// What the registry asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether an answer has an error with this code.
    pub(crate) fn says(&self, code: &str) -> bool {
        matches!(self, Self::Refused { errors, .. } if errors.iter().any(|error| error.code == code))
    }

    /// Whether it is about who asks.
    pub(crate) fn is_about_access(&self) -> bool {
        matches!(self.status(), Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
            || matches!(self, Self::NoCredentials)
            || self.says("DENIED")
            || self.says("UNAUTHORIZED")
    }
}

/// Host and port, as they are connected to.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn complaints(body: &[u8]) -> Vec<Complaint> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        errors: Vec<Complaint>,
        /// Servers of tokens, and some registries.
        details: String,
        message: String,
    }
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    let mut errors = answer.errors;
    for message in [answer.details, answer.message] {
        if errors.is_empty() && !message.is_empty() {
            errors.push(Complaint { code: String::new(), message });
        }
    }
    errors
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.to_lowercase().replace('_', " ");
        match (code.is_empty(), self.message.is_empty()) {
            (false, false) => write!(f, "{code}: {}", self.message),
            (false, true) => f.write_str(&code),
            _ => f.write_str(&self.message),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { what, cause } => write!(f, "{what}: {cause}"),
            Self::Stalled { what } => write!(f, "{what}: the registry stopped answering"),
            Self::Refused { status, errors, .. } if errors.is_empty() => {
                write!(f, "received unexpected HTTP status: {status}")
            }
            Self::Refused { errors, .. } => {
                for (number, error) in errors.iter().enumerate() {
                    write!(f, "{}{error}", if number == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
            Self::NoCredentials => f.write_str("no basic auth credentials"),
            Self::Content(why) => f.write_str(why),
            Self::Ours(error) => error.fmt(f),
        }
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        let kind = match failure {
            Failure::Ours(error) => return error,
            Failure::Refused { status: StatusCode::NOT_FOUND, .. } => ErrorKind::NotFound,
            _ => ErrorKind::System,
        };
        Self::new(kind, failure.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Ours(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_dockers() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let refused =
            |body: &[u8], status| Failure::Refused { status, errors: complaints(body), retry_after: None };
        let unknown = refused(body, StatusCode::NOT_FOUND);
        assert_eq!(unknown.to_string(), "manifest unknown: manifest unknown");
        assert!(unknown.says("MANIFEST_UNKNOWN") && !unknown.may_pass());
        let bad = refused(b"<html>", StatusCode::BAD_GATEWAY);
        assert_eq!(bad.to_string(), "received unexpected HTTP status: 502 Bad Gateway");
        assert!(bad.may_pass());
        let details = refused(br#"{"details":"incorrect username or password"}"#, StatusCode::UNAUTHORIZED);
        assert_eq!(details.to_string(), "incorrect username or password");
        assert!(details.is_about_access());
    }
}
