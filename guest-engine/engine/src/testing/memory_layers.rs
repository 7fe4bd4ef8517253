//! Layers that are hashed and listed but kept nowhere.

use crate::{
    error::{EngineError, Result},
    image::config,
    ports::{
        ArchiveSource, ArchiveStream, Change, ContainerFiles, Extraction, LayerInfo, LayerStore, LayerTar,
        Located, PathStat, View,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Cursor, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A strict stand-in for the overlay store: a container's root filesystem needs all its layers, mounting
/// needs a root filesystem, and a layer is removed only when no root filesystem stands on it.
#[derive(Debug, Default)]
pub struct MemoryLayers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    layers: BTreeMap<String, Layer>,
    rootfs: BTreeMap<String, Rootfs>,
}

#[derive(Debug)]
struct Layer {
    size: u64,
    tar: Bytes,
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
struct Rootfs {
    layers: Vec<String>,
    mounted: bool,
}

impl MemoryLayers {
    /// Ids of all layers.
    pub fn ids(&self) -> BTreeSet<String> {
        self.with(|state| state.layers.keys().cloned().collect())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl LayerStore for MemoryLayers {
    async fn apply(
        &self,
        expected: Option<&str>,
        mut tar: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<LayerInfo> {
        let mut bytes = Vec::new();
        let read = tar.read_to_end(&mut bytes).await;
        read.map_err(|e| EngineError::invalid("Could not read the layer").because(e))?;
        let diff_id = config::named(Sha256::digest(&bytes).as_ref());
        if expected.is_some_and(|expected| expected != diff_id) {
            return Err(EngineError::invalid(format!("Layer is {diff_id}, not what was expected")));
        }
        let mut files = BTreeMap::new();
        let unreadable = |e: std::io::Error| EngineError::invalid("Layer is not a tar archive").because(e);
        let mut archive = tar::Archive::new(Cursor::new(&bytes));
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let path =
                entry.path().map_err(unreadable)?.to_string_lossy().trim_start_matches("./").to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(unreadable)?;
            files.insert(path, content);
        }
        let size = files.values().map(|content| content.len() as u64).sum();
        let tar = Bytes::from(bytes);
        self.with(|state| state.layers.insert(diff_id.clone(), Layer { size, tar, files }));
        Ok(LayerInfo { diff_id, size })
    }

    async fn layer(&self, diff_id: &str) -> Result<Option<LayerInfo>> {
        let size = self.with(|state| state.layers.get(diff_id).map(|layer| layer.size));
        Ok(size.map(|size| LayerInfo { diff_id: diff_id.to_owned(), size }))
    }

    async fn layer_tar(&self, diff_id: &str) -> Result<LayerTar> {
        let tar = self.with(|state| state.layers.get(diff_id).map(|layer| layer.tar.clone()));
        let tar = tar.ok_or_else(|| EngineError::not_found(format!("Layer {diff_id} does not exist")))?;
        Ok(LayerTar { size: tar.len() as u64, bytes: Box::pin(stream::iter([Ok(tar)])) })
    }

    async fn layer_ids(&self) -> Result<Vec<String>> {
        Ok(self.with(|state| state.layers.keys().cloned().collect()))
    }

    async fn remove_layer(&self, diff_id: &str) -> Result<()> {
        self.with(|state| {
            if state.rootfs.values().any(|rootfs| rootfs.layers.iter().any(|layer| layer == diff_id)) {
                return Err(EngineError::conflict(format!("A container stands on layer {diff_id}")));
            }
            state.layers.remove(diff_id);
            Ok(())
        })
    }

    async fn create_rootfs(&self, container: &str, layers: &[String]) -> Result<()> {
        self.with(|state| {
            if let Some(missing) = layers.iter().find(|layer| !state.layers.contains_key(*layer)) {
                return Err(EngineError::system(format!("Layer {missing} does not exist")));
            }
            if state.rootfs.contains_key(container) {
                return Err(EngineError::conflict(format!("Container {container} has a root filesystem")));
            }
            let rootfs = Rootfs { layers: layers.to_vec(), mounted: false };
            state.rootfs.insert(container.to_owned(), rootfs);
            Ok(())
        })
    }

    async fn add_base_files(&self, container: &str) -> Result<()> {
        self.rootfs_size(container).await.map(|_| ())
    }

    async fn mount_rootfs(&self, container: &str) -> Result<PathBuf> {
        self.with(|state| match state.rootfs.get_mut(container) {
            Some(rootfs) => {
                rootfs.mounted = true;
                Ok(PathBuf::from("/memory/rootfs").join(container))
            }
            None => Err(EngineError::system(format!("Container {container} has no root filesystem"))),
        })
    }

    fn folders(&self, _: &str, _: &[String]) -> BTreeMap<&'static str, String> {
        BTreeMap::new()
    }

    async fn make_folder(&self, _: &Path, _: &Path) -> Result<()> {
        Ok(())
    }

    async fn unmount_rootfs(&self, container: &str) -> Result<()> {
        self.with(|state| {
            if let Some(rootfs) = state.rootfs.get_mut(container) {
                rootfs.mounted = false;
            }
        });
        Ok(())
    }

    async fn remove_rootfs(&self, container: &str) -> Result<()> {
        self.with(|state| state.rootfs.remove(container));
        Ok(())
    }

    async fn rootfs_size(&self, container: &str) -> Result<u64> {
        match self.with(|state| state.rootfs.contains_key(container)) {
            true => Ok(0),
            false => Err(EngineError::system(format!("Container {container} has no root filesystem"))),
        }
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>> {
        self.with(|state| match state.rootfs.get(container) {
            Some(rootfs) if rootfs.mounted => {
                let path = path.trim_start_matches('/');
                let newest = rootfs.layers.iter().rev().find_map(|id| state.layers.get(id)?.files.get(path));
                Ok(newest.cloned())
            }
            _ => Err(EngineError::system(format!("Container {container} is not mounted"))),
        })
    }

    async fn commit_rootfs(&self, container: &str, _consume: bool) -> Result<LayerInfo> {
        self.rootfs_size(container).await?;
        // Nothing is ever written in memory: the layer is the empty archive.
        self.apply(None, Box::new(Cursor::new(vec![0; 1024]))).await
    }

    async fn locate(&self, container: &str, path: &str) -> Result<Located> {
        self.rootfs_size(container).await?;
        Ok(Located { path: path.to_owned(), kind: None })
    }

    async fn pack_path(&self, container: &str, path: &str, _to: std::fs::File) -> Result<()> {
        self.rootfs_size(container).await?;
        Err(EngineError::not_found(format!("{path}: no such file or directory")))
    }

    async fn copy_out(&self, container: &str, _path: &str, _to: &Path) -> Result<()> {
        match self.with(|state| state.rootfs.get(container).is_some_and(|rootfs| rootfs.mounted)) {
            true => Ok(()),
            false => Err(EngineError::system(format!("Container {container} is not mounted"))),
        }
    }

    async fn unpack_into(
        &self,
        container: &str,
        _tar: Box<dyn AsyncRead + Send + Unpin>,
        _keep_kinds: bool,
    ) -> Result<()> {
        self.rootfs_size(container).await?;
        Err(EngineError::not_implemented("Root filesystems in memory cannot be written"))
    }

    async fn remove_stubs(&self, _container: &str, _paths: &[String]) -> Result<()> {
        Ok(())
    }

    async fn rootfs_ids(&self) -> Result<Vec<String>> {
        Ok(self.with(|state| state.rootfs.keys().cloned().collect()))
    }
}

/// Nothing is ever in a root filesystem in memory, and nothing can be put there.
#[async_trait]
impl ContainerFiles for MemoryLayers {
    async fn stat(&self, container: &str, _view: View, _path: &str) -> Result<Option<PathStat>> {
        self.rootfs_size(container).await.map(|_| None)
    }

    async fn archive(
        &self,
        container: &str,
        _view: View,
        _path: &str,
    ) -> Result<Option<(PathStat, ArchiveStream)>> {
        self.rootfs_size(container).await.map(|_| None)
    }

    async fn extract(
        &self,
        container: &str,
        view: View,
        extraction: Extraction,
        _tar: ArchiveSource,
    ) -> Result<Option<()>> {
        self.rootfs_size(container).await?;
        view.check_writable(&extraction.path).map(|()| None)
    }

    async fn changes(&self, container: &str) -> Result<Vec<Change>> {
        self.rootfs_size(container).await.map(|_| Vec::new())
    }

    async fn export(&self, container: &str) -> Result<ArchiveStream> {
        self.rootfs_size(container).await?;
        let empty = bytes::Bytes::from(vec![0; 1024]);
        Ok(Box::pin(futures_util::stream::iter([Ok(empty)])))
    }
}
