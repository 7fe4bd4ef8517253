//! Image layers on disk and the root filesystems stacked from them.

use crate::error::Result;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    io,
    path::{Path, PathBuf},
};
use tokio::io::AsyncRead;

/// Keeps unpacked layers by their diff id (`sha256:…` of the uncompressed tar) and containers' root
/// filesystems by container id. Every method leaves either the state before or the state after.
#[async_trait]
pub trait LayerStore: Debug + Send + Sync {
    /// Unpacks an uncompressed layer tar (OCI whiteouts included) while hashing it. Fails, leaving
    /// nothing, when the hash is not `expected`. A layer that exists is not unpacked again.
    async fn apply(
        &self,
        expected: Option<&str>,
        tar: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<LayerInfo>;

    /// What is known of a layer; `None` when it is not here.
    async fn layer(&self, diff_id: &str) -> Result<Option<LayerInfo>>;

    /// A layer as the tar it was made of, byte for byte. The stream ends with an error when what is on disk
    /// does not give its digest any more.
    async fn layer_tar(&self, diff_id: &str) -> Result<LayerTar>;

    /// Ids of every layer, for finding leftovers.
    async fn layer_ids(&self) -> Result<Vec<String>>;

    /// Removes a layer; the caller knows that nobody uses it. `Ok` when it is gone already.
    async fn remove_layer(&self, diff_id: &str) -> Result<()>;

    /// Makes an empty writable layer for a container over `layers`, lowest first.
    async fn create_rootfs(&self, container: &str, layers: &[String]) -> Result<()>;

    /// Puts what every container has (`/proc`, `/etc/hosts`, `/.dockerenv`, …) below the writable layer
    /// where the image has it not, so that it counts as no change of the container's. Before the first
    /// mount.
    async fn add_base_files(&self, container: &str) -> Result<()>;

    /// Mounts the container's root filesystem and says where. Harmless to repeat.
    async fn mount_rootfs(&self, container: &str) -> Result<PathBuf>;

    /// Makes the folder `path` inside the folder `root` where it is missing, owned by root, mode 0755; links
    /// are resolved inside `root` and never outside.
    async fn make_folder(&self, root: &Path, path: &Path) -> Result<()>;

    /// Its folders on this host: `LowerDir`, `UpperDir`, `WorkDir`, and `MergedDir`, where it is mounted.
    fn folders(&self, container: &str, layers: &[String]) -> BTreeMap<&'static str, String>;

    /// Unmounts it. `Ok` when it is not mounted.
    async fn unmount_rootfs(&self, container: &str) -> Result<()>;

    /// Removes the container's writable layer, unmounting it first. `Ok` when it is gone already.
    async fn remove_rootfs(&self, container: &str) -> Result<()>;

    /// Bytes in the container's writable layer.
    async fn rootfs_size(&self, container: &str) -> Result<u64>;

    /// Reads a small file of a mounted root filesystem, links resolved inside it and never outside.
    /// `None` when there is no such file. Refuses more than 1 MiB.
    async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>>;

    /// Makes a layer of what the container has written, whiteouts included. With `consume` the writable
    /// layer itself becomes the layer: it is unmounted, and all that can be done with the root filesystem
    /// afterwards is to remove it. Without, the container may be running; what it writes meanwhile may or
    /// may not be in the layer.
    async fn commit_rootfs(&self, container: &str, consume: bool) -> Result<LayerInfo>;

    /// What `path` means in a mounted root filesystem, links resolved inside it.
    async fn locate(&self, container: &str, path: &str) -> Result<Located>;

    /// Writes a tar of what is at `path` in a mounted root filesystem, a link followed: a folder's content
    /// (names relative to it), or one file under its name. 404 when there is nothing.
    async fn pack_path(&self, container: &str, path: &str, to: std::fs::File) -> Result<()>;

    /// Copies what the folder at `path` of a mounted root filesystem holds into the folder `to`, and gives
    /// `to` its owner and mode. Nothing happens when there is no such folder, or when `to` is not empty.
    async fn copy_out(&self, container: &str, path: &str, to: &Path) -> Result<()>;

    /// Unpacks a tar into a mounted root filesystem. Names are taken as they are, resolved inside it;
    /// missing folders are made, files replaced, folders kept with the archive's owner and mode. To `keep_kinds`
    /// is to refuse a file where a folder is, and the other way round.
    async fn unpack_into(
        &self,
        container: &str,
        tar: Box<dyn AsyncRead + Send + Unpin>,
        keep_kinds: bool,
    ) -> Result<()>;

    /// Removes those of `paths`, absolute and without links, that the container's writable layer holds as
    /// empty files or folders: what was made only to mount something there. Not while it runs.
    async fn remove_stubs(&self, container: &str, paths: &[String]) -> Result<()>;

    /// Ids of every container that has a writable layer, for finding leftovers.
    async fn rootfs_ids(&self) -> Result<Vec<String>>;
}

/// An unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// `sha256:` of the uncompressed tar.
    pub diff_id: String,
    /// Bytes of all regular files in it.
    pub size: u64,
}

/// A layer on its way out.
pub struct LayerTar {
    /// Bytes of the tar.
    pub size: u64,
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

impl Debug for LayerTar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerTar").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Where a path leads in a root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Absolute inside it, without links as far as it exists.
    pub path: String,
    /// `None` when nothing is there.
    pub kind: Option<PathKind>,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    Folder,
    /// Anything else.
    File,
}
