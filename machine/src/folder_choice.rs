//! Which folders of this computer a machine sees: what `--mount` says, or by default the user's home folder, at
//! the same path as here. So what `docker run -v $PWD:/src` names is there. A host that others own, or may get into,
//! is shown nothing unless asked to.

use crate::{
    config::Environment,
    env_vars,
    error::{CommandError, ErrorKind},
};
use guest_contract::folders::SharedFolder;
use machine_drivers::{Access, Driver, EngineHome};
use std::path::{Component, Path, PathBuf};

/// What the machine itself lives on: its own must not be hidden by this computer's.
const SYSTEM: [&str; 17] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/init",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/lib/docker",
];
/// Nothing in there is anybody's folder.
const NOWHERE: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/var/lib/docker"];

/// What was said about folders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    /// `PATH` or `PATH:ro`, each.
    pub(crate) mounts: &'a [String],
    /// None at all.
    pub(crate) none: bool,
}

/// The folders of a machine that is about to be made.
pub(crate) fn choose(
    said: Said<'_>,
    driver: &dyn Driver,
    environment: &Environment,
) -> Result<Vec<SharedFolder>, CommandError> {
    let capabilities = driver.capabilities();
    if said.mounts.is_empty() {
        // A VM of ours, on this computer.
        let wanted = !said.none && capabilities.local && capabilities.seed_channel;
        return Ok(if wanted { home(environment).into_iter().collect() } else { Vec::new() });
    }
    if said.none {
        return Err(CommandError::new(ErrorKind::Usage, "--mount and --no-mount contradict each other"));
    }
    parse_all(said.mounts, environment)
}

/// Whether a machine can be shown folders: something of ours must mount them there.
pub(crate) fn check_access(access: &Access) -> Result<(), CommandError> {
    match access.engine {
        EngineHome::Host => Ok(()),
        EngineHome::Guest if access.seed_socket.is_some() => Ok(()),
        EngineHome::Guest | EngineHome::Existing(_) => {
            let message = "Folders of this computer cannot be shown to a machine whose engine is not ours";
            Err(CommandError::new(ErrorKind::Failed, message)
                .hinted("Leave out --mount, and put files there with \"machine cp\""))
        }
    }
}

/// What the options name, checked.
pub(crate) fn parse_all(
    mounts: &[String],
    environment: &Environment,
) -> Result<Vec<SharedFolder>, CommandError> {
    let wrong = |message: String| Err(CommandError::new(ErrorKind::Usage, message));
    let mut folders: Vec<SharedFolder> = Vec::new();
    for mount in mounts {
        let (path, read_only) = match mount.rsplit_once(':') {
            Some((path, "ro")) => (path, true),
            Some((path, "rw")) => (path, false),
            _ => (mount.as_str(), false),
        };
        let path = clean(&environment.working_folder.join(path));
        let text = path.to_str().filter(|text| !text.contains(char::is_control));
        let Some(text) = text.map(str::to_owned) else {
            return wrong(format!("{} has characters that are no text", path.display()));
        };
        if let Some(why) = unsuitable(&path) {
            return wrong(format!("{text} cannot be shared: {why}"));
        }
        if !path.is_dir() {
            return wrong(format!("{text} cannot be shared: it is not a folder of this computer"));
        }
        let overlaps = |other: &&SharedFolder| {
            Path::new(&other.path).starts_with(&path) || path.starts_with(&other.path)
        };
        if let Some(other) = folders.iter().find(overlaps) {
            return wrong(format!(
                "{text} cannot be shared: {} is, and one of them is inside the other",
                other.path
            ));
        }
        folders.push(SharedFolder { path: text, read_only });
    }
    Ok(folders)
}

/// The user's home folder, where it can be shared.
fn home(environment: &Environment) -> Option<SharedFolder> {
    let path = clean(&environment.working_folder.join(environment.get(env_vars::HOME)?));
    let suitable = unsuitable(&path).is_none() && path.is_dir();
    let path = path.to_str()?.to_owned();
    suitable.then_some(SharedFolder { path, read_only: false })
}

fn unsuitable(path: &Path) -> Option<&'static str> {
    if path == Path::new("/") || SYSTEM.iter().any(|system| path == Path::new(system)) {
        Some("the machine has its own there")
    } else if NOWHERE.iter().any(|nowhere| path.starts_with(nowhere)) {
        Some("it is made by the kernel or by an engine, in the machine as well")
    } else {
        None
    }
}

/// Without `.`, `..` and double slashes; links stay, as this is the path that containers name.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => _ = clean.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(folder: &Path) -> Environment {
        Environment { working_folder: folder.to_owned(), ..Environment::default() }
    }

    fn parse(folder: &Path, mounts: &[&str]) -> Result<Vec<SharedFolder>, String> {
        let mounts: Vec<String> = mounts.iter().map(ToString::to_string).collect();
        parse_all(&mounts, &environment(folder)).map_err(|error| error.message)
    }

    #[test]
    fn folders_are_named_in_any_way_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        let folders = parse(folder.path(), &["./a/../a//b:ro"]).unwrap();
        assert_eq!(folders, [SharedFolder { path: format!("{root}/a/b"), read_only: true }]);
        let nested = parse(folder.path(), &["a", &format!("{root}/a/b")]).unwrap_err();
        assert!(nested.ends_with(&format!("{root}/a is, and one of them is inside the other")), "{nested}");
        let missing = parse(folder.path(), &["c"]).unwrap_err();
        assert_eq!(missing, format!("{root}/c cannot be shared: it is not a folder of this computer"));
    }

    #[test]
    fn the_machines_own_folders_are_not_hidden() {
        for system in ["/", "/usr", "/tmp/..", "/proc/self", "/run/user", "/var/lib/docker/volumes"] {
            let refused = parse(Path::new("/"), &[system]).unwrap_err();
            assert!(refused.contains("cannot be shared"), "{refused}");
        }
    }
}
