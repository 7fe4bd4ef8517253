//! Bytes that nobody guesses.

use machine_drivers::DriverError;
use std::{fs::File, io::Read};

const SOURCE: &str = "/dev/urandom";

/// `N` of them.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], DriverError> {
    let mut bytes = [0_u8; N];
    File::open(SOURCE)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| DriverError::File { action: "read", path: SOURCE.to_owned(), source })?;
    Ok(bytes)
}
