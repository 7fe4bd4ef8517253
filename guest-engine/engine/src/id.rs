//! Ids of containers, execs, networks and endpoints: 256 random bits in lower-case hex.

use crate::error::{EngineError, Result};
use std::{fmt::Write, fs::File, io::Read};

/// How many characters of an id people see.
pub const SHORT: usize = 12;

/// Random bytes from the operating system.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|e| EngineError::system("Could not draw randomness").because(e))?;
    Ok(bytes)
}

/// A new id of 64 hex characters. Its first twelve are never all digits, because Docker's clients and
/// the container's hostname would read that as a number.
pub fn random_id() -> Result<String> {
    loop {
        let id = hex(&random_bytes::<32>()?);
        if !short(&id).bytes().all(|b| b.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// The part of an id that people see.
pub fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_differ() {
        let (a, b) = (random_id().unwrap(), random_id().unwrap());
        assert_eq!((a.len(), short(&a).len()), (64, SHORT));
        assert!(a.bytes().all(|c| c.is_ascii_hexdigit()) && a != b);
        assert_eq!(hex(&[0, 171]), "00ab");
    }
}
