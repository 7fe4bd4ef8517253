//! `docker cp`, `diff` and `export`: a container's files for somebody outside.

use super::{
    Containers, Shared, Status,
    mounts::MountKind,
    record::Record,
    volumes::{self, Sources},
};
use crate::{
    build::plain,
    error::{EngineError, Result},
    id::random_id,
    image::load::pipe,
    ports::{ArchiveStream, Change, Extraction, PathStat, View, ViewMount},
};
use bytes::Bytes;
use futures_util::Stream;
use std::{io, sync::Arc};

/// Files of a container's folder that it finds in its `/etc`.
const ETC: [&str; 3] = ["resolv.conf", "hostname", "hosts"];

/// How an archive is put into a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Refuse to replace a folder by something else, and the other way round.
    pub keep_kinds: bool,
    /// Give the files to the container's user.
    pub to_container_user: bool,
}

impl Containers {
    /// What is at `path` in a container.
    pub async fn stat_path(&self, key: &str, path: &str) -> Result<PathStat> {
        let record = self.shared.index.find(key)?.record();
        let shared = &self.shared;
        let stat = shared
            .viewing(&record, async |view| shared.files.stat(&record.id, view, &absolute(path)).await)
            .await?;
        stat.ok_or_else(|| not_there(path, key))
    }

    /// A tar of what is at `path` in a container.
    pub async fn archive(&self, key: &str, path: &str) -> Result<(PathStat, ArchiveStream)> {
        let record = self.shared.index.find(key)?.record();
        let shared = &self.shared;
        let archive = shared
            .viewing(&record, async |view| shared.files.archive(&record.id, view, &absolute(path)).await)
            .await?;
        let archive = archive.ok_or_else(|| not_there(path, key))?;
        shared.announce(&record, "archive-path", &[]);
        Ok(archive)
    }

    /// Unpacks a tar, plain or compressed, into the folder at `path` in a container.
    pub async fn extract(
        &self,
        key: &str,
        path: &str,
        options: ExtractOptions,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    ) -> Result<()> {
        let record = self.shared.index.find(key)?.record();
        let shared = Arc::clone(&self.shared);
        let user = record.config.user.as_deref().unwrap_or_default();
        let owner = match options.to_container_user && !user.is_empty() {
            true => {
                let user = shared.lookup_user(&record, user).await?;
                Some((user.uid, user.gid))
            }
            false => None,
        };
        let extraction = Extraction { path: absolute(path), keep_kinds: options.keep_kinds, owner };
        let (feed, reader) = pipe::feed(archive);
        let feeding = tokio::spawn(feed);
        let extracted = shared
            .viewing(&record, async |view| {
                let source = Box::new(move || plain(reader));
                shared.files.extract(&record.id, view, extraction, source).await
            })
            .await;
        feeding.abort();
        extracted?.ok_or_else(|| not_there(path, key))?;
        shared.announce(&record, "extract-to-dir", &[]);
        Ok(())
    }

    /// What a container has changed of its image.
    pub async fn changes(&self, key: &str) -> Result<Vec<Change>> {
        let record = self.shared.index.find(key)?.record();
        self.shared.files.changes(&record.id).await
    }

    /// A tar of a container's whole root filesystem.
    pub async fn export(&self, key: &str) -> Result<ArchiveStream> {
        let record = self.shared.index.find(key)?.record();
        let state = match record.state.status {
            Status::Dead => Some("Dead"),
            Status::Removing => Some("being removed"),
            _ => None,
        };
        if let Some(state) = state {
            return Err(EngineError::conflict(format!(
                "You cannot export container {} which is {state}",
                record.id
            )));
        }
        let stream = self.shared.files.export(&record.id).await?;
        self.shared.announce(&record, "export", &[]);
        Ok(stream)
    }
}

impl Shared {
    /// Does `work` with what is mounted in a container, running or not. What the work returns may go on
    /// with it: it holds what it needs.
    async fn viewing<T>(&self, record: &Record, work: impl AsyncFnOnce(View) -> Result<T>) -> Result<T> {
        // Not the container's own use: that ends and begins while we look.
        let user = random_id()?;
        let mut sources = Sources::new();
        let mut mounted = Ok(());
        for (mount, volume) in record.volumes() {
            match self.source_of(&user, volume).await {
                Ok(source) => sources.push((mount.destination.clone(), source)),
                Err(error) => {
                    mounted = Err(error);
                    break;
                }
            }
        }
        let worked = match mounted {
            Ok(()) => work(self.view(record, &sources)).await,
            Err(error) => Err(error),
        };
        if record.volumes().any(|(_, volume)| !volume.subpath.is_empty()) {
            self.volumes.unpin(&user).await;
        }
        for (_, volume) in record.volumes() {
            self.volumes.unmount(&volume.name, &user).await;
        }
        worked
    }

    fn view(&self, record: &Record, sources: &Sources) -> View {
        let folder = self.folder(&record.id);
        let mut mounts: Vec<ViewMount> = Vec::new();
        for mount in &record.mounts {
            let Some(source) = volumes::source(mount, sources) else { continue };
            let recursive = match &mount.kind {
                MountKind::Bind(bind) => bind.recursive,
                MountKind::Volume(_) | MountKind::Tmpfs { .. } => true,
            };
            mounts.push(ViewMount {
                source: source.to_owned(),
                destination: mount.destination.clone(),
                read_only: mount.read_only,
                recursive,
            });
        }
        for file in ETC {
            let (source, destination) = (folder.join(file), format!("/etc/{file}"));
            // There from the first start on.
            if record.state.started_at.is_some() && !mounts.iter().any(|m| m.destination == destination) {
                mounts.push(ViewMount { source, destination, read_only: false, recursive: false });
            }
        }
        View { read_only: record.host.readonly_rootfs.unwrap_or(false), mounts }
    }
}

fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

fn not_there(path: &str, key: &str) -> EngineError {
    EngineError::not_found(format!("Could not find the file {path} in container {key}"))
}
