//! Mounts that a user asks for: `-v`, `--mount` and `--tmpfs` become one list. Pure.

mod bind;
mod mount;

use crate::{
    error::{EngineError, Result},
    volume::VolumeRequest,
};
use bollard_stubs::models::HostConfig;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    path::{Component, Path},
};

/// Propagation unless something else is asked for.
const PRIVATE: &str = "rprivate";

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    pub kind: MountKind,
    /// Absolute and clean.
    pub destination: String,
    pub read_only: bool,
    /// What `docker inspect` shows as `Mode`.
    pub mode: String,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    Bind(BindMount),
    Volume(VolumeMount),
    /// Memory.
    Tmpfs {
        /// Mount options as the kernel reads them.
        options: Vec<String>,
        /// Asked for by `--mount`, and so listed by inspect.
        listed: bool,
    },
}

/// A path of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    pub source: String,
    /// `rprivate`, `rshared`, …
    pub propagation: String,
    /// With what is mounted below the source.
    pub recursive: bool,
    /// What is mounted below the source can be written although the mount itself is read-only.
    pub writable_below: bool,
    /// Make the folder when it does not exist (`-v` does, `--mount` does not).
    pub create: bool,
}

/// A volume, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Empty until it is made, for one without a name.
    pub name: String,
    /// Made for this container alone: gone with it when its volumes are removed as well.
    pub anonymous: bool,
    /// Filled with what the image has at the destination, as long as it is empty.
    pub copy: bool,
    /// Empty for all of it.
    pub subpath: String,
    /// How to make it, when it does not exist.
    #[serde(skip)]
    pub request: VolumeRequest,
}

/// Everything that `host` asks for, in its order. What comes from other containers and from the image is
/// not known here.
pub(crate) fn requested(host: &HostConfig) -> Result<Vec<MountSpec>> {
    let mut mounts = Vec::new();
    let driver = host.volume_driver.as_deref().unwrap_or_default();
    for bind in host.binds.iter().flatten() {
        mounts.push(bind::parse(bind, driver)?);
    }
    for mount in host.mounts.iter().flatten() {
        mounts.push(mount::parse(mount)?);
    }
    for (destination, options) in host.tmpfs.iter().flatten() {
        let options = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
        mounts.push(MountSpec {
            kind: MountKind::Tmpfs { options: tmpfs_options(options), listed: false },
            destination: clean(destination).filter(|clean| clean != "/").ok_or_else(|| {
                EngineError::invalid(format!(
                    "invalid mount path: '{destination}' mount path must be absolute"
                ))
            })?,
            read_only: false,
            mode: String::new(),
        });
    }
    let mut seen = HashSet::new();
    for mount in &mounts {
        if !seen.insert(mount.destination.as_str()) {
            return Err(EngineError::invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
    }
    Ok(mounts)
}

/// The volume that a destination in `Config.Volumes` stands for.
pub(crate) fn anonymous(destination: &str, driver: &str) -> Result<MountSpec> {
    let destination = clean(destination)
        .filter(|clean| clean != "/")
        .ok_or_else(|| EngineError::invalid(format!("invalid volume specification: '{destination}'")))?;
    let request = VolumeRequest { driver: driver.to_owned(), ..VolumeRequest::default() };
    let volume =
        VolumeMount { name: String::new(), anonymous: true, copy: true, subpath: String::new(), request };
    Ok(MountSpec { kind: MountKind::Volume(volume), destination, read_only: false, mode: String::new() })
}

/// `CONTAINER[:MODE]` of `--volumes-from`: whose, and whether read-only.
pub(crate) fn volumes_from(text: &str) -> Result<(&str, bool)> {
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    if container.is_empty() {
        return Err(EngineError::invalid("volumes-from specification cannot be an empty string"));
    }
    let mode = bind::mode(mode)
        .filter(|understood| understood.propagation.is_none() && !understood.no_copy)
        .ok_or_else(|| EngineError::invalid(format!("invalid mode: {mode}")))?;
    Ok((container, mode.read_only))
}

/// Docker's defaults first, so that what the user says wins.
fn tmpfs_options(mut asked: Vec<String>) -> Vec<String> {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].iter().map(ToString::to_string).collect();
    options.retain(|default| !asked.iter().any(|o| default.strip_prefix("no") == Some(o)));
    options.append(&mut asked);
    options
}

/// An absolute path without `.`, `..` and doubled slashes; `None` when it is relative.
pub(crate) fn clean(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => {
                parts.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tmpfs_defaults_give_way_to_what_is_asked() {
        let tmpfs = Some([("/run".to_owned(), "exec,size=64k".to_owned())].into());
        let mounts = requested(&HostConfig { tmpfs, ..HostConfig::default() }).unwrap();
        let MountKind::Tmpfs { options, .. } = &mounts[0].kind else { panic!("not a tmpfs") };
        assert_eq!(options.join(","), "nosuid,nodev,exec,size=64k");
    }

    #[test]
    fn a_place_is_taken_once() {
        let binds = Some(vec!["/a:/x".to_owned(), "data:/x/".to_owned()]);
        let error = requested(&HostConfig { binds, ..HostConfig::default() }).unwrap_err();
        assert_eq!(error.to_string(), "Duplicate mount point: /x");
    }

    #[test]
    fn volumes_from_others() {
        assert_eq!(volumes_from("db").unwrap(), ("db", false));
        assert_eq!(volumes_from("db:ro,z").unwrap(), ("db", true));
        for bad in ["", ":ro", "db:fast", "db:nocopy", "db:rslave"] {
            assert!(volumes_from(bad).is_err(), "{bad}");
        }
    }
}
