//! Volumes' folders below the data root, mounts over them, and parts of them held in place.
//!
//! ```text
//!   data_root/volumes/NAME/{_data/,volume.json}   the record is the engine's
//!   data_root/volumes/.gone-N/                    one that is being removed
//!   run_root/pins/CONTAINER/N                     a part of a volume, mounted for one container
//! ```

mod options;

use crate::open_within::open_within;
use crate::{overlay::folder_size, runtime::safe_name};
use async_trait::async_trait;
use engine::{
    EngineError,
    error::Result,
    ports::{VolumeSource, VolumeStore},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use rustix::fs::{CWD, FileType, OFlags, ResolveFlags, fstat};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

const DATA_FOLDER: &str = "_data";
const GONE: &str = ".gone-";

/// Volumes below one data root, which nobody else uses.
#[derive(Debug)]
pub struct FolderVolumes {
    root: PathBuf,
    pins: PathBuf,
    next: AtomicU64,
}

impl FolderVolumes {
    /// Removes what interrupted removals have left. Creates nothing yet.
    pub fn new(run_root: &Path, data_root: &Path) -> Self {
        let root = data_root.join("volumes");
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(GONE.as_bytes())
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!(%error, path = %entry.path().display(), "A removed volume's files stay");
            }
        }
        Self { root, pins: run_root.join("pins"), next: AtomicU64::new(0) }
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        // Checked by the engine; a second look costs nothing where files are removed.
        match name.contains('/') || name.starts_with('.') || name.is_empty() {
            true => Err(EngineError::invalid(format!("invalid volume name {name:?}"))),
            false => Ok(self.root.join(name)),
        }
    }
}

#[async_trait]
impl VolumeStore for FolderVolumes {
    fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join(DATA_FOLDER)
    }

    async fn create(&self, name: &str) -> Result<()> {
        let (root, folder) = (self.root.clone(), self.folder(name)?);
        blocking(move || {
            // Nobody else's business, and programs of any owner may be inside.
            DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
            DirBuilder::new().recursive(true).mode(0o755).create(folder.join(DATA_FOLDER))
        })
        .await
        .map_err(|error| system("Could not make the volume's folder", error))
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let folder = self.folder(name)?;
        let gone = self.root.join(format!("{GONE}{name}-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        blocking(move || {
            // First out of sight, record and data at once, then away.
            match fs::rename(&folder, &gone) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => {
                    other?;
                    File::open(gone.parent().unwrap_or(&gone))?.sync_all()?;
                    fs::remove_dir_all(&gone)
                }
            }
        })
        .await
        .map_err(|error| system("Could not remove the volume's folder", error))
    }

    async fn mount(&self, name: &str, source: &VolumeSource) -> Result<()> {
        let (data, source) = (self.folder(name)?.join(DATA_FOLDER), source.clone());
        blocking(move || if is_mounted(&data)? { Ok(Ok(())) } else { Ok(options::mount(&source, &data)) })
            .await
            .map_err(|error| system("Could not look at the volume's folder", error))?
    }

    async fn unmount(&self, name: &str) -> Result<()> {
        let data = self.folder(name)?.join(DATA_FOLDER);
        blocking(move || detach(&data)).await.map_err(|error| system("Could not unmount the volume", error))
    }

    async fn size(&self, name: &str) -> Result<u64> {
        let data = self.folder(name)?.join(DATA_FOLDER);
        blocking(move || folder_size(&data))
            .await
            .map_err(|error| system("Could not measure the volume", error))
    }

    async fn pin(&self, container: &str, name: &str, subpath: &str) -> Result<PathBuf> {
        let data = self.folder(name)?.join(DATA_FOLDER);
        let container = safe_name(container).map_err(|error| EngineError::invalid(error.to_string()))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (folder, subpath) = (self.pins.join(container), subpath.to_owned());
        let shown = data.join(&subpath);
        blocking(move || {
            let target = folder.join(number.to_string());
            pin(&data, &subpath, &target).map(|()| target)
        })
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => EngineError::not_found(format!(
                "cannot access path {}: lstat {}: no such file or directory",
                shown.display(),
                shown.display()
            )),
            // What the kernel says of a path that leads out.
            ErrorKind::CrossesDevices => {
                EngineError::invalid(format!("path {} escapes the volume", shown.display()))
            }
            _ => system(&format!("cannot access path {}", shown.display()), error),
        })
    }

    async fn unpin(&self, container: &str) -> Result<()> {
        let container = safe_name(container).map_err(|error| EngineError::invalid(error.to_string()))?;
        let folder = self.pins.join(container);
        blocking(move || unpin(&folder)).await.map_err(|error| system("Could not let go of volumes", error))
    }
}

/// Mounts what is at a path inside a volume at `target`.
fn pin(data: &Path, subpath: &str, target: &Path) -> io::Result<()> {
    let root = File::open(data)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = open_within(&root, subpath, OFlags::PATH | OFlags::CLOEXEC, resolve)?;
    let folder = target.parent().unwrap_or(target);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    match FileType::from_raw_mode(fstat(&found)?.st_mode) {
        FileType::Directory => DirBuilder::new().mode(0o700).create(target)?,
        _ => drop(File::create(target)?),
    }
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(source.as_str()), target, None::<&str>, flags, None::<&str>)?)
}

fn unpin(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        detach(&path)?;
        // Never recursive: should the mount still be there, these are the volume's files.
        if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }?;
    }
    fs::remove_dir(folder)
}

fn detach(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A bind mount of the same file system has the same device, but not the same mount.
fn is_mounted(folder: &Path) -> io::Result<bool> {
    let parent = folder.parent().unwrap_or(folder);
    if fs::metadata(folder)?.dev() != fs::metadata(parent)?.dev() {
        return Ok(true);
    }
    let no_crossing = ResolveFlags::NO_XDEV;
    let parent = open_within(CWD, parent, OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::empty())?;
    let name = folder.file_name().unwrap_or_default();
    match open_within(&parent, name, OFlags::PATH | OFlags::CLOEXEC, no_crossing) {
        Ok(_) => Ok(false),
        Err(rustix::io::Errno::XDEV) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn system(what: &str, error: io::Error) -> EngineError {
    EngineError::system(what).because(error)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
