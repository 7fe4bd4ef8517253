//! What a client authenticates with: it comes with each request and is never kept.

use base64::{Engine as _, engine::general_purpose};
use serde::Deserialize;
use std::fmt;

/// Docker's `AuthConfig`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// `username:password` in base64, where the two are not given apart.
    auth: String,
    pub serveraddress: String,
    /// A refresh token in place of a password.
    pub identitytoken: String,
    /// A bearer token to be sent as it is.
    pub registrytoken: String,
}

impl Credentials {
    /// From JSON. `None` when it is not understood.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let mut parsed: Self = serde_json::from_slice(json).ok()?;
        if parsed.username.is_empty()
            && let Some(text) = decode(&parsed.auth)
            && let Some((username, password)) = text.split_once(':')
        {
            parsed.username = username.to_owned();
            parsed.password = password.trim_end_matches('\0').to_owned();
        }
        Some(parsed)
    }

    /// From the header `X-Registry-Auth`. What is missing or not understood counts as nothing, as it does
    /// for dockerd.
    pub fn from_header(header: &str) -> Self {
        decode(header).and_then(|json| Self::parse(json.as_bytes())).unwrap_or_default()
    }

    /// Name and password, if there are any.
    pub(super) fn basic(&self) -> Option<(&str, &str)> {
        let there = !self.username.is_empty() && !self.password.is_empty();
        there.then_some((self.username.as_str(), self.password.as_str()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Base64 of either alphabet, padded or not: clients differ.
fn decode(text: &str) -> Option<String> {
    let text: String = text
        .trim()
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            c => c,
        })
        .collect();
    if text.is_empty() {
        return None;
    }
    String::from_utf8(general_purpose::STANDARD_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_clients_are_read() {
        let json = br#"{"username":"a","password":"b?>","serveraddress":"r"}"#;
        for header in [general_purpose::URL_SAFE.encode(json), general_purpose::STANDARD_NO_PAD.encode(json)]
        {
            assert_eq!(Credentials::from_header(&header).basic(), Some(("a", "b?>")));
        }
        for nothing in ["", "e30=", "bnVsbA==", "%%%", "e30"] {
            assert_eq!(Credentials::from_header(nothing).basic(), None, "{nothing}");
        }
        let joined = Credentials::parse(br#"{"auth":"YTpiOmM="}"#).unwrap();
        assert_eq!(joined.basic(), Some(("a", "b:c")));
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials::parse(br#"{"username":"me","password":"secret"}"#).unwrap();
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
