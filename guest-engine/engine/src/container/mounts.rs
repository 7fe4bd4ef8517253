//! Mounts that a user asks for: `-v`, `--mount` and `--tmpfs` become one list. Pure.

use crate::error::{EngineError, Result};
use bollard_stubs::models::{HostConfig, Mount, MountBindOptionsPropagationEnum, MountType};
use std::path::{Component, Path};

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    pub kind: MountKind,
    /// Absolute and clean.
    pub destination: String,
    pub read_only: bool,
    /// What `docker inspect` shows as `Mode`.
    pub mode: String,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A path of the host.
    Bind {
        source: String,
        /// `rprivate`, `rshared`, …
        propagation: String,
        /// `rbind`, else `bind`.
        recursive: bool,
        /// Make the folder when it does not exist (`-v` does, `--mount` does not).
        create: bool,
    },
    /// Memory.
    Tmpfs {
        /// Mount options as the kernel reads them.
        options: Vec<String>,
        /// Asked for by `--mount`, and so listed by inspect.
        listed: bool,
    },
}

/// Everything that `host` asks for, in its order.
pub(crate) fn requested(host: &HostConfig) -> Result<Vec<MountSpec>> {
    let mut mounts = Vec::new();
    for bind in host.binds.iter().flatten() {
        mounts.push(parse_bind(bind)?);
    }
    for mount in host.mounts.iter().flatten() {
        mounts.push(parse_mount(mount)?);
    }
    for (destination, options) in host.tmpfs.iter().flatten() {
        let options = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
        mounts.push(MountSpec {
            kind: MountKind::Tmpfs { options: tmpfs_options(options), listed: false },
            destination: clean(destination).ok_or_else(|| {
                EngineError::invalid(format!("invalid tmpfs mount destination: {destination}"))
            })?,
            read_only: false,
            mode: String::new(),
        });
    }
    let mut seen = std::collections::HashSet::new();
    for mount in &mounts {
        if !seen.insert(mount.destination.as_str()) {
            return Err(EngineError::invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
    }
    Ok(mounts)
}

/// `source:destination[:mode]`
fn parse_bind(text: &str) -> Result<MountSpec> {
    let invalid = || EngineError::invalid(format!("invalid volume specification: '{text}'"));
    let mut parts = text.split(':');
    let (source, destination, mode) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(destination), mode, None) if !source.is_empty() => {
            (source, destination, mode.unwrap_or_default())
        }
        _ => return Err(invalid()),
    };
    if !source.starts_with('/') {
        return Err(EngineError::not_implemented(format!(
            "Named volumes are not supported yet: mount a folder of the machine instead of \"{source}\""
        )));
    }
    let destination = clean(destination).filter(|d| d != "/").ok_or_else(invalid)?;
    let (mut read_only, mut propagation) = (false, "rprivate");
    for word in mode.split(',').filter(|w| !w.is_empty()) {
        match word {
            "ro" => read_only = true,
            // SELinux labels and macOS consistency: nothing to do on this host, as on one without SELinux.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "default" | "nocopy" => {}
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => propagation = word,
            _ => return Err(EngineError::invalid(format!("invalid mode: {mode}"))),
        }
    }
    Ok(MountSpec {
        kind: MountKind::Bind {
            source: clean(source).ok_or_else(invalid)?,
            propagation: propagation.to_owned(),
            recursive: true,
            create: true,
        },
        destination,
        read_only,
        mode: mode.to_owned(),
    })
}

fn parse_mount(mount: &Mount) -> Result<MountSpec> {
    let kind = mount.typ.unwrap_or(MountType::BIND);
    let word = match kind {
        MountType::BIND => "bind",
        MountType::TMPFS => "tmpfs",
        other => {
            return Err(EngineError::not_implemented(format!(
                "Mounts of type {other} are not supported yet"
            )));
        }
    };
    let invalid =
        |why: String| EngineError::invalid(format!("invalid mount config for type \"{word}\": {why}"));
    let target = mount.target.as_deref().unwrap_or_default();
    if target.is_empty() {
        return Err(invalid("field Target must not be empty".into()));
    }
    let destination = clean(target)
        .ok_or_else(|| invalid(format!("invalid mount path: '{target}' mount path must be absolute")))?;
    if destination == "/" {
        return Err(invalid(format!("invalid specification: destination can't be '{target}'")));
    }
    let source = mount.source.as_deref().unwrap_or_default();
    let kind = if kind == MountType::BIND {
        if source.is_empty() {
            return Err(invalid("field Source must not be empty".into()));
        }
        let source = clean(source)
            .ok_or_else(|| invalid(format!("invalid mount path: '{source}' mount path must be absolute")))?;
        let options = mount.bind_options.as_ref();
        MountKind::Bind {
            source,
            propagation: options.and_then(|o| o.propagation).map_or("rprivate", propagation_word).to_owned(),
            recursive: !options.and_then(|o| o.non_recursive).unwrap_or(false),
            create: options.and_then(|o| o.create_mountpoint).unwrap_or(false),
        }
    } else {
        if !source.is_empty() {
            return Err(invalid("field Source must not be specified".into()));
        }
        let options = mount.tmpfs_options.as_ref();
        let mut words = Vec::new();
        if let Some(size) = options.and_then(|o| o.size_bytes).filter(|size| *size > 0) {
            words.push(format!("size={size}"));
        }
        if let Some(mode) = options.and_then(|o| o.mode).filter(|mode| *mode != 0) {
            words.push(format!("mode={mode:o}"));
        }
        MountKind::Tmpfs { options: tmpfs_options(words), listed: true }
    };
    Ok(MountSpec { kind, destination, read_only: mount.read_only.unwrap_or(false), mode: String::new() })
}

fn propagation_word(propagation: MountBindOptionsPropagationEnum) -> &'static str {
    match propagation {
        MountBindOptionsPropagationEnum::PRIVATE => "private",
        MountBindOptionsPropagationEnum::SHARED => "shared",
        MountBindOptionsPropagationEnum::RSHARED => "rshared",
        MountBindOptionsPropagationEnum::SLAVE => "slave",
        MountBindOptionsPropagationEnum::RSLAVE => "rslave",
        MountBindOptionsPropagationEnum::EMPTY | MountBindOptionsPropagationEnum::RPRIVATE => "rprivate",
    }
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

    fn binds(list: &[&str]) -> Result<Vec<MountSpec>> {
        let binds = Some(list.iter().map(ToString::to_string).collect());
        requested(&HostConfig { binds, ..HostConfig::default() })
    }

    #[test]
    fn binds_are_read_as_docker_reads_them() {
        let mounts = binds(&["/src:/a//b/../c:ro,rshared"]).unwrap();
        assert_eq!(
            mounts,
            [MountSpec {
                kind: MountKind::Bind {
                    source: "/src".into(),
                    propagation: "rshared".into(),
                    recursive: true,
                    create: true
                },
                destination: "/a/c".into(),
                read_only: true,
                mode: "ro,rshared".into(),
            }]
        );
    }

    #[test]
    fn mistakes_are_sentences() {
        for (bind, sentence) in [
            ("/x", "invalid volume specification: '/x'"),
            ("/x:rel", "invalid volume specification: '/x:rel'"),
            ("/x:/", "invalid volume specification: '/x:/'"),
            ("/x:/y:fast", "invalid mode: fast"),
            ("/x:/y:ro:z", "invalid volume specification: '/x:/y:ro:z'"),
        ] {
            assert_eq!(binds(&[bind]).unwrap_err().to_string(), sentence);
        }
        assert!(binds(&["data:/x"]).unwrap_err().to_string().contains("not supported yet"));
        assert_eq!(binds(&["/a:/x", "/b:/x"]).unwrap_err().to_string(), "Duplicate mount point: /x");
    }

    #[test]
    fn tmpfs_defaults_give_way_to_what_is_asked() {
        let tmpfs = Some([("/run".to_owned(), "exec,size=64k".to_owned())].into());
        let mounts = requested(&HostConfig { tmpfs, ..HostConfig::default() }).unwrap();
        let MountKind::Tmpfs { options, .. } = &mounts[0].kind else { panic!("not a tmpfs") };
        assert_eq!(options.join(","), "nosuid,nodev,exec,size=64k");
    }
}
