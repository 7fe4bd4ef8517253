//! Group descriptors and the two bitmaps that each may have.

use super::{
    checksum::crc32c,
    geometry::{BLOCK, BLOCKS_PER_GROUP, Geometry, INODES_PER_GROUP},
    inode,
};

/// Bytes of a descriptor (`64bit`).
pub(super) const SIZE: usize = 64;

const INODES_UNINITIALISED: u16 = 1;
const BLOCKS_UNINITIALISED: u16 = 2;
/// The inode table is all zeros already, so the kernel need not zero it in the background.
const TABLE_ZEROED: u16 = 4;

/// A group's descriptor, with the bitmaps that must be written; the kernel makes the others up.
pub(super) struct Described {
    pub(super) descriptor: [u8; SIZE],
    pub(super) block_bitmap: Option<Vec<u8>>,
    pub(super) inode_bitmap: Option<Vec<u8>>,
}

pub(super) fn describe(geometry: &Geometry, group: u64, seed: u32) -> Described {
    let used_inodes = if group == 0 { u64::from(inode::LOST_AND_FOUND) } else { 0 };
    let used_blocks = geometry.used_blocks(group);
    let mut flags = TABLE_ZEROED;
    let block_bitmap = if geometry.flex_blocks(group) > 0 || group + 1 == geometry.groups() {
        Some(bitmap(used_blocks, BLOCKS_PER_GROUP))
    } else {
        flags |= BLOCKS_UNINITIALISED;
        None
    };
    let inode_bitmap = if group == 0 {
        Some(bitmap(used_inodes, INODES_PER_GROUP))
    } else {
        flags |= INODES_UNINITIALISED;
        None
    };
    let free_inodes = INODES_PER_GROUP - used_inodes;
    let checksum = |bitmap: Option<&Vec<u8>>, bits: u64| {
        bitmap.map_or(0, |bytes| crc32c(seed, &bytes[..(bits / 8) as usize]))
    };

    let mut bytes = [0; SIZE];
    split(&mut bytes, 0x00, 0x20, geometry.block_bitmap(group));
    split(&mut bytes, 0x04, 0x24, geometry.inode_bitmap(group));
    split(&mut bytes, 0x08, 0x28, geometry.inode_table(group));
    halves(&mut bytes, 0x0c, 0x2c, (BLOCKS_PER_GROUP - used_blocks) as u32);
    halves(&mut bytes, 0x0e, 0x2e, free_inodes as u32);
    halves(&mut bytes, 0x10, 0x30, if group == 0 { 2 } else { 0 }); // directories
    bytes[0x12..0x14].copy_from_slice(&flags.to_le_bytes());
    halves(&mut bytes, 0x18, 0x38, checksum(block_bitmap.as_ref(), BLOCKS_PER_GROUP));
    halves(&mut bytes, 0x1a, 0x3a, checksum(inode_bitmap.as_ref(), INODES_PER_GROUP));
    halves(&mut bytes, 0x1c, 0x32, free_inodes as u32); // never used, at the table's end
    let own = crc32c(crc32c(seed, &(group as u32).to_le_bytes()), &bytes);
    bytes[0x1e..0x20].copy_from_slice(&(own as u16).to_le_bytes());
    Described { descriptor: bytes, block_bitmap, inode_bitmap }
}

/// A block with the first `used` bits set, and everything from `bits` on: that does not exist.
fn bitmap(used: u64, bits: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    for bit in (0..used).chain(bits..BLOCK * 8) {
        bytes[(bit / 8) as usize] |= 1 << (bit % 8);
    }
    bytes
}

fn split(bytes: &mut [u8; SIZE], low: usize, high: usize, value: u64) {
    bytes[low..low + 4].copy_from_slice(&(value as u32).to_le_bytes());
    bytes[high..high + 4].copy_from_slice(&((value >> 32) as u32).to_le_bytes());
}

fn halves(bytes: &mut [u8; SIZE], low: usize, high: usize, value: u32) {
    bytes[low..low + 2].copy_from_slice(&(value as u16).to_le_bytes());
    bytes[high..high + 2].copy_from_slice(&((value >> 16) as u16).to_le_bytes());
}
