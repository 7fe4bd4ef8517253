//! What a client authenticates with: it comes with each request and is never kept.

use base64::{Engine as _, engine::general_purpose};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};

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
    /// Of a user; of nobody, the secret is a token.
    pub(crate) fn of(user: &str, secret: &str) -> Self {
        match user {
            "" => Self { identitytoken: secret.to_owned(), ..Self::default() },
            user => Self { username: user.to_owned(), password: secret.to_owned(), ..Self::default() },
        }
    }

    /// By server, from the header `X-Registry-Config`. What is not understood counts as nothing.
    pub fn all_from_header(header: &str) -> BTreeMap<String, Self> {
        let parsed = decode(header)
            .and_then(|json| serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&json).ok());
        let each = parsed.unwrap_or_default().into_iter();
        each.filter_map(|(server, json)| Some((server, Self::parse(json.to_string().as_bytes())?))).collect()
    }

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
    fn builds_bring_those_of_all_servers() {
        let json = br#"{"r:5000":{"username":"a","password":"b"},"https://index.docker.io/v1/":{"auth":"YTpiOmM="}}"#;
        let all = Credentials::all_from_header(&general_purpose::URL_SAFE.encode(json));
        assert_eq!(all["r:5000"].basic(), Some(("a", "b")));
        assert_eq!(all["https://index.docker.io/v1/"].basic(), Some(("a", "b:c")));
        assert!(Credentials::all_from_header("e30=").is_empty());
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials::parse(br#"{"username":"me","password":"secret"}"#).unwrap();
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
