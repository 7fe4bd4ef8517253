//! The blocks of the two directories of an empty filesystem.

use super::{
    checksum::crc32c,
    geometry::{BLOCK, LOST_AND_FOUND_BLOCKS},
    inode,
};

const LEN: usize = BLOCK as usize;
/// The checksum stands at the end of each block, disguised as an unused entry.
const TAIL: usize = 12;
const DIRECTORY: u8 = 2;

pub(super) fn root(seed: u32) -> Vec<u8> {
    let entries = [(inode::ROOT, "."), (inode::ROOT, ".."), (inode::LOST_AND_FOUND, "lost+found")];
    block(seed, inode::ROOT, &entries)
}

pub(super) fn lost_and_found(seed: u32) -> Vec<Vec<u8>> {
    let first = [(inode::LOST_AND_FOUND, "."), (inode::ROOT, "..")];
    let empty = [(0, "")];
    (0..LOST_AND_FOUND_BLOCKS)
        .map(|index| block(seed, inode::LOST_AND_FOUND, if index == 0 { &first } else { &empty }))
        .collect()
}

/// The last entry takes what is left of the block.
fn block(seed: u32, owner: u32, entries: &[(u32, &str)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    for (index, (number, name)) in entries.iter().enumerate() {
        let last = index + 1 == entries.len();
        let needed = (8 + name.len()).next_multiple_of(4);
        let length = if last { LEN - TAIL - bytes.len() } else { needed };
        let end = bytes.len() + length;
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&(length as u16).to_le_bytes());
        bytes.extend_from_slice(&[name.len() as u8, if *number == 0 { 0 } else { DIRECTORY }]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(end, 0);
    }
    let checksum = crc32c(inode::checksum_seed(seed, owner), &bytes);
    bytes.extend_from_slice(&[0, 0, 0, 0, TAIL as u8, 0, 0, 0xde]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}
