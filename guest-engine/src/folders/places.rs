//! Folders on a host that is somebody's, where other people than root live.
//!
//! Who may do what with a file is decided on the user's computer, for the user; so a mount that others get to would
//! give them the user's files. Folders are therefore mounted in places where only root gets, and a link to its place
//! stands at each folder's own path: root, who starts containers, follows it. Backups and searches of the host do
//! not, and nothing that the host has is hidden. What is made outside of the places is written down before it is
//! made, for whoever takes everything away again.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// All places of a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    folder: &'a Path,
    made: &'a Path,
}

/// One folder's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    places: Places<'a>,
    number: usize,
}

impl<'a> Places<'a> {
    pub(super) fn new(folder: &'a Path, made: &'a Path) -> Self {
        Self { folder, made }
    }

    pub(super) fn number(self, number: usize) -> Place<'a> {
        Place { places: self, number }
    }

    /// Makes the folder of all places.
    fn make(&self) -> io::Result<()> {
        self.folder.parent().map_or(Ok(()), fs::create_dir_all)?;
        match DirBuilder::new().mode(0o700).create(self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::set_permissions(self.folder, Permissions::from_mode(0o700)),
        }
    }

    /// Whether a link of ours stands at the path.
    fn is_linked(&self, path: &Path) -> bool {
        fs::read_link(path).is_ok_and(|target| target.parent() == Some(self.folder))
    }

    fn note(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.made)?;
        file.write_all(&[path.as_os_str().as_encoded_bytes(), b"\n"].concat())?;
        file.sync_data()
    }
}

impl Place<'_> {
    /// Where to mount.
    pub(super) fn path(&self) -> PathBuf {
        self.places.folder.join(self.number.to_string())
    }

    /// Mounts, and puts the link at `path`; without a mount there is no link either.
    pub(super) fn linked<T>(&self, path: &Path, mount: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.places.make()?;
        let is_linked = self.places.is_linked(path);
        if !is_linked && fs::symlink_metadata(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the host has something of its own there",
            ));
        }
        let mounted = mount();
        if is_linked && (mounted.is_err() || fs::read_link(path)? != self.path()) {
            fs::remove_file(path)?;
        }
        let mounted = mounted?;
        self.link(path)?;
        Ok(mounted)
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        if self.places.is_linked(path) {
            return Ok(());
        }
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            self.places.note(folder)?;
            fs::create_dir(folder)?;
        }
        self.places.note(path)?;
        symlink(self.path(), path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_private_places_and_everything_made_is_written_down() {
        let host = tempfile::tempdir().unwrap();
        let (folder, made) = (host.path().join("run/places"), host.path().join("made"));
        let places = Places::new(&folder, &made);
        let shared = host.path().join("home/me/src");
        let link = |number: usize, path: &Path| {
            let place = places.number(number);
            place.linked(path, || fs::create_dir_all(place.path())).map_err(|error| error.to_string())
        };
        link(0, &shared).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_link(&shared).unwrap(), folder.join("0"));
        let noted = ["home", "home/me", "home/me/src"].map(|path| host.path().join(path));
        let noted = noted.map(|path| format!("{}\n", path.display())).concat();
        assert_eq!(fs::read_to_string(&made).unwrap(), noted);

        // Again, as after the host was booted, and with another number.
        link(0, &shared).unwrap();
        assert_eq!(fs::read_to_string(&made).unwrap(), noted, "once");
        link(1, &shared).unwrap();
        assert_eq!(fs::read_link(&shared).unwrap(), folder.join("1"));

        // What is the host's stays.
        for path in [host.path().join("home"), host.path().join("made")] {
            assert_eq!(link(2, &path).unwrap_err(), "the host has something of its own there");
        }
        // No mount, no link.
        let error =
            places.number(1).linked(&shared, || Err::<(), _>(io::Error::other("no fuse"))).unwrap_err();
        assert_eq!(error.to_string(), "no fuse");
        assert!(fs::symlink_metadata(&shared).is_err());
    }
}
