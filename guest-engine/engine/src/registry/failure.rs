//! Why a registry did not give what was asked for, in the words of Docker.

use super::challenge;
use crate::{EngineError, ErrorKind};
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{Response, StatusCode, Url, header};
use serde::Deserialize;
use std::{error::Error, fmt, io, time::Duration};

/// Bytes of an error answer that are read.
const BODY_LIMIT: usize = 64 * 1024;
/// Between two pieces of it.
const BODY_TIME: Duration = Duration::from_secs(5);

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
            causes.push(tls_in_words(cause).unwrap_or_else(|| cause.to_string()));
            let io = cause.downcast_ref::<io::Error>();
            refused |= io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused);
            // An I/O error around another hides it from `source`.
            next = io.and_then(io::Error::get_ref).map(|inner| inner as &dyn Error).or(cause.source());
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
        if error.is_redirect() {
            // It would be the same round again.
            return Self::Content(format!("{what}: {cause}"));
        }
        Self::Unreachable { what: what.to_owned(), cause }
    }

    /// Of an answer that is no success.
    pub(super) async fn of_answer(mut response: Response) -> Self {
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| wait_for(text, Timestamp::now()));
        let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
        let refusal = challenge::refusal(challenges.iter().filter_map(|value| value.to_str().ok()));
        let mut body = Vec::new();
        // What cannot be read, or not in time, is left out: the status says enough.
        while let Ok(Ok(Some(piece))) = tokio::time::timeout(BODY_TIME, response.chunk()).await {
            body.extend_from_slice(&piece);
            if body.len() > BODY_LIMIT {
                break;
            }
        }
        let mut errors = complaints(&body);
        if let Some((code, message)) = refusal.filter(|_| status.is_client_error()) {
            errors.insert(0, Complaint { code: code.to_owned(), message });
        } else if errors.is_empty() && status == StatusCode::UNAUTHORIZED {
            let message = "authentication required".to_owned();
            errors.push(Complaint { code: "UNAUTHORIZED".to_owned(), message });
        }
        Self::Refused { status, errors, retry_after }
    }

    /// With the first of its errors only, which is what dockerd says of pulls.
    pub(crate) fn first(mut self) -> Self {
        if let Self::Refused { errors, .. } = &mut self {
            errors.truncate(1);
        }
        self
    }

    /// Whether nobody answered as a registry would: behind another door, there may be one.
    pub(crate) fn is_no_answer(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Stalled { .. })
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

/// Seconds, or a date.
fn wait_for(text: &str, now: Timestamp) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = rfc2822::parse(text.trim()).ok()?.timestamp();
            // A moment that has passed asks for no wait.
            Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
        }
    }
}

/// What is wrong with TLS, as Go's library says it: people search for these words.
fn tls_in_words(cause: &(dyn Error + 'static)) -> Option<String> {
    use rustls::{CertificateError as Bad, Error as Tls, InvalidMessage};
    let verification = "tls: failed to verify certificate: x509:";
    Some(match cause.downcast_ref::<Tls>()? {
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Tls::InvalidCertificate(Bad::UnknownIssuer) => {
            format!("{verification} certificate signed by unknown authority")
        }
        Tls::InvalidCertificate(
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. },
        ) => {
            format!("{verification} certificate has expired or is not yet valid")
        }
        Tls::InvalidCertificate(other) => format!("{verification} {other}"),
        Tls::AlertReceived(alert) => format!("remote error: tls: {}", spaced(&format!("{alert:?}"))),
        _ => return None,
    })
}

/// `BadCertificate` → `bad certificate`.
fn spaced(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(character.to_lowercase());
    }
    text
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
            Self::Refused { errors, .. } => match errors.as_slice() {
                [only] => only.fmt(f),
                several => {
                    f.write_str("errors:\n")?;
                    several.iter().try_for_each(|error| writeln!(f, "{error}"))
                }
            },
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
    fn a_wait_is_seconds_or_a_date() {
        let now = "2026-11-26T10:00:00Z".parse().unwrap();
        assert_eq!(wait_for(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(wait_for("Thu, 26 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(wait_for("Thu, 26 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(wait_for("soon", now), None);
    }

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
