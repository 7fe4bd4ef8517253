//! Image layers unpacked once, and containers' root filesystems stacked from them with overlayfs.
//!
//! ```text
//!   data_root/layers/sha256/HEX/{diff/,metadata.json}   a layer; appears whole, by a rename
//!                              /{tar-split.zst,replaced/}  how to write its tar again
//!   data_root/layers/tmp/N/                             one that is being unpacked
//!   data_root/layers/l/SHORT -> ../sha256/HEX/diff      for kernels with short mount options
//!   data_root/overlay/ID/{diff/,init/,work/,merged/,layers.json}
//! ```

mod base_files;
mod changes;
mod commit;
mod diff;
mod files;
mod ground;
mod layer_tar;
mod lower;
mod rootfs;
mod size;
mod tar_split;
mod unpack;
mod whiteout;

use crate::runtime::safe_name;
use async_trait::async_trait;
use engine::{
    EngineError,
    error::Result,
    ports::{LayerInfo, LayerStore, LayerTar, Located},
};
use rootfs::Rootfs;
use rustix::fs::ResolveFlags;
use serde::{Deserialize, Serialize};
pub(crate) use size::of as folder_size;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{io::AsyncRead, sync::Mutex as AsyncMutex};
use tokio_util::io::SyncIoBridge;

const METADATA_FILE: &str = "metadata.json";
const DIFF_FOLDER: &str = "diff";

/// Layers and root filesystems below one data root, which nobody else uses.
#[derive(Debug)]
pub struct OverlayLayers {
    layers: PathBuf,
    rootfs: Rootfs,
    next: AtomicU64,
    /// One lock per layer that is being unpacked, so that it is unpacked once.
    unpacking: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    diff_id: String,
    size: u64,
    /// Bytes of the tar it was made of.
    #[serde(default)]
    tar_size: Option<u64>,
}

impl OverlayLayers {
    /// Removes what interrupted unpacking has left. Creates nothing yet.
    pub fn new(data_root: &Path) -> Self {
        let layers = data_root.join("layers");
        let temporary = layers.join("tmp");
        let half = fs::read_dir(&temporary).map_or(0, Iterator::count);
        // Missing on a new machine. Anything else shows up when the folder is needed.
        if fs::remove_dir_all(temporary).is_ok() && half > 0 {
            tracing::info!(layers = half, "Layers that were half unpacked are removed");
        }
        let rootfs = Rootfs::new(&layers, data_root.join("overlay"));
        Self { layers, rootfs, next: AtomicU64::new(0), unpacking: Mutex::default() }
    }

    fn folder(&self, diff_id: &str) -> Result<PathBuf> {
        Ok(self.layers.join("sha256").join(hex_of(diff_id)?))
    }

    fn lock_of(&self, diff_id: &str) -> Arc<AsyncMutex<()>> {
        let mut unpacking = self.unpacking.lock().unwrap_or_else(PoisonError::into_inner);
        unpacking.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = unpacking.get(diff_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(AsyncMutex::new(()));
        unpacking.insert(diff_id.to_owned(), Arc::downgrade(&lock));
        lock
    }

    fn temporary(&self) -> PathBuf {
        self.layers.join("tmp").join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    async fn unpack(
        &self,
        expected: Option<&str>,
        tar: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<LayerInfo> {
        let temporary = self.temporary();
        let (layers, expected) = (self.layers.clone(), expected.map(str::to_owned));
        let reader = SyncIoBridge::new(tar);
        blocking(move || {
            let unpacked = ground::make(&temporary)
                .map_err(|error| system("Could not unpack a layer", error))
                .and_then(|()| unpack_layer(&layers, &temporary, expected.as_deref(), reader));
            commit::cleaned(&temporary, unpacked)
        })
        .await
    }
}

#[async_trait]
impl LayerStore for OverlayLayers {
    async fn apply(
        &self,
        expected: Option<&str>,
        tar: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<LayerInfo> {
        let Some(diff_id) = expected else { return self.unpack(None, tar).await };
        hex_of(diff_id)?;
        let lock = self.lock_of(diff_id);
        let _unpacking = lock.lock().await;
        if let Some(layer) = self.layer(diff_id).await? {
            return Ok(layer);
        }
        self.unpack(Some(diff_id), tar).await
    }

    async fn layer(&self, diff_id: &str) -> Result<Option<LayerInfo>> {
        let folder = self.folder(diff_id)?;
        let metadata = blocking(move || read_metadata(&folder)).await?;
        Ok(metadata.map(|metadata| LayerInfo { diff_id: metadata.diff_id, size: metadata.size }))
    }

    async fn layer_tar(&self, diff_id: &str) -> Result<LayerTar> {
        let folder = self.folder(diff_id)?;
        let missing = EngineError::not_found(format!("Layer {diff_id} does not exist"));
        blocking(move || {
            let metadata = read_metadata(&folder)?.ok_or(missing)?;
            layer_tar::stream(folder, metadata)
        })
        .await
    }

    async fn layer_ids(&self) -> Result<Vec<String>> {
        let folder = self.layers.join("sha256");
        blocking(move || {
            let entries = match fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                other => other.map_err(|error| system("Could not list the layers", error))?,
            };
            let ids = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            Ok(ids.map(|hex| format!("sha256:{hex}")).filter(|id| hex_of(id).is_ok()).collect())
        })
        .await
    }

    async fn remove_layer(&self, diff_id: &str) -> Result<()> {
        let folder = self.folder(diff_id)?;
        let link = self.layers.join("l").join(rootfs::short(hex_of(diff_id)?));
        let temporary =
            self.layers.join("tmp").join(format!("gone-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        blocking(move || {
            let failed = |error: io::Error| system("Could not remove a layer", error);
            make_folder(temporary.parent().unwrap_or(&temporary)).map_err(failed)?;
            // First out of sight, then away: a layer is never half there.
            match fs::rename(&folder, &temporary) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other.map_err(failed)?,
            }
            // Made only on kernels that need it.
            let _no_link = fs::remove_file(link);
            fs::remove_dir_all(&temporary).map_err(failed)
        })
        .await
    }

    async fn create_rootfs(&self, container: &str, layers: &[String]) -> Result<()> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        for layer in layers {
            hex_of(layer)?;
        }
        let layers = layers.to_vec();
        blocking(move || {
            rootfs
                .create(&container, &layers)
                .map_err(|error| system("Could not create the root filesystem", error))
        })
        .await
    }

    async fn add_base_files(&self, container: &str) -> Result<()> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        blocking(move || {
            rootfs
                .add_base_files(&container)
                .map_err(|error| system("Could not make the container's mount points", error))
        })
        .await
    }

    async fn mount_rootfs(&self, container: &str) -> Result<PathBuf> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        blocking(move || {
            rootfs.mount(&container).map_err(|error| system("Could not mount the root filesystem", error))
        })
        .await
    }

    fn folders(&self, container: &str, layers: &[String]) -> BTreeMap<&'static str, String> {
        self.rootfs.folders(container, layers)
    }

    async fn make_folder(&self, root: &Path, path: &Path) -> Result<()> {
        let (root, path) = (root.to_owned(), path.strip_prefix("/").unwrap_or(path).to_owned());
        blocking(move || {
            let made = fs::File::open(&root).and_then(|root| {
                let scope = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                unpack::make_folders(root.as_fd(), &path, scope).map(drop)
            });
            made.map_err(|error| match error.kind() {
                io::ErrorKind::NotADirectory => {
                    EngineError::system(format!("Cannot mkdir: /{} is not a directory", path.display()))
                }
                _ => system(&format!("mkdir /{}", path.display()), error),
            })
        })
        .await
    }

    async fn unmount_rootfs(&self, container: &str) -> Result<()> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        blocking(move || {
            rootfs.unmount(&container).map_err(|error| system("Could not unmount the root filesystem", error))
        })
        .await
    }

    async fn remove_rootfs(&self, container: &str) -> Result<()> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        blocking(move || {
            rootfs.remove(&container).map_err(|error| system("Could not remove the root filesystem", error))
        })
        .await
    }

    async fn rootfs_size(&self, container: &str) -> Result<u64> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        blocking(move || {
            size::of(&rootfs.writable(&container))
                .map_err(|error| system("Could not measure the root filesystem", error))
        })
        .await
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let (rootfs, container, path) = (self.rootfs.clone(), name(container)?, path.to_owned());
        blocking(move || {
            rootfs
                .read_file(&container, &path)
                .map_err(|error| system(&format!("Could not read {path} in the container"), error))
        })
        .await
    }

    async fn commit_rootfs(&self, container: &str, consume: bool) -> Result<LayerInfo> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        let layers = self.layers.clone();
        let temporary = self.temporary();
        blocking(move || {
            make_folder(&temporary).map_err(|error| system("Could not make a layer", error))?;
            let upper = rootfs.writable(&container);
            let committed = if consume {
                rootfs
                    .unmount(&container)
                    .map_err(|error| system("Could not unmount the root filesystem", error))
                    .and_then(|()| commit::take(&layers, &temporary, &upper))
            } else {
                commit::copy(&layers, &temporary, &upper)
            };
            commit::cleaned(&temporary, committed)
        })
        .await
    }

    async fn locate(&self, container: &str, path: &str) -> Result<Located> {
        let (rootfs, container, path) = (self.rootfs.clone(), name(container)?, path.to_owned());
        blocking(move || {
            commit::locate(&rootfs.merged(&container), &path)
                .map_err(|error| system(&format!("Could not look for {path} in the container"), error))
        })
        .await
    }

    async fn pack_path(&self, container: &str, path: &str, to: std::fs::File) -> Result<()> {
        let (rootfs, container, path) = (self.rootfs.clone(), name(container)?, path.to_owned());
        blocking(move || {
            let mut to = io::BufWriter::with_capacity(256 * 1024, to);
            commit::pack(&rootfs.merged(&container), &path, &mut to)
                .and_then(|()| io::Write::flush(&mut to))
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => EngineError::not_found(error.to_string()),
                    _ => system(&format!("Could not read {path} in the container"), error),
                })
        })
        .await
    }

    async fn copy_out(&self, container: &str, path: &str, to: &Path) -> Result<()> {
        let (rootfs, container, path) = (self.rootfs.clone(), name(container)?, path.to_owned());
        let to = to.to_owned();
        blocking(move || files::copy_out(&rootfs.merged(&container), &path, &to)).await
    }

    async fn unpack_into(
        &self,
        container: &str,
        tar: Box<dyn AsyncRead + Send + Unpin>,
        keep_kinds: bool,
    ) -> Result<()> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        let reader = SyncIoBridge::new(tar);
        blocking(move || commit::unpack_into(&rootfs.merged(&container), reader, keep_kinds)).await
    }

    async fn remove_stubs(&self, container: &str, paths: &[String]) -> Result<()> {
        let (rootfs, container, paths) = (self.rootfs.clone(), name(container)?, paths.to_vec());
        blocking(move || {
            commit::remove_stubs(&rootfs.writable(&container), &paths)
                .map_err(|error| system("Could not remove what mounts left", error))
        })
        .await
    }

    async fn rootfs_ids(&self) -> Result<Vec<String>> {
        let rootfs = self.rootfs.clone();
        blocking(move || rootfs.ids().map_err(|error| system("Could not list the root filesystems", error)))
            .await
    }
}

fn unpack_layer(
    layers: &Path,
    temporary: &Path,
    expected: Option<&str>,
    reader: impl io::Read,
) -> Result<LayerInfo> {
    let failed = |error: io::Error| system("Could not unpack a layer", error);
    let diff = temporary.join(DIFF_FOLDER);
    make_folder(&diff).map_err(failed)?;
    let root = File::open(&diff).map_err(failed)?;
    let unpacked = unpack::unpack_layer(&root, reader, temporary)
        .map_err(|error| EngineError::invalid("Could not unpack a layer").because(error))?;
    if let Some(expected) = expected.filter(|&expected| expected != unpacked.diff_id) {
        return Err(EngineError::invalid(format!(
            "layer content does not match its digest: expected {expected}, got {}",
            unpacked.diff_id
        )));
    }
    let unpack::Unpacked { diff_id, size, tar_size } = unpacked;
    keep_layer(layers, temporary, &root, Metadata { diff_id, size, tar_size: Some(tar_size) })
}

/// Puts a finished layer, `root` being its open folder, where it belongs.
fn keep_layer(layers: &Path, temporary: &Path, root: &File, metadata: Metadata) -> Result<LayerInfo> {
    let failed = |error: io::Error| system("Could not keep a layer", error);
    let text = serde_json::to_vec(&metadata).map_err(|error| failed(error.into()))?;
    fs::write(temporary.join(METADATA_FILE), text).map_err(failed)?;
    // Once for the whole layer, not per file.
    rustix::fs::syncfs(root).map_err(|error| failed(error.into()))?;

    let parent = layers.join("sha256");
    make_folder(&parent).map_err(failed)?;
    let folder = parent.join(hex_of(&metadata.diff_id)?);
    match fs::rename(temporary, &folder) {
        Ok(()) => File::open(&parent).and_then(|parent| parent.sync_all()).map_err(failed)?,
        // Somebody who did not know its digest either was faster.
        Err(_) if folder.join(METADATA_FILE).exists() => fs::remove_dir_all(temporary).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    }
    Ok(LayerInfo { diff_id: metadata.diff_id, size: metadata.size })
}

/// What is left all the same is removed at the next start.
fn remove_left(temporary: &Path) {
    let _left = fs::remove_dir_all(temporary);
}

fn read_metadata(folder: &Path) -> Result<Option<Metadata>> {
    let failed = |error: io::Error| system("Could not read a layer's metadata", error);
    let text = match fs::read(folder.join(METADATA_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.into()))
}

/// The digest of a `sha256:…` id.
fn hex_of(diff_id: &str) -> Result<&str> {
    diff_id
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        .ok_or_else(|| EngineError::invalid(format!("invalid diff id {diff_id:?}")))
}

fn name(container: &str) -> Result<String> {
    safe_name(container).map(str::to_owned).map_err(|error| EngineError::invalid(error.to_string()))
}

/// Only root enters: layers hold setuid programs.
fn make_folder(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent() else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

fn system(what: &str, error: io::Error) -> EngineError {
    EngineError::system(what).because(error)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| EngineError::system("A helper thread failed").because(error))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_sha256_ids_name_layers() {
        let hex = "a".repeat(64);
        assert_eq!(hex_of(&format!("sha256:{hex}")).unwrap(), hex);
        for id in ["", "sha256:", "sha256:../../etc", &hex, &format!("sha256:{}", "A".repeat(64))] {
            assert!(hex_of(id).is_err(), "{id:?}");
        }
    }
}
