//! Names of containers: which are allowed, and the ones we make up; and patterns that names are looked for by.

mod words;

use crate::{
    error::{EngineError, Result},
    id::random_bytes,
};
use regex::Regex;
use words::{ADJECTIVES, SURNAMES};

/// The characters that a name may have, as clients know the sentence.
const ALLOWED: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// Checks a name given by a user; one leading slash is ignored.
pub fn validate(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && bare.len() > 1 {
        return Ok(bare);
    }
    Err(EngineError::invalid(format!("Invalid container name ({name}), only {ALLOWED} are allowed")))
}

/// A made-up name, `adjective_surname`; with a digit behind it from the second attempt on.
pub fn random(attempt: u32) -> Result<String> {
    let [a, b, c, d, digit] = random_bytes::<5>()?;
    let pick = |words: &'static [&'static str], high: u8, low: u8| {
        words.get(usize::from(u16::from_be_bytes([high, low])) % words.len()).copied().unwrap_or("plain")
    };
    let name = format!("{}_{}", pick(ADJECTIVES, a, b), pick(SURNAMES, c, d));
    Ok(if attempt == 0 { name } else { format!("{name}{}", digit % 10) })
}

/// The `name` filter of lists: regular expressions of which one has to match.
#[derive(Clone, Debug, Default)]
pub struct NamePatterns {
    asked: bool,
    understood: Vec<Regex>,
}

impl NamePatterns {
    /// Without any, every name is accepted. One that is no regular expression matches nothing, as in dockerd.
    pub fn new(patterns: &[String]) -> Self {
        let understood = patterns.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect();
        Self { asked: !patterns.is_empty(), understood }
    }

    /// Whether they let a name through.
    pub fn accept(&self, name: &str) -> bool {
        !self.asked || self.understood.iter().any(|pattern| pattern.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["ab", "/web", "a_b.c-1", "0x"] {
            assert!(validate(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "/", "-ab", "a b", "a/b", "ä-b", "//ab", ".ab"] {
            assert!(validate(bad).is_err(), "{bad}");
        }
        assert_eq!(
            validate("a b").unwrap_err().to_string(),
            "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
    }

    #[test]
    fn made_up_names_are_valid() {
        for attempt in 0..50 {
            assert!(validate(&random(attempt).unwrap()).is_ok());
        }
        assert!(ADJECTIVES.iter().chain(SURNAMES).all(|w| w.bytes().all(|b| b.is_ascii_lowercase())));
    }

    #[test]
    fn names_are_found_by_pattern() {
        let found = |patterns: &[&str], name| {
            NamePatterns::new(&patterns.iter().map(ToString::to_string).collect::<Vec<_>>()).accept(name)
        };
        assert!(found(&[], "web") && found(&["e"], "web") && found(&["^x", "b$"], "web"));
        assert!(!found(&["^e"], "web") && !found(&["["], "web"));
    }
}
