//! Where on the disk a layer grows.
//!
//! ext4 does not give an inode out again for minutes after it was freed, and passes over such inodes one by
//! one, for every file anew: a layer that grows where a large one was just removed takes seconds longer,
//! all of them in the kernel. Layers have nothing to do with each other, so ext4 is told to spread them; and
//! where making a file turns out to be slow it is asked for another place.

use super::make_folder;
use rustix::fs::IFlags;
use std::{
    fs::{self, File},
    io,
    path::Path,
    time::{Duration, Instant},
};

/// Making a file takes as long as some twenty looks at one, and as many hundred where inodes are passed over.
const LOOKS: u32 = 100;
/// Never a reason to go on.
const QUICK: Duration = Duration::from_micros(50);
/// Places to try, and what is measured in each: the best of so many.
const PLACES: usize = 12;
const TIMES: usize = 3;

/// Makes the folder in which a layer is unpacked.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    make_folder(parent)?;
    let opened = File::open(parent)?;
    if let Ok(flags) = rustix::fs::ioctl_getflags(&opened)
        && !flags.contains(IFlags::TOPDIR)
    {
        // Other file systems do without.
        let _not_known = rustix::fs::ioctl_setflags(&opened, flags | IFlags::TOPDIR);
    }
    let mut places = Vec::new();
    loop {
        // Each keeps its place until the best is known.
        let place = folder.with_extension(places.len().to_string());
        make_folder(&place)?;
        let (effort, look) = effort(&place)?;
        places.push((effort, place));
        if effort < QUICK.max(look * LOOKS) || places.len() == PLACES {
            break;
        }
    }
    places.sort();
    for (_, place) in &places[1..] {
        fs::remove_dir(place)?;
    }
    fs::rename(&places[0].1, folder)
}

/// How long making a file takes, and looking at it.
fn effort(place: &Path) -> io::Result<(Duration, Duration)> {
    let probe = place.join("probe");
    let (mut make, mut look) = (Duration::MAX, Duration::MAX);
    for _ in 0..TIMES {
        let begun = Instant::now();
        File::create_new(&probe)?;
        let made = Instant::now();
        fs::symlink_metadata(&probe)?;
        look = look.min(made.elapsed());
        make = make.min(made - begun);
        fs::remove_file(&probe)?;
    }
    Ok((make, look))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_leaves_one_empty_folder() {
        let layers = tempfile::tempdir().unwrap();
        let folder = layers.path().join("tmp/1");
        make(&folder).unwrap();
        assert_eq!(fs::read_dir(layers.path().join("tmp")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
