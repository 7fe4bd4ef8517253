//! Formats the data disk: an ext4 filesystem written straight into a sparse file, without mke2fs.
//!
//! The file must read as zeros, so only what differs from zero is written (about a megabyte, whatever
//! the size). The result has a journal (the VM can lose power at any moment), metadata checksums and
//! initialised inode tables, and grows online (`EXT4_IOC_RESIZE_FS`): it has no resize inode, so the
//! kernel turns to `meta_bg` when it grows.
//!
//! ```text
//!   group 0:  superblock · descriptors · bitmaps and inode tables of groups 0-15 · journal · / · lost+found
//!   group 16, 32, …:                     bitmaps and inode tables of the next 16 groups
//!   groups 1 and powers of 3, 5, 7:  backups of superblock and descriptors
//! ```

mod checksum;
mod descriptors;
mod directory;
mod geometry;
mod inode;
mod journal;
mod superblock;

use checksum::crc32c;
use geometry::{BLOCK, Geometry};
use std::{fs::File, io, os::unix::fs::FileExt};

pub(crate) use geometry::GROUP_BYTES;

/// What makes one filesystem differ from another of the same size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Filesystem UUID.
    pub(crate) uuid: [u8; 16],
    /// Seed of directory hashes.
    pub(crate) hash_seed: [u8; 16],
    /// Creation time, seconds since the Unix epoch.
    pub(crate) time: u32,
}

/// Writes an empty filesystem of `size` bytes (a multiple of [`GROUP_BYTES`]) into `file`, which must
/// be as long and read as zeros.
pub(crate) fn format(file: &File, size: u64, identity: &Identity) -> io::Result<()> {
    let geometry = Geometry::of(size)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no multiple of the group size"))?;
    let seed = crc32c(!0, &identity.uuid);
    let at = |block: u64, bytes: &[u8]| file.write_all_at(bytes, block * BLOCK);

    at(geometry.journal(), &journal::superblock(&geometry, identity))?;
    at(geometry.root(), &directory::root(seed))?;
    for (index, block) in directory::lost_and_found(seed).iter().enumerate() {
        at(geometry.lost_and_found() + index as u64, block)?;
    }
    let journal_inode = inode::journal(&geometry, identity, seed);
    let table = [
        (inode::ROOT, inode::root(&geometry, identity, seed)),
        (inode::JOURNAL, journal_inode),
        (inode::LOST_AND_FOUND, inode::lost_and_found(&geometry, identity, seed)),
    ];
    for (number, bytes) in &table {
        let offset = u64::from(number - 1) * inode::SIZE as u64;
        file.write_all_at(bytes, geometry.inode_table(0) * BLOCK + offset)?;
    }

    let mut descriptors = Vec::with_capacity(geometry.groups() as usize * descriptors::SIZE);
    for group in 0..geometry.groups() {
        let described = descriptors::describe(&geometry, group, seed);
        if let Some(bitmap) = &described.block_bitmap {
            at(geometry.block_bitmap(group), bitmap)?;
        }
        if let Some(bitmap) = &described.inode_bitmap {
            at(geometry.inode_bitmap(group), bitmap)?;
        }
        descriptors.extend_from_slice(&described.descriptor);
    }
    for group in (0..geometry.groups()).filter(|group| Geometry::has_backup(*group)) {
        let bytes = superblock::encode(&geometry, identity, &journal_inode, group);
        // The primary superblock stands behind 1024 bytes for a boot loader; backups do not.
        let offset = if group == 0 { 1024 } else { 0 };
        file.write_all_at(&bytes, Geometry::first_block(group) * BLOCK + offset)?;
        at(Geometry::first_block(group) + 1, &descriptors)?;
    }
    Ok(())
}
