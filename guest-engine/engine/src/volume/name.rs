//! What volumes may be called. A name becomes a folder.

use crate::error::{EngineError, Result};
use regex::Regex;

/// What dockerd says that names consist of.
const ALLOWED: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";
/// Longest name of a folder.
const LONGEST: usize = 255;

/// Patterns of which a name has to match one; none accepts every name.
#[derive(Clone, Debug, Default)]
pub struct NameFilter(Vec<Regex>);

impl NameFilter {
    /// Understands regular expressions.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let invalid = |name: &str| EngineError::invalid(format!("invalid filter 'name={name}'"));
        patterns
            .iter()
            .map(|name| Regex::new(name).map_err(|_| invalid(name)))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether it lets a name through.
    pub fn accepts(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.is_match(name))
    }
}

/// Refuses anything that is no name.
pub(super) fn check(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(EngineError::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !plain || name.len() > LONGEST || !name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) {
        return Err(EngineError::invalid(format!(
            "{name:?} includes invalid characters for a local volume name, only {ALLOWED:?} are allowed. If you \
             intended to pass a host directory, use absolute path"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_folder() {
        for good in ["ab", "my-vol_1.x", "0a"] {
            check(good).unwrap();
        }
        for bad in ["", "a", "..", ".hidden", "a/b", "../x", "a b", "ä1", &"x".repeat(256)] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check("a/b").unwrap_err().to_string().starts_with(
            "\"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are"
        ));
    }
}
