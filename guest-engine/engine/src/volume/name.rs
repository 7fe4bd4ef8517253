//! What volumes may be called. A name becomes a folder.

use crate::error::{EngineError, Result};

/// What dockerd says that names consist of.
const ALLOWED: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";
/// Longest name of a folder.
const LONGEST: usize = 255;

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
