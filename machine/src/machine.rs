//! What identifies a machine: its name, chosen by the user, and its id, drawn once and never reused.

use serde::{Deserialize, Serialize};
use std::{fmt, fs::File, io, io::Read, str::FromStr};

/// The name a command uses when none is given, as docker-machine's commands did.
pub const DEFAULT_NAME: &str = "default";

/// Longest name, the limit of a host name label.
const MAX_NAME: usize = 63;

/// A machine's name: docker-machine's rule (letters, digits, `.` and `-`, the first a letter or digit)
/// and at most 63 characters. Safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);

/// The name breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("A machine's name must not be empty")]
    Empty,
    /// More than 63 characters.
    #[error("The name {name:?} is too long: {length} characters, and at most {MAX_NAME} are allowed")]
    TooLong { name: String, length: usize },
    /// A character that is not allowed, or not allowed there.
    #[error(
        "Invalid hostname {name:?}. Allowed hostname chars are: 0-9a-zA-Z . - (the first a letter or digit)"
    )]
    Character { name: String },
}

/// The id of one machine; two machines of the same name, one after the other, differ in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MachineId(String);

// === impl MachineName ===

impl MachineName {
    /// The name as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a single host name label (RFC 1123): dots become dashes, none at the end.
    pub fn hostname(&self) -> String {
        self.0.replace('.', "-").trim_end_matches('-').to_owned()
    }
}

impl FromStr for MachineName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let Some(first) = name.chars().next() else { return Err(NameError::Empty) };
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if !first.is_ascii_alphanumeric() || !name.chars().all(allowed) {
            return Err(NameError::Character { name: name.to_owned() });
        }
        if name.len() > MAX_NAME {
            return Err(NameError::TooLong { name: name.to_owned(), length: name.len() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for MachineName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl MachineId ===

impl MachineId {
    /// Draws 128 bits from the kernel.
    pub fn draw() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_ne_bytes(bytes))))
    }

    /// 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_machines_names_are_accepted() {
        for name in ["dev", "Dev-1", "a.b.c", "0", "a-", "a."] {
            assert_eq!(name.parse::<MachineName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_are_no_file_or_host_name_are_refused() {
        assert_eq!("".parse::<MachineName>(), Err(NameError::Empty));
        for name in ["-a", ".a", "..", "a/b", "a b", "a_b", "ä", "a\n", "a\0"] {
            assert!(matches!(name.parse::<MachineName>(), Err(NameError::Character { .. })), "{name:?}");
        }
        assert!(matches!("a".repeat(64).parse::<MachineName>(), Err(NameError::TooLong { length: 64, .. })));
        assert!("a".repeat(63).parse::<MachineName>().is_ok());
    }

    #[test]
    fn a_host_name_is_one_label() {
        for (name, label) in [("dev", "dev"), ("a.b", "a-b"), ("a.", "a"), ("x--", "x")] {
            assert_eq!(name.parse::<MachineName>().unwrap().hostname(), label);
        }
    }

    #[test]
    fn ids_differ() {
        let id = MachineId::draw().unwrap();
        assert_eq!(id.as_str().len(), 32);
        assert_ne!(id, MachineId::draw().unwrap());
    }
}
