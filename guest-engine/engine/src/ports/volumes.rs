//! Volumes' folders, and what is mounted over them.

use crate::error::Result;
use async_trait::async_trait;
use std::{fmt::Debug, path::PathBuf};

/// Keeps volumes' data by name. Names have been checked: each can only be a child of its folder.
#[async_trait]
pub trait VolumeStore: Debug + Send + Sync {
    /// Where the volume's data is, or would be.
    fn data(&self, name: &str) -> PathBuf;

    /// Makes the volume's folder, empty. Harmless to repeat: what is there stays.
    async fn create(&self, name: &str) -> Result<()>;

    /// Removes the volume's whole folder, the engine's record in it included. `Ok` when it is gone already.
    async fn remove(&self, name: &str) -> Result<()>;

    /// Mounts `source` over the volume's data. Nothing happens when something is mounted there already,
    /// as after a restart of the engine.
    async fn mount(&self, name: &str, source: &VolumeSource) -> Result<()>;

    /// Unmounts it. `Ok` when nothing is mounted.
    async fn unmount(&self, name: &str) -> Result<()>;

    /// Bytes of all regular files in it.
    async fn size(&self, name: &str) -> Result<u64>;

    /// A path for what `subpath` is in the volume now, and stays whatever happens to links and names in the
    /// volume meanwhile. Links that lead out of the volume are refused; 404 when nothing is there. Kept
    /// until [`VolumeStore::unpin`].
    async fn pin(&self, container: &str, name: &str, subpath: &str) -> Result<PathBuf>;

    /// Lets go of everything pinned for a container. `Ok` when there is nothing.
    async fn unpin(&self, container: &str) -> Result<()>;
}

/// What options of the `local` driver name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSource {
    /// `tmpfs`, `nfs`, `none`, …
    pub filesystem: String,
    /// A path, `host:/path`, …
    pub device: String,
    /// `mount -o`, word by word.
    pub options: Vec<String>,
}
