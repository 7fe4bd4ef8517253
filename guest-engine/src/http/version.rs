//! The `/vX.YY` prefix: stripped before routing, checked against what this engine speaks, and remembered
//! for the handlers whose answers differ between versions.

use super::error::ApiError;
use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts, uri::PathAndQuery},
};
use std::{convert::Infallible, fmt};

/// The newest version spoken: what a request without a prefix gets.
pub const NEWEST: ApiVersion = ApiVersion::new(1, 45);
/// The oldest version spoken.
pub const OLDEST: ApiVersion = ApiVersion::new(1, 24);

/// A version of Docker's Engine API. As an extractor: the one that the request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u16,
    minor: u16,
}

impl ApiVersion {
    /// `major.minor`; both compare as numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Whether the request speaks at least `1.minor`.
    pub fn at_least(self, minor: u16) -> bool {
        self >= Self::new(1, minor)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(NEWEST))
    }
}

/// Takes the prefix off `uri` and says which version it asks for. A path that merely resembles a prefix
/// is left alone and ends as an unknown route.
pub fn strip_prefix(uri: &mut Uri) -> Result<ApiVersion, ApiError> {
    let Some((text, rest)) = split(uri.path()) else { return Ok(NEWEST) };
    let parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect();
    let part = |index: usize| parts.get(index).map_or(0, |part| u16::try_from(*part).unwrap_or(u16::MAX));
    let version = ApiVersion::new(part(0), part(1));
    if version > NEWEST || (version == NEWEST && parts.len() > 2) {
        return Err(ApiError::bad_request(format!(
            "client version {text} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    if version < OLDEST {
        return Err(ApiError::bad_request(format!(
            "client version {text} is too old. Minimum supported API version is {OLDEST}, \
             please upgrade your client to a newer version"
        )));
    }
    let stripped = match uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(
        PathAndQuery::try_from(stripped).map_err(|e| ApiError::bad_request(format!("Invalid path: {e}")))?,
    );
    *uri = Uri::from_parts(parts).map_err(|e| ApiError::bad_request(format!("Invalid path: {e}")))?;
    Ok(version)
}

/// `/v1.41/containers/json` → `1.41`, `/containers/json`.
fn split(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v")?;
    let (version, _) = rest.split_once('/')?;
    let numeric = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    numeric.then(|| (version, &rest[version.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(path: &str) -> Result<(String, String), String> {
        let mut uri: Uri = path.parse().unwrap();
        strip_prefix(&mut uri)
            .map(|version| (version.to_string(), uri.to_string()))
            .map_err(|e| e.message().to_owned())
    }

    #[test]
    fn prefix_is_optional_and_query_is_kept() {
        assert_eq!(strip("/v1.41/images/json?all=1"), Ok(("1.41".into(), "/images/json?all=1".into())));
        assert_eq!(strip("/images/json"), Ok(("1.45".into(), "/images/json".into())));
        assert_eq!(strip("http://docker/v1.24/_ping"), Ok(("1.24".into(), "http://docker/_ping".into())));
    }

    #[test]
    fn what_only_resembles_a_prefix_stays() {
        for path in ["/volumes", "/v/x", "/v1.4a/x", "/v1.+4/x", "/v1.40"] {
            assert_eq!(strip(path), Ok(("1.45".into(), path.to_owned())));
        }
    }

    #[test]
    fn versions_outside_the_range_are_refused_in_dockerds_words() {
        assert_eq!(
            strip("/v1.99/info"),
            Err("client version 1.99 is too new. Maximum supported API version is 1.45".into())
        );
        assert_eq!(
            strip("/v1.99999999/x"),
            Err("client version 1.99999999 is too new. Maximum supported API version is 1.45".into())
        );
        assert!(strip("/v1.45.1/x").unwrap_err().starts_with("client version 1.45.1 is too new"));
        assert!(strip("/v1/x").unwrap_err().starts_with("client version 1 is too old"));
        assert!(strip("/v../x").is_err());
        assert_eq!(
            strip("/v1.10/info"),
            Err(
                "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your \
                 client to a newer version"
                    .into()
            )
        );
    }
}
