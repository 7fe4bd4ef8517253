//! Where on the disk a layer grows.
//!
//! ext4 does not give an inode out again for minutes after it was freed, and passes over such inodes one by
//! one, for every file anew: a layer that grows where a large one was just removed takes seconds longer,
//! all of them in the kernel. Layers have nothing to do with each other, so ext4 is told to spread them, and
//! where it chooses a place that was left lately it is asked again.

use super::make_folder;
use rustix::fs::IFlags;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long ext4 avoids freed inodes.
const LATELY: Duration = Duration::from_secs(300);
/// Inodes that ext4 fills together, of a disk formatted as usual.
const NEAR: u64 = 16 * 8192;
/// Places to look at.
const TRIES: usize = 6;

/// Remembers the folders of removed layers, by inode.
#[derive(Debug, Default)]
pub(super) struct Ground(Mutex<Vec<(u64, Instant)>>);

impl Ground {
    /// Hears of a layer's folder that is about to be removed.
    pub(super) fn leave(&self, folder: &Path) {
        if let Ok(metadata) = fs::metadata(folder) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((metadata.ino(), Instant::now()));
        }
    }

    /// Makes the folder that becomes a layer.
    pub(super) fn make(&self, folder: &Path) -> io::Result<()> {
        let parent = folder.parent().unwrap_or(folder);
        make_folder(parent)?;
        let opened = File::open(parent)?;
        if let Ok(flags) = rustix::fs::ioctl_getflags(&opened)
            && !flags.contains(IFlags::TOPDIR)
        {
            // Other file systems do without.
            let _not_known = rustix::fs::ioctl_setflags(&opened, flags | IFlags::TOPDIR);
        }
        let mut bad = Vec::new();
        make_folder(folder)?;
        while bad.len() < TRIES && self.was_left(fs::metadata(folder)?.ino()) {
            // It keeps its place until a better one is found.
            let aside = folder.with_extension(bad.len().to_string());
            fs::rename(folder, &aside)?;
            bad.push(aside);
            make_folder(folder)?;
        }
        bad.iter().try_for_each(fs::remove_dir)
    }

    fn was_left(&self, inode: u64) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|(_, when)| when.elapsed() < LATELY);
        left.iter().any(|(other, _)| other.abs_diff(inode) < NEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_whatever_was_left() {
        let layers = tempfile::tempdir().unwrap();
        let (ground, folder) = (Ground::default(), layers.path().join("tmp/1"));
        ground.make(&folder).unwrap();
        ground.leave(&folder);
        fs::remove_dir(&folder).unwrap();
        ground.make(&folder).unwrap();
        // Nothing of the search stays.
        assert_eq!(fs::read_dir(layers.path().join("tmp")).unwrap().count(), 1);
    }
}
