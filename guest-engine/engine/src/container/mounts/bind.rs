//! `-v SOURCE:DESTINATION[:MODE]`.

use super::{BindMount, MountKind, MountSpec, PRIVATE, VolumeMount, clean};
use crate::{
    error::{EngineError, Result},
    volume::VolumeRequest,
};

/// What the last part says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) read_only: bool,
    pub(super) no_copy: bool,
    pub(super) propagation: Option<String>,
}

/// Reads a bind specification: a path of the host, a volume by name, or neither.
pub(super) fn parse(text: &str, driver: &str) -> Result<MountSpec> {
    let invalid = || EngineError::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, words) = match parts[..] {
        [destination] => ("", destination, ""),
        // `/x:ro` is no source with a destination.
        [source, destination] if mode(destination).is_none() => (source, destination, ""),
        [source, destination, words] => (source, destination, words),
        _ => return Err(invalid()),
    };
    if parts[0].is_empty() {
        return Err(invalid());
    }
    let mode = mode(words).ok_or_else(|| EngineError::invalid(format!("invalid mode: {words}")))?;
    let destination = match clean(destination) {
        None => {
            return Err(invalid().because(format!(
                "invalid mount config for type \"{}\": invalid mount path: '{destination}' mount path must be absolute",
                if source.starts_with('/') { "bind" } else { "volume" }
            )));
        }
        Some(root) if root == "/" => {
            return Err(invalid().because("invalid specification: destination can't be '/'"));
        }
        Some(destination) => destination,
    };
    if mode.propagation.is_some() && !source.starts_with('/') {
        return Err(invalid()
            .because("invalid mount config for type \"volume\": field BindOptions must not be specified"));
    }
    if mode.no_copy && source.starts_with('/') {
        return Err(invalid()
            .because("invalid mount config for type \"bind\": field VolumeOptions must not be specified"));
    }
    let mut shown = words.to_owned();
    let kind = if source.starts_with('/') {
        MountKind::Bind(BindMount {
            source: clean(source).ok_or_else(invalid)?,
            propagation: mode.propagation.unwrap_or_else(|| PRIVATE.to_owned()),
            recursive: true,
            writable_below: false,
            create: true,
        })
    } else {
        // Shared between containers, in SELinux's words; dockerd shows it on any host.
        if shown.is_empty() {
            shown = "z".to_owned();
        }
        MountKind::Volume(VolumeMount {
            name: source.to_owned(),
            anonymous: source.is_empty(),
            copy: !mode.no_copy,
            subpath: String::new(),
            request: VolumeRequest {
                name: source.to_owned(),
                driver: driver.to_owned(),
                ..VolumeRequest::default()
            },
        })
    };
    Ok(MountSpec { kind, destination, read_only: mode.read_only, mode: shown })
}

/// `None` when a word is unknown or two contradict each other. SELinux labels and macOS consistency are
/// known and mean nothing on this host, as on one without SELinux.
pub(super) fn mode(words: &str) -> Option<Mode> {
    let mut mode = Mode::default();
    let mut seen = [false; 5];
    for word in words.split(',').filter(|_| !words.is_empty()) {
        let group = match word {
            "ro" | "rw" => {
                mode.read_only = word == "ro";
                0
            }
            "z" | "Z" => 1,
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                mode.propagation = Some(word.to_owned());
                2
            }
            "nocopy" => {
                mode.no_copy = true;
                3
            }
            "consistent" | "cached" | "delegated" | "default" => 4,
            _ => return None,
        };
        if std::mem::replace(&mut seen[group], true) {
            return None;
        }
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_host() {
        let mount = parse("/src:/a//b/../c:ro,rshared", "").unwrap();
        let MountKind::Bind(bind) = &mount.kind else { panic!("{mount:?}") };
        assert_eq!((bind.source.as_str(), bind.propagation.as_str()), ("/src", "rshared"));
        assert!(bind.create && bind.recursive);
        assert_eq!((mount.destination.as_str(), mount.read_only), ("/a/c", true));
        assert_eq!(mount.mode, "ro,rshared");
    }

    #[test]
    fn volumes_with_and_without_a_name() {
        let of = |text: &str| {
            let mount = parse(text, "").unwrap();
            let MountKind::Volume(volume) = mount.kind else { panic!("{text}") };
            (volume.name, volume.anonymous, volume.copy, mount.destination, mount.mode)
        };
        assert_eq!(of("data:/x"), ("data".into(), false, true, "/x".into(), "z".into()));
        assert_eq!(of("data:/x:nocopy,Z"), ("data".into(), false, false, "/x".into(), "nocopy,Z".into()));
        assert_eq!(of("/x"), (String::new(), true, true, "/x".into(), "z".into()));
    }

    #[test]
    fn mistakes_are_sentences() {
        for (bind, sentence) in [
            ("/x:/y:fast", "invalid mode: fast"),
            ("/x:/y:ro,rw", "invalid mode: ro,rw"),
            ("/x:ro", "invalid volume specification: '/x:ro'"),
            (":/x", "invalid volume specification: ':/x'"),
            ("/x:/y:ro:z", "invalid volume specification: '/x:/y:ro:z'"),
            ("/x:/", "invalid volume specification: '/x:/': invalid specification: destination can't be '/'"),
            (
                "data:/y:rslave",
                "invalid volume specification: 'data:/y:rslave': invalid mount config for type \"volume\": field \
                 BindOptions must not be specified",
            ),
            (
                "/x:rel",
                "invalid volume specification: '/x:rel': invalid mount config for type \"bind\": invalid mount path: \
                 'rel' mount path must be absolute",
            ),
        ] {
            assert_eq!(parse(bind, "").unwrap_err().to_string(), sentence);
        }
    }
}
