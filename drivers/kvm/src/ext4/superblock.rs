//! The superblock: the filesystem's size, features and checksums.

use super::{
    Identity,
    checksum::crc32c,
    descriptors,
    geometry::{BLOCKS_PER_GROUP, GROUPS_PER_FLEX, Geometry, INODES_PER_GROUP},
    inode,
};

const SIZE: usize = 1024;
const MAGIC: u16 = 0xef53;
/// has_journal, ext_attr, dir_index.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x20;
/// filetype, extents, 64bit, flex_bg.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x80 | 0x200;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;
/// user_xattr, acl.
const MOUNT_OPTIONS: u32 = 0x4 | 0x8;
const LABEL: &[u8] = b"machine-data";

/// The copy that stands in `group`.
pub(super) fn encode(
    geometry: &Geometry,
    identity: &Identity,
    journal: &[u8; inode::SIZE],
    group: u64,
) -> Vec<u8> {
    let free_blocks: u64 =
        (0..geometry.groups()).map(|group| BLOCKS_PER_GROUP - geometry.used_blocks(group)).sum();
    let mut bytes = vec![0; SIZE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let time = identity.time.to_le_bytes();
    put(0x00, &(geometry.inodes() as u32).to_le_bytes());
    put(0x04, &(geometry.blocks() as u32).to_le_bytes());
    put(0x150, &((geometry.blocks() >> 32) as u32).to_le_bytes());
    put(0x0c, &(free_blocks as u32).to_le_bytes());
    put(0x158, &((free_blocks >> 32) as u32).to_le_bytes());
    put(0x10, &((geometry.inodes() - u64::from(inode::LOST_AND_FOUND)) as u32).to_le_bytes());
    put(0x18, &2_u32.to_le_bytes()); // block size 1024 << 2
    put(0x1c, &2_u32.to_le_bytes()); // cluster size likewise
    put(0x20, &(BLOCKS_PER_GROUP as u32).to_le_bytes());
    put(0x24, &(BLOCKS_PER_GROUP as u32).to_le_bytes());
    put(0x28, &(INODES_PER_GROUP as u32).to_le_bytes());
    put(0x30, &time); // written
    put(0x36, &u16::MAX.to_le_bytes()); // never checked for its number of mounts
    put(0x38, &MAGIC.to_le_bytes());
    put(0x3a, &1_u16.to_le_bytes()); // clean
    put(0x3c, &1_u16.to_le_bytes()); // on errors: continue
    put(0x40, &time); // checked
    put(0x4c, &1_u32.to_le_bytes()); // dynamic inode sizes
    put(0x54, &inode::LOST_AND_FOUND.to_le_bytes()); // first inode that is not reserved
    put(0x58, &(inode::SIZE as u16).to_le_bytes());
    put(0x5a, &(group as u16).to_le_bytes());
    put(0x5c, &COMPATIBLE.to_le_bytes());
    put(0x60, &INCOMPATIBLE.to_le_bytes());
    put(0x64, &READ_ONLY_COMPATIBLE.to_le_bytes());
    put(0x68, &identity.uuid);
    put(0x78, LABEL);
    put(0xe0, &inode::JOURNAL.to_le_bytes());
    put(0xec, &identity.hash_seed);
    put(0xfc, &[1, 1]); // half-MD4 directory hashes; the journal's inode is backed up below
    put(0xfe, &(descriptors::SIZE as u16).to_le_bytes());
    put(0x100, &MOUNT_OPTIONS.to_le_bytes());
    put(0x108, &time); // made
    put(0x10c, &journal[inode::I_BLOCK]);
    put(0x10c + 60, &journal[0x6c..0x70]); // its size, high half
    put(0x10c + 64, &journal[0x04..0x08]); // and low half
    put(0x15c, &32_u16.to_le_bytes()); // extra bytes that every inode has
    put(0x15e, &32_u16.to_le_bytes());
    put(0x160, &1_u32.to_le_bytes()); // directory hashes of signed characters
    put(0x174, &[GROUPS_PER_FLEX.trailing_zeros() as u8]);
    put(0x175, &[1]); // checksums are CRC-32C
    let checksum = crc32c(!0, &bytes[..SIZE - 4]);
    bytes[SIZE - 4..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}
