//! Finds the executable inside the container, and says what is wrong with it in the words of Go's
//! `os/exec`, because the docker client maps those words to its exit codes 126 and 127.

use nix::unistd::{AccessFlags, access};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// What runc searches when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Resolves `name` against the `PATH` in `env`, or gives the sentence of the failure.
pub(super) fn executable(name: &str, env: &[String]) -> Result<PathBuf, String> {
    if name.contains('/') {
        let path = Path::new(name);
        return match check(path) {
            Ok(()) => Ok(path.to_owned()),
            Err(reason) => Err(format!("exec: {name:?}: {reason}")),
        };
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut refused = None;
    for folder in path.split(':') {
        let candidate =
            if folder.is_empty() { Path::new(".").join(name) } else { Path::new(folder).join(name) };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(reason) if reason == PERMISSION_DENIED => refused = Some(reason),
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(reason) => format!("exec: {name:?}: {reason}"),
        None => format!("exec: {name:?}: executable file not found in $PATH"),
    })
}

const PERMISSION_DENIED: &str = "permission denied";

fn check(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("stat {}: no such file or directory", path.display()),
        ErrorKind::PermissionDenied => PERMISSION_DENIED.to_owned(),
        ErrorKind::NotADirectory => format!("stat {}: not a directory", path.display()),
        _ => format!("stat {}: {error}", path.display()),
    })?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    access(path, AccessFlags::X_OK).map_err(|_| PERMISSION_DENIED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn speaks_as_go_does() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tool");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let env = vec![format!("PATH={}", folder.path().display())];
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(executable("tool", &env).unwrap_err(), "exec: \"tool\": permission denied");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(executable("tool", &env).unwrap(), program);
        assert_eq!(
            executable("nope", &env).unwrap_err(),
            "exec: \"nope\": executable file not found in $PATH"
        );
        assert_eq!(
            executable("/nope", &env).unwrap_err(),
            "exec: \"/nope\": stat /nope: no such file or directory"
        );
        assert_eq!(executable("/", &env).unwrap_err(), "exec: \"/\": is a directory");
    }
}
