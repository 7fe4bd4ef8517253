//! The journal's own superblock (jbd2, version 2, big-endian): empty, nothing to replay.

use super::{
    Identity,
    geometry::{BLOCK, Geometry},
};

const MAGIC: u32 = 0xc03b_3998;
const SUPERBLOCK_V2: u32 = 4;

pub(super) fn superblock(geometry: &Geometry, identity: &Identity) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0x00, MAGIC);
    put(0x04, SUPERBLOCK_V2);
    put(0x0c, BLOCK as u32);
    put(0x10, geometry.journal_blocks() as u32);
    put(0x14, 1); // first block of the log
    put(0x18, 1); // first sequence number
    put(0x1c, 0); // start of the log: 0 is "empty"
    put(0x40, 1); // users
    bytes[0x30..0x40].copy_from_slice(&identity.uuid);
    bytes
}
