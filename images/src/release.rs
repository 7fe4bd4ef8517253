//! A suite's `InRelease`: the signed list of index files with their digests.

use crate::control;
use crate::digest;
use crate::keyring::{Keyring, KeyringError};
use jiff::{Timestamp, civil, tz};
use std::collections::BTreeMap;

/// Why an index was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    #[error("The index of {suite} is not trusted")]
    Signature { suite: String, source: KeyringError },
    #[error("The index of {suite} has no valid field {field}")]
    Field { suite: String, field: &'static str },
    #[error("The mirror gave the index of {found} instead of {suite}")]
    OtherSuite { suite: String, found: String },
    #[error(
        "The index of {suite} was valid until {until} only\n\
         Hint: The mirror or this host's clock is out of date; \"--offline\" accepts it"
    )]
    Expired { suite: String, until: Timestamp },
    #[error("The index of {suite} does not list {file}")]
    NotListed { suite: String, file: String },
}

/// A verified index of a suite.
#[derive(Debug)]
pub(crate) struct Release {
    pub suite: String,
    /// `13.8`; the date for suites without a number.
    pub version: String,
    pub date: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub acquire_by_hash: bool,
    /// Hex fingerprint of the key that signed it.
    pub signed_by: String,
    /// Hex sha256 of the clear-signed text.
    pub sha256: String,
    files: BTreeMap<String, IndexFile>,
}

/// A file that the index vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexFile {
    pub sha256: String,
    pub size: u64,
}

impl Release {
    /// Verifies the signature of `message` and reads what was signed. Does not look at the clock.
    pub(crate) fn verify(message: &str, suite: &str, keyring: &Keyring) -> Result<Self, ReleaseError> {
        let signed = keyring
            .verify(message)
            .map_err(|source| ReleaseError::Signature { suite: suite.to_owned(), source })?;
        Self::parse(&signed.text, suite, signed.signed_by, digest::of_bytes(message.as_bytes()))
    }

    fn parse(text: &str, suite: &str, signed_by: String, sha256: String) -> Result<Self, ReleaseError> {
        let missing = |field| ReleaseError::Field { suite: suite.to_owned(), field };
        let paragraph = control::paragraphs(text).next().ok_or_else(|| missing("Suite"))?;
        let names = [paragraph.value("Codename"), paragraph.value("Suite")];
        if !names.contains(&Some(suite)) {
            // A signed index of another suite must not stand in for this one.
            let found = names.into_iter().flatten().next().unwrap_or("another suite").to_owned();
            return Err(ReleaseError::OtherSuite { suite: suite.to_owned(), found });
        }
        let date_text = paragraph.value("Date").ok_or_else(|| missing("Date"))?;
        let date = parse_date(date_text).ok_or_else(|| missing("Date"))?;
        let valid_until = match paragraph.value("Valid-Until") {
            Some(value) => Some(parse_date(value).ok_or_else(|| missing("Valid-Until"))?),
            None => None,
        };
        let lines = paragraph.lines("SHA256").ok_or_else(|| missing("SHA256"))?;
        let files = lines.filter_map(parse_file).collect();
        Ok(Self {
            suite: suite.to_owned(),
            version: paragraph.value("Version").map_or_else(|| date.to_string(), str::to_owned),
            date,
            valid_until,
            acquire_by_hash: paragraph.value("Acquire-By-Hash") == Some("yes"),
            signed_by,
            sha256,
            files,
        })
    }

    /// Refuses an index that its signer no longer stands by.
    pub(crate) fn check_current(&self, now: Timestamp) -> Result<(), ReleaseError> {
        match self.valid_until {
            Some(until) if until < now => Err(ReleaseError::Expired { suite: self.suite.clone(), until }),
            _ => Ok(()),
        }
    }

    /// Digest and size of a listed file.
    pub(crate) fn file(&self, name: &str) -> Result<&IndexFile, ReleaseError> {
        self.files
            .get(name)
            .ok_or_else(|| ReleaseError::NotListed { suite: self.suite.clone(), file: name.to_owned() })
    }
}

fn parse_file(line: &str) -> Option<(String, IndexFile)> {
    let mut words = line.split_whitespace();
    let (sha256, size, name) = (words.next()?, words.next()?, words.next()?);
    let size = size.parse().ok()?;
    digest::is_sha256(sha256).then(|| (name.to_owned(), IndexFile { sha256: sha256.to_owned(), size }))
}

/// `Sat, 21 Nov 2026 09:15:44 UTC`.
fn parse_date(text: &str) -> Option<Timestamp> {
    let (_weekday, date) = text.split_once(", ")?;
    let date = date.strip_suffix(" UTC").or_else(|| date.strip_suffix(" +0000"))?;
    let date = civil::DateTime::strptime("%d %b %Y %H:%M:%S", date).ok()?;
    date.to_zoned(tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "be3d7d96a040eda0505c1808cccc67f183bbc05dff0842c50f88e6c396557412";

    fn text(extra: &str) -> String {
        format!(
            "Origin: Debian\nSuite: stable\nVersion: 13.8\nCodename: trixie\n\
             Date: Sat, 21 Nov 2026 09:15:44 UTC\n{extra}Acquire-By-Hash: yes\nMD5Sum:\n 00 1 main/x\n\
             SHA256:\n {HASH}  9679304 main/binary-amd64/Packages.xz\n"
        )
    }

    fn parse(text: &str, suite: &str) -> Result<Release, ReleaseError> {
        Release::parse(text, suite, String::new(), String::new())
    }

    #[test]
    fn fields_and_files_of_an_index() {
        let release = parse(&text(""), "trixie").unwrap();
        assert_eq!(release.version, "13.8");
        assert!(release.acquire_by_hash);
        assert_eq!(release.date.to_string(), "2026-11-21T09:15:44Z");
        let file = release.file("main/binary-amd64/Packages.xz").unwrap();
        assert_eq!(*file, IndexFile { sha256: HASH.to_owned(), size: 9_679_304 });
        // Only sha256 counts: what stands under MD5Sum alone is not listed.
        assert!(matches!(release.file("main/x"), Err(ReleaseError::NotListed { .. })));
    }

    #[test]
    fn another_suite_is_refused() {
        assert!(parse(&text(""), "stable").is_ok());
        assert!(matches!(parse(&text(""), "bookworm"), Err(ReleaseError::OtherSuite { .. })));
    }

    #[test]
    fn expiry_is_judged_by_valid_until() {
        let release = parse(&text("Valid-Until: Sat, 28 Nov 2026 09:15:44 UTC\n"), "trixie").unwrap();
        let until = release.valid_until.unwrap();
        assert!(release.check_current(until).is_ok());
        let later = Timestamp::from_second(until.as_second() + 1).unwrap();
        assert!(matches!(release.check_current(later), Err(ReleaseError::Expired { .. })));
        assert!(parse(&text("Valid-Until: soon\n"), "trixie").is_err());
    }
}
