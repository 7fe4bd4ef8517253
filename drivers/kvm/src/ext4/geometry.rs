//! Where everything stands on the disk.

/// Bytes of a block.
pub(super) const BLOCK: u64 = 4096;
/// Blocks of a group: as many as one bitmap block describes.
pub(super) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK;
/// Bytes of a group; the disk is a multiple of it, so that no group is partial.
pub(crate) const GROUP_BYTES: u64 = BLOCKS_PER_GROUP * BLOCK;
/// One inode for 16 KiB, as mke2fs has it.
pub(super) const INODES_PER_GROUP: u64 = GROUP_BYTES / 16384;
/// Groups whose bitmaps and inode tables stand together.
pub(super) const GROUPS_PER_FLEX: u64 = 16;
/// Blocks of one group's inode table.
pub(super) const TABLE_BLOCKS: u64 = INODES_PER_GROUP * super::inode::SIZE as u64 / BLOCK;
/// Blocks of `lost+found`: e2fsck wants room before it needs it.
pub(super) const LOST_AND_FOUND_BLOCKS: u64 = 4;
/// Largest supported disk: 16 TiB, the largest file on a host with ext4; its descriptors still fit into
/// group 0.
const MAX_GROUPS: u64 = 16 * 8192;

/// The layout of a filesystem of a given size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    groups: u64,
}

impl Geometry {
    /// `None` when `size` is no multiple of [`GROUP_BYTES`], zero or beyond the largest one.
    pub(super) fn of(size: u64) -> Option<Self> {
        let groups = size / GROUP_BYTES;
        (size.is_multiple_of(GROUP_BYTES) && (1..=MAX_GROUPS).contains(&groups)).then_some(Self { groups })
    }

    pub(super) fn groups(&self) -> u64 {
        self.groups
    }

    pub(super) fn blocks(&self) -> u64 {
        self.groups * BLOCKS_PER_GROUP
    }

    pub(super) fn inodes(&self) -> u64 {
        self.groups * INODES_PER_GROUP
    }

    pub(super) fn first_block(group: u64) -> u64 {
        group * BLOCKS_PER_GROUP
    }

    /// Whether the group begins with a superblock and descriptors (`sparse_super`).
    pub(super) fn has_backup(group: u64) -> bool {
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        group <= 1 || power_of(3) || power_of(5) || power_of(7)
    }

    /// Blocks of superblock and descriptors at the start of a group.
    pub(super) fn backup_blocks(&self, group: u64) -> u64 {
        if Self::has_backup(group) { 1 + self.descriptor_blocks() } else { 0 }
    }

    fn descriptor_blocks(&self) -> u64 {
        (self.groups * super::descriptors::SIZE as u64).div_ceil(BLOCK)
    }

    /// The group that holds the bitmaps and the inode table of `group`.
    pub(super) fn leader(group: u64) -> u64 {
        group - group % GROUPS_PER_FLEX
    }

    /// How many groups the leader at `leader` serves.
    pub(super) fn members(&self, leader: u64) -> u64 {
        GROUPS_PER_FLEX.min(self.groups - leader)
    }

    fn flex(&self, group: u64) -> u64 {
        let leader = Self::leader(group);
        Self::first_block(leader) + self.backup_blocks(leader)
    }

    pub(super) fn block_bitmap(&self, group: u64) -> u64 {
        self.flex(group) + group % GROUPS_PER_FLEX
    }

    pub(super) fn inode_bitmap(&self, group: u64) -> u64 {
        self.flex(group) + self.members(Self::leader(group)) + group % GROUPS_PER_FLEX
    }

    pub(super) fn inode_table(&self, group: u64) -> u64 {
        self.flex(group) + 2 * self.members(Self::leader(group)) + TABLE_BLOCKS * (group % GROUPS_PER_FLEX)
    }

    /// Blocks of all bitmaps and tables that stand in `group`.
    pub(super) fn flex_blocks(&self, group: u64) -> u64 {
        if Self::leader(group) == group { self.members(group) * (2 + TABLE_BLOCKS) } else { 0 }
    }

    pub(super) fn journal(&self) -> u64 {
        self.backup_blocks(0) + self.flex_blocks(0)
    }

    /// A 64th of the disk, between 4 and 64 MiB.
    pub(super) fn journal_blocks(&self) -> u64 {
        (self.blocks() / 64).clamp(1024, 16384)
    }

    pub(super) fn root(&self) -> u64 {
        self.journal() + self.journal_blocks()
    }

    pub(super) fn lost_and_found(&self) -> u64 {
        self.root() + 1
    }

    /// How many blocks at the start of `group` are in use.
    pub(super) fn used_blocks(&self, group: u64) -> u64 {
        match group {
            0 => self.lost_and_found() + LOST_AND_FOUND_BLOCKS,
            _ => self.backup_blocks(group) + self.flex_blocks(group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_stand_in_group_1_and_powers_of_3_5_7() {
        let groups: Vec<_> = (0..130).filter(|group| Geometry::has_backup(*group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn what_group_0_holds_fits_at_every_size() {
        for groups in [1, 8, 15, 16, 17, 160, 800, MAX_GROUPS] {
            let geometry = Geometry::of(groups * GROUP_BYTES).unwrap();
            for group in [0, Geometry::leader(groups - 1), groups - 1] {
                assert!(geometry.used_blocks(group) < BLOCKS_PER_GROUP, "{groups} groups, group {group}");
            }
        }
        assert!(Geometry::of(0).is_none() && Geometry::of(GROUP_BYTES + 1).is_none());
    }
}
