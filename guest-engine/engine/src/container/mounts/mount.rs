//! `--mount`: one entry of `HostConfig.Mounts`.

use super::{BindMount, MountKind, MountSpec, PRIVATE, VolumeMount, clean, tmpfs_options};
use crate::{
    error::{EngineError, Result},
    volume::VolumeRequest,
};
use bollard_stubs::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
};
use std::path::{Component, Path};

/// Checks a mount as dockerd does, and reads it.
pub(super) fn parse(mount: &Mount) -> Result<MountSpec> {
    let typ = mount.typ;
    let word = typ.map(|typ| typ.to_string()).unwrap_or_default();
    let invalid =
        |why: &str| EngineError::invalid(format!("invalid mount config for type \"{word}\": {why}"));
    let relative = |path: &str| invalid(&format!("invalid mount path: '{path}' mount path must be absolute"));
    let target = mount.target.as_deref().unwrap_or_default();
    if target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    let destination = clean(target).ok_or_else(|| relative(target))?;
    if destination == "/" {
        return Err(invalid("invalid specification: destination can't be '/'"));
    }
    let extra = |field: &str| invalid(&format!("field {field} must not be specified"));
    let source = mount.source.as_deref().unwrap_or_default();
    let read_only = mount.read_only.unwrap_or(false);
    let mut mode = "";
    let kind = match typ {
        Some(MountType::BIND) => {
            if source.is_empty() {
                return Err(invalid("field Source must not be empty"));
            }
            if mount.volume_options.is_some() {
                return Err(extra("VolumeOptions"));
            }
            let source = clean(source).ok_or_else(|| relative(source))?;
            let none = MountBindOptions::default();
            bind(source, mount.bind_options.as_ref().unwrap_or(&none), read_only).map_err(invalid)?
        }
        Some(MountType::VOLUME) => {
            if mount.bind_options.is_some() {
                return Err(extra("BindOptions"));
            }
            mode = "z";
            MountKind::Volume(volume(source, mount).map_err(invalid)?)
        }
        Some(MountType::TMPFS) => {
            if mount.bind_options.is_some() {
                return Err(extra("BindOptions"));
            }
            if !source.is_empty() {
                return Err(extra("Source"));
            }
            let options = mount.tmpfs_options.as_ref();
            MountKind::Tmpfs {
                options: tmpfs_options(tmpfs(options).map_err(|why| invalid(&why))?),
                listed: true,
            }
        }
        Some(MountType::IMAGE) => {
            return Err(EngineError::not_implemented(
                "Mounts of type image are not supported by this engine yet",
            ));
        }
        _ => return Err(invalid("mount type unknown")),
    };
    Ok(MountSpec { kind, destination, read_only, mode: mode.to_owned() })
}

fn bind(source: String, options: &MountBindOptions, read_only: bool) -> Result<MountKind, &'static str> {
    let propagation = options.propagation.map_or(PRIVATE, propagation_word);
    if options.read_only_force_recursive.unwrap_or(false) {
        // Always so on the kernels that this engine runs on, if asked for sensibly.
        if !read_only {
            return Err("BindOptions.ReadOnlyForceRecursive requires ReadOnly");
        }
        if propagation != PRIVATE {
            return Err("BindOptions.ReadOnlyForceRecursive requires Propagation to be \"rprivate\"");
        }
    }
    Ok(MountKind::Bind(BindMount {
        source,
        propagation: propagation.to_owned(),
        recursive: !options.non_recursive.unwrap_or(false),
        writable_below: options.read_only_non_recursive.unwrap_or(false),
        create: options.create_mountpoint.unwrap_or(false),
    }))
}

fn volume(source: &str, mount: &Mount) -> Result<VolumeMount, &'static str> {
    let options = mount.volume_options.clone().unwrap_or_default();
    let subpath = options.subpath.unwrap_or_default();
    if !subpath.is_empty() {
        if source.is_empty() {
            return Err("must not set Subpath when using anonymous volumes");
        }
        if !is_local(&subpath) {
            return Err("subpath must be a relative path within the volume");
        }
    }
    if source.is_empty() && mount.read_only.unwrap_or(false) {
        return Err("must not set ReadOnly mode when using anonymous volumes");
    }
    let driver = options.driver_config.unwrap_or_default();
    Ok(VolumeMount {
        name: source.to_owned(),
        anonymous: source.is_empty(),
        copy: !options.no_copy.unwrap_or(false),
        subpath,
        request: VolumeRequest {
            name: source.to_owned(),
            driver: driver.name.unwrap_or_default(),
            labels: options.labels,
            options: driver.options,
        },
    })
}

fn tmpfs(options: Option<&MountTmpfsOptions>) -> Result<Vec<String>, String> {
    let Some(options) = options else { return Ok(Vec::new()) };
    let mut words = Vec::new();
    if let Some(size) = options.size_bytes.filter(|size| *size != 0) {
        words.push(format!("size={size}"));
    }
    if let Some(mode) = options.mode.filter(|mode| *mode != 0) {
        words.push(format!("mode={mode:o}"));
    }
    for option in options.options.iter().flatten() {
        match option.as_slice() {
            [word] if matches!(word.as_str(), "exec" | "noexec") => words.push(word.clone()),
            [word, ..] if option.len() <= 2 => return Err(format!("invalid option: {word}")),
            _ => return Err("invalid option array length".to_owned()),
        }
    }
    Ok(words)
}

/// Relative, and never above where it begins.
fn is_local(path: &str) -> bool {
    let mut depth = 0_i64;
    !path.contains('\0')
        && Path::new(path).components().all(|component| {
            match component {
                Component::Normal(_) => depth += 1,
                Component::ParentDir => depth -= 1,
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return false,
            }
            depth >= 0
        })
}

fn propagation_word(propagation: MountBindOptionsPropagationEnum) -> &'static str {
    match propagation {
        MountBindOptionsPropagationEnum::PRIVATE => "private",
        MountBindOptionsPropagationEnum::SHARED => "shared",
        MountBindOptionsPropagationEnum::RSHARED => "rshared",
        MountBindOptionsPropagationEnum::SLAVE => "slave",
        MountBindOptionsPropagationEnum::RSLAVE => "rslave",
        MountBindOptionsPropagationEnum::EMPTY | MountBindOptionsPropagationEnum::RPRIVATE => PRIVATE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_stubs::models::{MountVolumeOptions, MountVolumeOptionsDriverConfig};

    fn mount(typ: MountType, source: &str) -> Mount {
        Mount {
            typ: Some(typ),
            target: Some("/x".into()),
            source: Some(source.into()).filter(|source: &String| !source.is_empty()),
            ..Mount::default()
        }
    }

    #[test]
    fn volumes_carry_how_to_make_them() {
        let driver = MountVolumeOptionsDriverConfig {
            name: Some("local".into()),
            options: Some([("type".to_owned(), "tmpfs".to_owned())].into()),
        };
        let options = MountVolumeOptions {
            no_copy: Some(true),
            subpath: Some("a/./b".into()),
            driver_config: Some(driver),
            ..MountVolumeOptions::default()
        };
        let asked = Mount { volume_options: Some(options), ..mount(MountType::VOLUME, "data") };
        let spec = parse(&asked).unwrap();
        let MountKind::Volume(volume) = spec.kind else { panic!("not a volume") };
        assert!(!volume.copy && !volume.anonymous);
        assert_eq!((volume.subpath.as_str(), spec.mode.as_str()), ("a/./b", "z"));
        assert_eq!(volume.request.options.unwrap()["type"], "tmpfs");
    }

    #[test]
    fn mistakes_are_sentences() {
        let read_only = |mount: Mount| Mount { read_only: Some(true), ..mount };
        let subpath = |path: &str, source: &str| Mount {
            volume_options: Some(MountVolumeOptions {
                subpath: Some(path.into()),
                ..MountVolumeOptions::default()
            }),
            ..mount(MountType::VOLUME, source)
        };
        for (mount, sentence) in [
            (Mount { typ: None, ..mount(MountType::BIND, "/a") }, "type \"\": mount type unknown"),
            (
                Mount { target: None, ..mount(MountType::BIND, "/a") },
                "type \"bind\": field Target must not be empty",
            ),
            (mount(MountType::BIND, ""), "type \"bind\": field Source must not be empty"),
            (
                mount(MountType::BIND, "rel"),
                "type \"bind\": invalid mount path: 'rel' mount path must be absolute",
            ),
            (mount(MountType::TMPFS, "/a"), "type \"tmpfs\": field Source must not be specified"),
            (
                read_only(mount(MountType::VOLUME, "")),
                "type \"volume\": must not set ReadOnly mode when using anonymous volumes",
            ),
            (subpath("../x", "data"), "type \"volume\": subpath must be a relative path within the volume"),
            (subpath("x", ""), "type \"volume\": must not set Subpath when using anonymous volumes"),
        ] {
            assert_eq!(
                parse(&mount).unwrap_err().to_string(),
                format!("invalid mount config for {sentence}")
            );
        }
    }
}
