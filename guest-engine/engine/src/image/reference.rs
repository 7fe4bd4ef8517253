//! Names of images by the grammar of `distribution`: `[domain[:port]/]path[:tag][@digest]`, normalised so
//! that `busybox` and `docker.io/library/busybox:latest` are one.

use crate::error::EngineError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const OFFICIAL: &str = "library/";
/// Bytes of a repository's name, domain included.
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// A normalised name. Displays in full; [`Reference::familiar`] is what people see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a name is not one. The sentences are Docker's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("invalid tag format")]
    Tag,
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    Ambiguous,
    #[error("repository name must not be more than {NAME_LIMIT} characters")]
    TooLong,
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
}

impl From<ReferenceError> for EngineError {
    fn from(error: ReferenceError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl Reference {
    /// Domain and path: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Where the image would be pulled from.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository without its domain.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The repository as people write it: `busybox`, `localhost:5000/x`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(official) if !official.contains('/') => official.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// As people write it, with tag and digest.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// With `latest` when it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// With another tag and no digest.
    pub fn with_tag(mut self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag);
        }
        self.tag = Some(tag.to_owned());
        self.digest = None;
        Ok(self)
    }

    /// Refuses a name that reads like a digest.
    pub(crate) fn check_name(&self) -> Result<(), ReferenceError> {
        if self.familiar_name() == "sha256" { Err(ReferenceError::Ambiguous) } else { Ok(()) }
    }

    /// With this digest and no tag.
    #[must_use]
    pub fn with_digest(mut self, digest: &str) -> Self {
        self.tag = None;
        self.digest = Some(digest.to_owned());
        self
    }

    /// As images are kept by: a digest says more than a tag beside it.
    #[must_use]
    pub(crate) fn canonical(mut self) -> Self {
        if self.digest.is_some() {
            self.tag = None;
        }
        self.or_latest()
    }

    fn suffix(&self) -> String {
        let mut suffix = String::new();
        if let Some(tag) = &self.tag {
            suffix.push(':');
            suffix.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            suffix.push('@');
            suffix.push_str(digest);
        }
        suffix
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if is_hex_id(text) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(ReferenceError::Format),
            None => (text, None),
        };
        // A colon behind the last slash separates the tag; one before it belongs to a port.
        let name_end = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => colon,
            _ => rest.len(),
        };
        let (name, tag) = rest.split_at(name_end);
        let tag = match tag.strip_prefix(':') {
            Some(tag) if is_tag(tag) => Some(tag.to_owned()),
            Some(_) => return Err(ReferenceError::Format),
            None => None,
        };
        let (domain, path) = split_domain(name);
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(path));
        }
        if !is_domain(&domain) || path.is_empty() || !path.split('/').all(is_path_component) {
            return Err(ReferenceError::Format);
        }
        if domain.len() + 1 + path.len() > NAME_LIMIT {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { domain, path, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

/// 64 lower-case hexadecimal digits: an image id without its algorithm.
pub(crate) fn is_hex_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !path.contains('/') && !path.is_empty() {
        (domain.to_owned(), format!("{OFFICIAL}{path}"))
    } else {
        (domain.to_owned(), path.to_owned())
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rfind(':') {
        Some(colon) if !domain[colon..].contains(']') => (&domain[..colon], Some(&domain[colon + 1..])),
        _ => (domain, None),
    };
    let port_ok = port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(|part| {
            let alphanumeric = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
            alphanumeric(part.bytes().next())
                && alphanumeric(part.bytes().last())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    port_ok && host_ok
}

/// Runs of `[a-z0-9]` joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_ok = component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().last().is_some_and(alphanumeric);
    ends_ok
        && component
            .split(|c: char| c.is_ascii() && u8::try_from(c).is_ok_and(alphanumeric))
            .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=TAG_LIMIT).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    match digest.split_once(':') {
        Some(("sha256", hex)) => is_hex_id(hex),
        Some(("sha512", hex)) => hex.len() == 128 && hex.bytes().all(|b| b.is_ascii_hexdigit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa";

    fn parse(text: &str) -> Result<Reference, ReferenceError> {
        text.parse()
    }

    #[test]
    fn names_are_normalised_and_made_familiar_again() {
        for (written, full, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("foo/bar", "docker.io/foo/bar", "foo/bar"),
            ("docker.io/library/a:b", "docker.io/library/a:b", "a:b"),
            ("index.docker.io/a", "docker.io/library/a", "a"),
            ("library/a", "docker.io/library/a", "a"),
            ("localhost/a", "localhost/a", "localhost/a"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a", "127.0.0.1:5000/a"),
            ("[2001:db8::1]:5000/a:t", "[2001:db8::1]:5000/a:t", "[2001:db8::1]:5000/a:t"),
            (
                "ghcr.io/a__b/c-d---e.f:V1.0-_x",
                "ghcr.io/a__b/c-d---e.f:V1.0-_x",
                "ghcr.io/a__b/c-d---e.f:V1.0-_x",
            ),
            ("UPPER/a", "UPPER/a", "UPPER/a"),
        ] {
            let reference = parse(written).unwrap_or_else(|e| panic!("{written}: {e}"));
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(parse(full).unwrap(), reference, "{full} is not stable");
        }
    }

    #[test]
    fn tags_and_digests_are_kept_apart() {
        let reference = parse(&format!("a:b@sha256:{HEX}")).unwrap();
        assert_eq!(reference.tag(), Some("b"));
        assert_eq!(reference.digest().unwrap().len(), 71);
        assert_eq!(parse("a").unwrap().or_latest().tag(), Some("latest"));
        assert_eq!(parse(&format!("a@sha256:{HEX}")).unwrap().or_latest().tag(), None);
        assert_eq!(parse("a").unwrap().with_tag("ok").unwrap().familiar(), "a:ok");
        assert!(parse("a").unwrap().with_tag("-bad").is_err());
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        let long = "a/".repeat(128) + "a";
        for bad in [
            "",
            ":justtag",
            "a:",
            "a@",
            "a@sha256:123",
            "-a",
            "a-",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a___b",
            "a.-b",
            "a b",
            "a:b c",
            "ä",
            "a:b:c",
            "-foo/bar.com",
            "foo_bar.com:80/x",
            "http://a",
            "a/b/",
        ] {
            assert_eq!(parse(bad), Err(ReferenceError::Format), "{bad:?}");
        }
        assert_eq!(parse(&format!("a:{}", "t".repeat(129))), Err(ReferenceError::Format));
        assert_eq!(parse("Foo"), Err(ReferenceError::Uppercase("library/Foo".into())));
        assert_eq!(parse(&long), Err(ReferenceError::TooLong));
        assert_eq!(parse(HEX), Err(ReferenceError::LooksLikeId(HEX.into())));
    }
}
