//! A container's volumes: made or found when it is created, mounted while it runs, let go of when it is
//! removed.

use super::{
    Shared,
    mounts::{self, MountKind, MountSpec, VolumeMount},
    record::Record,
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    volume::{LOCAL, Volumes},
};
use std::path::{Path, PathBuf};

/// Where what a container mounts is on the host, by destination.
pub(super) type Sources = Vec<(String, PathBuf)>;

impl Record {
    /// Its volumes, and where they go.
    pub fn volumes(&self) -> impl Iterator<Item = (&MountSpec, &VolumeMount)> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume(volume) => Some((mount, volume)),
            MountKind::Bind(_) | MountKind::Tmpfs { .. } => None,
        })
    }
}

impl Shared {
    /// Every mount of a container that is to be: what the user asks for, over what comes from other
    /// containers, and the volumes that are left.
    pub(super) fn mounts_of(&self, record: &Record) -> Result<Vec<MountSpec>> {
        let host = &record.host;
        let mut all = mounts::requested(host)?;
        let mut borrowed: Vec<MountSpec> = Vec::new();
        for text in host.volumes_from.iter().flatten() {
            let (container, read_only) = mounts::volumes_from(text)?;
            // dockerd takes a name that it does not know for a mistake in the request.
            let owner = self.index.find(container).map_err(|e| EngineError::invalid(e.to_string()))?.record();
            for mount in &owner.mounts {
                let mut mount = mount.clone();
                match &mut mount.kind {
                    MountKind::Volume(volume) => volume.copy = false,
                    MountKind::Bind(_) | MountKind::Tmpfs { listed: true, .. } => {}
                    MountKind::Tmpfs { .. } => continue,
                }
                mount.read_only |= read_only;
                mount.mode.clear();
                borrowed.retain(|earlier| earlier.destination != mount.destination);
                borrowed.push(mount);
            }
        }
        let add = |all: &mut Vec<MountSpec>, mount: MountSpec| {
            if !all.iter().any(|taken| taken.destination == mount.destination) {
                all.push(mount);
            }
        };
        for mount in borrowed {
            add(&mut all, mount);
        }
        let driver = host.volume_driver.as_deref().unwrap_or_default();
        for destination in record.config.volumes.iter().flatten() {
            add(&mut all, mounts::anonymous(destination, driver)?);
        }
        Ok(all)
    }

    /// Makes or finds the container's volumes, each used by it from then on. On failure none is.
    pub(super) async fn claim_volumes(&self, record: &mut Record) -> Result<()> {
        let id = record.id.clone();
        let mut claimed: Vec<(String, bool)> = Vec::new();
        for mount in &mut record.mounts {
            let MountKind::Volume(volume) = &mut mount.kind else { continue };
            let request = std::mem::take(&mut volume.request);
            let made = match volume.name.is_empty() || request.name == volume.name {
                true => self.volumes.create_for(request, Some(&id)).await.map(|made| made.name),
                // Another container's.
                false => self.volumes.claim(&volume.name, &id).map(|()| volume.name.clone()),
            };
            match made {
                Ok(name) => volume.name = name,
                Err(error) => {
                    for (name, anonymous) in &claimed {
                        release(&self.volumes, name, &id, *anonymous).await;
                    }
                    return Err(error);
                }
            }
            claimed.push((volume.name.clone(), volume.anonymous));
        }
        Ok(())
    }

    /// Fills empty volumes with what the image has in their places.
    pub(super) async fn fill_volumes(&self, record: &Record) -> Result<()> {
        if record.volumes().next().is_none() {
            return Ok(());
        }
        self.layers.mount_rootfs(&record.id).await?;
        let filled = self.fill_mounted(record).await;
        self.layers.unmount_rootfs(&record.id).await?;
        filled
    }

    async fn fill_mounted(&self, record: &Record) -> Result<()> {
        for (mount, volume) in record.volumes() {
            if volume.anonymous && volume.copy {
                let there = self.layers.locate(&record.id, &mount.destination).await?;
                if there.kind == Some(crate::ports::PathKind::File) {
                    return Err(EngineError::system(format!(
                        "cannot mount volume over existing file, file exists {}",
                        there.path
                    )));
                }
            }
            if !volume.copy {
                continue;
            }
            let target = self.source_of(&record.id, volume).await;
            let copied = match &target {
                Ok(target) => self.layers.copy_out(&record.id, &mount.destination, target).await,
                // A part that does not exist yet is a matter of the start.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => {
                    Err(EngineError::new(error.kind(), format!("failed to populate volume: {error}")))
                }
            };
            self.volumes.unpin(&record.id).await;
            self.volumes.unmount(&volume.name, &record.id).await;
            copied?;
        }
        Ok(())
    }

    pub(super) async fn source_of(&self, user: &str, volume: &VolumeMount) -> Result<PathBuf> {
        let data = self.volumes.mount(&volume.name, user).await?;
        match volume.subpath.is_empty() {
            true => Ok(data),
            false => self.volumes.pin(user, &volume.name, &volume.subpath).await,
        }
    }

    /// Mounts the volumes of a container that starts, and says where each is.
    pub(super) async fn mount_volumes(&self, record: &Record) -> Result<Sources> {
        let mut sources = Vec::new();
        for (mount, volume) in record.volumes() {
            sources.push((mount.destination.clone(), self.source_of(&record.id, volume).await?));
            self.volumes.announce(
                &volume.name,
                "mount",
                [
                    ("driver", LOCAL.to_owned()),
                    ("container", record.id.clone()),
                    ("destination", mount.destination.clone()),
                    ("read/write", (!mount.read_only).to_string()),
                    ("propagation", String::new()),
                ],
            );
        }
        Ok(sources)
    }

    /// Undoes [`Self::mount_volumes`], also a part of it.
    pub(super) async fn unmount_volumes(&self, record: &Record) {
        if record.volumes().any(|(_, volume)| !volume.subpath.is_empty()) {
            self.volumes.unpin(&record.id).await;
        }
        for (_, volume) in record.volumes() {
            if self.volumes.unmount(&volume.name, &record.id).await {
                let more = [("driver", LOCAL.to_owned()), ("container", record.id.clone())];
                self.volumes.announce(&volume.name, "unmount", more);
            }
        }
    }

    /// The container is gone: its volumes are free, and those made for it alone go with it if `remove`.
    pub(super) async fn release_volumes(&self, record: &Record, remove: bool) {
        for (_, volume) in record.volumes() {
            release(&self.volumes, &volume.name, &record.id, remove && volume.anonymous).await;
        }
    }
}

async fn release(volumes: &Volumes, name: &str, container: &str, remove: bool) {
    volumes.release(name, container);
    if !remove {
        return;
    }
    match volumes.remove(name, true).await {
        // Shared with another container, which is its last user now.
        Err(error) if error.kind() == ErrorKind::Conflict => {}
        Err(error) => tracing::warn!(%error, volume = name, "A container's volume was left behind"),
        Ok(()) => {}
    }
}

/// Where a mount's content is on the host; `None` for memory.
pub(super) fn source<'a>(mount: &'a MountSpec, sources: &'a Sources) -> Option<&'a Path> {
    match &mount.kind {
        MountKind::Bind(bind) => Some(Path::new(&bind.source)),
        MountKind::Volume(_) => {
            sources.iter().find(|(to, _)| *to == mount.destination).map(|(_, source)| source.as_path())
        }
        MountKind::Tmpfs { .. } => None,
    }
}
