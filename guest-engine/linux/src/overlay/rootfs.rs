//! Containers' root filesystems: a writable folder over a stack of layers.
//!
//! One is mounted while its container runs, and while somebody looks into it from outside.

use super::{DIFF_FOLDER, base_files, hex_of, lower::Lower, make_folder};
use crate::open_within::open_within;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use rustix::{
    fs::{CWD, OFlags, ResolveFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_string,
        fsmount, fsopen, move_mount,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    env,
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Largest file that [`Rootfs::read_file`] reads.
const FILE_LIMIT: u64 = 1024 * 1024;
const LAYERS_FILE: &str = "layers.json";
/// Folder of what every container has, in a container's own.
const BASE_FOLDER: &str = "init";

/// Where root filesystems are kept.
#[derive(Clone, Debug)]
pub(super) struct Rootfs {
    layers: PathBuf,
    folder: PathBuf,
    /// Who needs which one mounted. Not those that an earlier engine has mounted.
    uses: Arc<Mutex<HashMap<String, Use>>>,
}

#[derive(Debug, Default)]
struct Use {
    /// Its container runs.
    by_container: bool,
    leases: usize,
}

/// Keeps a root filesystem mounted.
#[derive(Debug)]
pub(super) struct Lease {
    rootfs: Rootfs,
    container: String,
    pub(super) merged: PathBuf,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut uses = self.rootfs.uses();
        let Some(own) = uses.get_mut(&self.container) else { return };
        own.leases = own.leases.saturating_sub(1);
        if own.leases == 0 && !own.by_container {
            uses.remove(&self.container);
            if let Err(error) = self.rootfs.unmount_now(&self.container) {
                tracing::warn!(%error, container = self.container, "A root filesystem stayed mounted");
            }
        }
    }
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
        Self { layers: layers.to_owned(), folder, uses: Arc::default() }
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

    /// Makes the layer of what every container has. Before the first mount.
    pub(super) fn add_base_files(&self, container: &str) -> io::Result<()> {
        let image = Lower::open(&self.image_folders(container)?)?;
        base_files::make(&image, &self.folder.join(container).join(BASE_FOLDER))
    }

    /// What is below the container's writable folder.
    pub(super) fn lower(&self, container: &str) -> io::Result<Lower> {
        let mut folders = self.image_folders(container)?;
        folders.splice(0..0, self.base_folder(container));
        Lower::open(&folders)
    }

    /// Mounts it for its container, unless it is mounted.
    pub(super) fn mount(&self, container: &str) -> io::Result<PathBuf> {
        let mut uses = self.uses();
        let merged = self.mount_now(container)?;
        uses.entry(container.to_owned()).or_default().by_container = true;
        Ok(merged)
    }

    /// Its container does not need it any more: unmounts it, unless it is leased.
    pub(super) fn unmount(&self, container: &str) -> io::Result<()> {
        let mut uses = self.uses();
        if let Some(own) = uses.get_mut(container)
            && own.leases > 0
        {
            own.by_container = false;
            return Ok(());
        }
        uses.remove(container);
        self.unmount_now(container)
    }

    /// Has it mounted as long as the lease lives.
    pub(super) fn lease(&self, container: &str) -> io::Result<Lease> {
        let mut uses = self.uses();
        // An earlier engine's mount is that of a running container.
        let mounted = is_mounted(&self.merged(container))?;
        let merged = self.mount_now(container)?;
        let own = uses.entry(container.to_owned()).or_insert(Use { by_container: mounted, leases: 0 });
        own.leases += 1;
        Ok(Lease { rootfs: self.clone(), container: container.to_owned(), merged })
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<String, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mount_now(&self, container: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(container);
        let merged = folder.join("merged");
        if is_mounted(&merged)? {
            return Ok(merged);
        }
        let layers = self.layers_of(container)?;
        let mut lower: Vec<String> = Vec::with_capacity(layers.len());
        for layer in layers.iter().rev() {
            let hex = hex_of(layer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            // The kernel takes a folder once only. Below itself a layer has nothing to add.
            if !lower.iter().any(|above| above == hex) {
                lower.push(hex.to_owned());
            }
        }
        let base = self.base_folder(container);
        match self.mount_by_steps(&folder, base.as_deref(), &lower) {
            Ok(()) => {}
            // Linux before 6.5 does not take layers one by one, before 5.2 has no such calls at all.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::ENOSYS)) => {
                self.mount_at_once(&folder, base.as_deref(), &lower)?;
            }
            Err(error) => return Err(error),
        }
        Ok(merged)
    }

    /// Also when somebody is still in it.
    fn unmount_now(&self, container: &str) -> io::Result<()> {
        match umount2(&self.folder.join(container).join("merged"), MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Unmounts and removes it.
    pub(super) fn remove(&self, container: &str) -> io::Result<()> {
        self.uses().remove(container);
        self.unmount_now(container)?;
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

    /// As overlay2's driver of dockerd names them.
    pub(super) fn folders(&self, container: &str, layers: &[String]) -> BTreeMap<&'static str, String> {
        let folder = self.folder.join(container);
        let images = layers.iter().rev().filter_map(|layer| hex_of(layer).ok());
        let lower: Vec<String> = std::iter::once(folder.join(BASE_FOLDER))
            .chain(images.map(|hex| self.layer_folder(hex)))
            .map(|folder| folder.display().to_string())
            .collect();
        let text = |path: PathBuf| path.display().to_string();
        BTreeMap::from([
            ("LowerDir", lower.join(":")),
            ("UpperDir", text(folder.join(DIFF_FOLDER))),
            ("WorkDir", text(folder.join("work"))),
            ("MergedDir", text(folder.join("merged"))),
        ])
    }

    /// Reads a file as a process in the container would find it.
    pub(super) fn read_file(&self, container: &str, path: &str) -> io::Result<Option<Vec<u8>>> {
        let lease = self.lease(container)?;
        let merged = File::open(&lease.merged)?;
        // Non-blocking: a FIFO must not keep us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = match open_within(&merged, path, flags, resolve) {
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

    /// The image's layers, the topmost first.
    fn image_folders(&self, container: &str) -> io::Result<Vec<PathBuf>> {
        let layers = self.layers_of(container)?;
        layers
            .iter()
            .rev()
            .map(|layer| {
                let hex = hex_of(layer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                Ok(self.layer_folder(hex))
            })
            .collect()
    }

    fn base_folder(&self, container: &str) -> Option<PathBuf> {
        let folder = self.folder.join(container).join(BASE_FOLDER);
        folder.exists().then_some(folder)
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
    fn mount_by_steps(&self, folder: &Path, base: Option<&Path>, lower: &[String]) -> io::Result<()> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", "overlay")?;
        match base {
            Some(base) => fsconfig_set_string(&context, "lowerdir+", base)?,
            None if lower.is_empty() => fsconfig_set_string(&context, "lowerdir+", self.nothing()?)?,
            None => {}
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
    fn mount_at_once(&self, folder: &Path, base: Option<&Path>, lower: &[String]) -> io::Result<()> {
        let links = self.layers.join("l");
        make_folder(&links)?;
        let mut names: Vec<String> = base.iter().map(|base| base.display().to_string()).collect();
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
