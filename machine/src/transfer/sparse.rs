//! Copying so that zeros become holes.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

/// The unit that is written or left out.
const BLOCK: usize = 64 * 1024;

/// Copies all of `source` into the empty `target`.
pub(super) fn copy(source: &mut impl Read, target: &mut File) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut total = 0;
    loop {
        let count = fill(source, &mut block)?;
        if count == 0 {
            target.set_len(total)?;
            return Ok(total);
        }
        let data = &block[..count];
        if data.iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Current(count as i64))?;
        } else {
            target.write_all(data)?;
        }
        total += count as u64;
    }
}

fn fill(source: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_take_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut data = vec![0; 5 * 1024 * 1024 + 7];
        data[3_000_000] = 9;
        let mut file = File::create(&path).unwrap();
        assert_eq!(copy(&mut &data[..], &mut file).unwrap(), data.len() as u64);
        assert_eq!(std::fs::read(&path).unwrap(), data);
        assert!(path.metadata().unwrap().blocks() * 512 < 1024 * 1024);
    }
}
