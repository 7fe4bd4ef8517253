//! The three inodes of an empty filesystem: root, journal and `lost+found`.

use super::{
    Identity,
    checksum::crc32c,
    geometry::{BLOCK, Geometry, LOST_AND_FOUND_BLOCKS},
};

/// Bytes of an inode.
pub(super) const SIZE: usize = 256;
pub(super) const ROOT: u32 = 2;
pub(super) const JOURNAL: u32 = 8;
pub(super) const LOST_AND_FOUND: u32 = 11;
/// Where `i_block` stands; the superblock keeps a copy of the journal's.
pub(super) const I_BLOCK: std::ops::Range<usize> = 0x28..0x28 + 60;

const EXTENTS_FLAG: u32 = 0x8_0000;
const EXTENT_MAGIC: u16 = 0xf30a;
const EXTRA_SIZE: u16 = 32;

pub(super) fn root(geometry: &Geometry, identity: &Identity, seed: u32) -> [u8; SIZE] {
    encode(
        &Inode { number: ROOT, mode: 0o40755, links: 3, start: geometry.root(), blocks: 1 },
        identity,
        seed,
    )
}

pub(super) fn journal(geometry: &Geometry, identity: &Identity, seed: u32) -> [u8; SIZE] {
    let (start, blocks) = (geometry.journal(), geometry.journal_blocks());
    encode(&Inode { number: JOURNAL, mode: 0o100_600, links: 1, start, blocks }, identity, seed)
}

pub(super) fn lost_and_found(geometry: &Geometry, identity: &Identity, seed: u32) -> [u8; SIZE] {
    let (start, blocks) = (geometry.lost_and_found(), LOST_AND_FOUND_BLOCKS);
    encode(&Inode { number: LOST_AND_FOUND, mode: 0o40700, links: 2, start, blocks }, identity, seed)
}

/// What checksums of an inode, and of what it owns, start from.
pub(super) fn checksum_seed(seed: u32, number: u32) -> u32 {
    let generation = 0_u32;
    crc32c(crc32c(seed, &number.to_le_bytes()), &generation.to_le_bytes())
}

/// A file of one extent; all of its blocks are in group 0.
struct Inode {
    number: u32,
    mode: u16,
    links: u16,
    start: u64,
    blocks: u64,
}

fn encode(inode: &Inode, identity: &Identity, seed: u32) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let size = inode.blocks * BLOCK;
    let time = identity.time.to_le_bytes();
    put(0x00, &inode.mode.to_le_bytes());
    put(0x04, &(size as u32).to_le_bytes());
    put(0x08, &time); // accessed
    put(0x0c, &time); // changed
    put(0x10, &time); // modified
    put(0x1a, &inode.links.to_le_bytes());
    put(0x1c, &((size / 512) as u32).to_le_bytes());
    put(0x20, &EXTENTS_FLAG.to_le_bytes());
    // Extent header: one entry of four, depth 0; then the extent from logical block 0.
    put(0x28, &EXTENT_MAGIC.to_le_bytes());
    put(0x2a, &1_u16.to_le_bytes());
    put(0x2c, &4_u16.to_le_bytes());
    put(0x38, &(inode.blocks as u16).to_le_bytes());
    put(0x3a, &((inode.start >> 32) as u16).to_le_bytes());
    put(0x3c, &(inode.start as u32).to_le_bytes());
    put(0x80, &EXTRA_SIZE.to_le_bytes());
    put(0x90, &time); // created
    let checksum = crc32c(checksum_seed(seed, inode.number), &bytes);
    bytes[0x7c..0x7e].copy_from_slice(&(checksum as u16).to_le_bytes());
    bytes[0x82..0x84].copy_from_slice(&((checksum >> 16) as u16).to_le_bytes());
    bytes
}
