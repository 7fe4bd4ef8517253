//! Files of containers, running or not, as somebody outside sees them: through their volumes.

use crate::error::{EngineError, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{fmt::Debug, io, path::PathBuf, time::SystemTime};

/// Pieces of an archive. One that cannot be completed ends with an error.
pub type ArchiveStream = BoxStream<'static, io::Result<Bytes>>;

/// Opens an archive on the thread that reads it; reading blocks.
pub type ArchiveSource = Box<dyn FnOnce() -> io::Result<Box<dyn io::Read>> + Send>;

/// Reads and writes containers' files. Every path is resolved inside the container, links included; names
/// in archives likewise. The container may be running and change its files meanwhile.
#[async_trait]
pub trait ContainerFiles: Debug + Send + Sync {
    /// What is at `path`; the last link is followed only when a slash comes behind it. `None` when nothing
    /// is there.
    async fn stat(&self, container: &str, view: View, path: &str) -> Result<Option<PathStat>>;

    /// A tar of what is at `path`, found as [`ContainerFiles::stat`] finds it: names begin with the last
    /// part of the path. `None` when nothing is there.
    async fn archive(
        &self,
        container: &str,
        view: View,
        path: &str,
    ) -> Result<Option<(PathStat, ArchiveStream)>>;

    /// Unpacks a tar into the folder at `path`, its links followed. `None` when nothing is there.
    async fn extract(
        &self,
        container: &str,
        view: View,
        extraction: Extraction,
        tar: ArchiveSource,
    ) -> Result<Option<()>>;

    /// What the container has changed of its image, sorted by path.
    async fn changes(&self, container: &str) -> Result<Vec<Change>>;

    /// A tar of the whole root filesystem, without what is mounted in it.
    async fn export(&self, container: &str) -> Result<ArchiveStream>;
}

/// What is mounted in a container and may be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// `--read-only`
    pub read_only: bool,
    pub mounts: Vec<ViewMount>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewMount {
    pub source: PathBuf,
    /// Absolute and clean.
    pub destination: String,
    pub read_only: bool,
    /// With what is mounted below the source.
    pub recursive: bool,
}

impl View {
    /// Whether files may be put into a folder, given without links.
    pub fn check_writable(&self, folder: &str) -> Result<()> {
        let deepest = self
            .mounts
            .iter()
            .filter(|mount| is_within(folder, &mount.destination))
            .max_by_key(|mount| mount.destination.len());
        match deepest {
            Some(mount) if mount.read_only => Err(EngineError::invalid("mounted volume is marked read-only")),
            None if self.read_only => Err(EngineError::invalid("container rootfs is marked read-only")),
            _ => Ok(()),
        }
    }
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where to unpack, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    pub path: String,
    /// Refuse to replace a folder by something else, and the other way round.
    pub keep_kinds: bool,
    /// Whose the files are to be; `None` as the archive says.
    pub owner: Option<(u32, u32)>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// Last part of the path as asked for.
    pub name: String,
    pub size: i64,
    /// As the kernel has it: kind and permissions.
    pub mode: u32,
    pub modified: SystemTime,
    /// Where a link leads in the end, as far as there is something; empty for anything else.
    pub link_target: String,
}

/// One difference to the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Absolute.
    pub path: String,
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_decides() {
        let mount = |destination: &str, read_only| ViewMount {
            source: "/x".into(),
            destination: destination.into(),
            read_only,
            recursive: true,
        };
        let view = View { read_only: true, mounts: vec![mount("/data", false), mount("/data/ro", true)] };
        assert!(view.check_writable("/data").is_ok());
        assert!(view.check_writable("/data/more").is_ok());
        for (path, why) in [
            ("/data/ro/x", "mounted volume is marked read-only"),
            ("/database", "container rootfs is marked read-only"),
            ("/", "container rootfs is marked read-only"),
        ] {
            assert_eq!(view.check_writable(path).unwrap_err().to_string(), why);
        }
    }
}
