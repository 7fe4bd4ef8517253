//! Containers' root filesystems: a writable folder over a stack of layers.

use super::{DIFF_FOLDER, hex_of, make_folder};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_string,
        fsmount, fsopen, move_mount,
    },
};
use std::{
    env,
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    thread,
};

/// Largest file that [`Rootfs::read_file`] reads.
const FILE_LIMIT: u64 = 1024 * 1024;
const LAYERS_FILE: &str = "layers.json";

/// Where root filesystems are kept.
#[derive(Clone, Debug)]
pub(super) struct Rootfs {
    layers: PathBuf,
    folder: PathBuf,
}

impl Rootfs {
    /// Finishes what was being made or removed when the engine died.
    pub(super) fn new(layers: &Path, folder: PathBuf) -> Self {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                // In use or broken: the next create or remove of this id will say so.
                let _left = remove_folder(&entry.path());
            }
        }
        Self { layers: layers.to_owned(), folder }
    }

    /// The folder of what the container has written.
    pub(super) fn writable(&self, container: &str) -> PathBuf {
        self.folder.join(container).join(DIFF_FOLDER)
    }

    /// Where it is mounted.
    pub(super) fn merged(&self, container: &str) -> PathBuf {
        self.folder.join(container).join("merged")
    }

    /// Makes an empty one. One that is there with the same layers is kept.
    pub(super) fn create(&self, container: &str, layers: &[String]) -> io::Result<()> {
        if self.layers_of(container).is_ok_and(|there| there == layers) {
            return Ok(());
        }
        let temporary = self.folder.join(format!(".{container}"));
        remove_folder(&temporary)?;
        for name in [DIFF_FOLDER, "merged", "work"] {
            make_folder(&temporary.join(name))?;
        }
        if let Some(top) = layers.last() {
            // The root of the container is the upper folder's: it looks as the image's does.
            self.copy_root(top, &temporary.join(DIFF_FOLDER))?;
        }
        fs::write(temporary.join(LAYERS_FILE), serde_json::to_vec(layers)?)?;
        fs::rename(&temporary, self.folder.join(container))
    }

    /// Mounts it, unless it is mounted.
    pub(super) fn mount(&self, container: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(container);
        let merged = folder.join("merged");
        if is_mounted(&merged)? {
            return Ok(merged);
        }
        let layers = self.layers_of(container)?;
        let mut lower = Vec::with_capacity(layers.len());
        for layer in layers.iter().rev() {
            let hex = hex_of(layer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            lower.push(hex.to_owned());
        }
        match self.mount_by_steps(&folder, &lower) {
            Ok(()) => {}
            // Linux before 6.5 does not take layers one by one, before 5.2 has no such calls at all.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::ENOSYS)) => {
                self.mount_at_once(&folder, &lower)?;
            }
            Err(error) => return Err(error),
        }
        Ok(merged)
    }

    /// Unmounts it, also when somebody is still in it.
    pub(super) fn unmount(&self, container: &str) -> io::Result<()> {
        match umount2(&self.folder.join(container).join("merged"), MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Unmounts and removes it.
    pub(super) fn remove(&self, container: &str) -> io::Result<()> {
        self.unmount(container)?;
        let (folder, temporary) = (self.folder.join(container), self.folder.join(format!(".{container}")));
        remove_folder(&temporary)?;
        // First out of sight: it is never half there.
        match fs::rename(folder, &temporary) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| remove_folder(&temporary)),
        }
    }

    /// Everything in the folder but what is being made or removed.
    pub(super) fn ids(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            if let Ok(name) = entry?.file_name().into_string()
                && !name.starts_with('.')
            {
                ids.push(name);
            }
        }
        Ok(ids)
    }

    /// Reads a file as a process in the container would find it.
    pub(super) fn read_file(&self, container: &str, path: &str) -> io::Result<Option<Vec<u8>>> {
        let merged = File::open(self.folder.join(container).join("merged"))?;
        // Non-blocking: a FIFO must not keep us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = match openat2(&merged, path, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            other => File::from(other?),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidData, "not a regular file"));
        }
        let mut content = Vec::new();
        file.take(FILE_LIMIT + 1).read_to_end(&mut content)?;
        if content.len() as u64 > FILE_LIMIT {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB"));
        }
        Ok(Some(content))
    }

    fn layers_of(&self, container: &str) -> io::Result<Vec<String>> {
        Ok(serde_json::from_slice(&fs::read(self.folder.join(container).join(LAYERS_FILE))?)?)
    }

    fn layer_folder(&self, hex: &str) -> PathBuf {
        self.layers.join("sha256").join(hex).join(DIFF_FOLDER)
    }

    /// Owner and mode of the topmost layer's root.
    fn copy_root(&self, layer: &str, to: &Path) -> io::Result<()> {
        let hex = hex_of(layer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let metadata = fs::metadata(self.layer_folder(hex))?;
        std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
        fs::set_permissions(to, metadata.permissions())
    }

    /// With nothing below it overlayfs would refuse: an empty folder stands in.
    fn nothing(&self) -> io::Result<PathBuf> {
        let folder = self.layers.join("nothing");
        make_folder(&folder)?;
        Ok(folder)
    }

    /// Gives the kernel one layer at a time; no limit but overlayfs's own 500.
    fn mount_by_steps(&self, folder: &Path, lower: &[String]) -> io::Result<()> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", "overlay")?;
        if lower.is_empty() {
            fsconfig_set_string(&context, "lowerdir+", self.nothing()?)?;
        }
        for hex in lower {
            fsconfig_set_string(&context, "lowerdir+", self.layer_folder(hex))?;
        }
        fsconfig_set_string(&context, "upperdir", folder.join(DIFF_FOLDER))?;
        fsconfig_set_string(&context, "workdir", folder.join("work"))?;
        fsconfig_create(&context)?;
        let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        let merged = folder.join("merged");
        move_mount(&mounted, "", CWD, merged, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(())
    }

    /// One string with everything, at most a page: short links, relative to a working folder that only
    /// this thread has.
    fn mount_at_once(&self, folder: &Path, lower: &[String]) -> io::Result<()> {
        let links = self.layers.join("l");
        make_folder(&links)?;
        let mut names = Vec::with_capacity(lower.len());
        for hex in lower {
            let name = short(hex);
            match symlink(format!("../sha256/{hex}/{DIFF_FOLDER}"), links.join(&name)) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other?,
            }
            names.push(format!("l/{name}"));
        }
        if names.is_empty() {
            self.nothing()?;
            names.push("nothing".to_owned());
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            names.join(":"),
            folder.join(DIFF_FOLDER).display(),
            folder.join("work").display()
        );
        let (layers, merged) = (self.layers.clone(), folder.join("merged"));
        let worker = thread::spawn(move || -> io::Result<()> {
            unshare(CloneFlags::CLONE_FS)?;
            env::set_current_dir(layers)?;
            mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
            Ok(())
        });
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    }
}

/// A layer's name in the folder of short links: 96 bits of its digest.
pub(super) fn short(hex: &str) -> String {
    hex.chars().take(24).collect()
}

fn is_mounted(folder: &Path) -> io::Result<bool> {
    let parent = folder.parent().unwrap_or(folder);
    Ok(fs::metadata(folder)?.dev() != fs::metadata(parent)?.dev())
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
