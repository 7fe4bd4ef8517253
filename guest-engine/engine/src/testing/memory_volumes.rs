//! Volumes whose names are kept, and what is mounted where.

use crate::{
    error::{EngineError, Result},
    ports::{VolumeSource, VolumeStore},
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// A strict stand-in for folders on disk: only what exists can be mounted, only what is not mounted can be
/// removed. Records of volumes go below its root like the real store's.
#[derive(Debug)]
pub struct MemoryVolumes {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    volumes: BTreeSet<String>,
    mounted: BTreeMap<String, VolumeSource>,
    pinned: BTreeSet<String>,
}

impl MemoryVolumes {
    /// `data_root` is the engine's.
    pub fn new(data_root: &std::path::Path) -> Self {
        Self { root: data_root.join("volumes"), state: Mutex::default() }
    }

    /// What is mounted over which volume.
    pub fn mounted(&self) -> BTreeMap<String, VolumeSource> {
        self.with(|state| state.mounted.clone())
    }

    /// Containers that hold a part of a volume.
    pub fn pinned(&self) -> BTreeSet<String> {
        self.with(|state| state.pinned.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn known(&self, name: &str) -> Result<()> {
        match self.with(|state| state.volumes.contains(name)) {
            true => Ok(()),
            false => Err(EngineError::system(format!("Volume {name} has no folder"))),
        }
    }
}

#[async_trait]
impl VolumeStore for MemoryVolumes {
    fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    async fn create(&self, name: &str) -> Result<()> {
        self.with(|state| state.volumes.insert(name.to_owned()));
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        if self.with(|state| state.mounted.contains_key(name)) {
            return Err(EngineError::system(format!("Volume {name} is mounted")));
        }
        self.with(|state| state.volumes.remove(name));
        match tokio::fs::remove_dir_all(self.root.join(name)).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(EngineError::system("Could not remove a volume").because(e))
            }
            _ => Ok(()),
        }
    }

    async fn mount(&self, name: &str, source: &VolumeSource) -> Result<()> {
        self.known(name)?;
        self.with(|state| state.mounted.insert(name.to_owned(), source.clone()));
        Ok(())
    }

    async fn unmount(&self, name: &str) -> Result<()> {
        self.with(|state| state.mounted.remove(name));
        Ok(())
    }

    async fn size(&self, name: &str) -> Result<u64> {
        self.known(name).map(|()| 0)
    }

    async fn pin(&self, container: &str, name: &str, subpath: &str) -> Result<PathBuf> {
        self.known(name)?;
        self.with(|state| state.pinned.insert(container.to_owned()));
        Ok(self.data(name).join(subpath))
    }

    async fn unpin(&self, container: &str) -> Result<()> {
        self.with(|state| state.pinned.remove(container));
        Ok(())
    }
}
