//! The docker CLI's contexts: each machine has one, `machine-NAME`, from the first time it runs until it is
//! removed. Nobody else's context is touched: ours say in their metadata which machine they are of.

use crate::{config::Environment, env_vars, file_error::FileError, machine::MachineName};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// `default` is docker's own, and a machine may be called so.
const PREFIX: &str = "machine-";
/// The CLI's settings.
const CONFIG: &str = "config.json";
const CURRENT: &str = "currentContext";
/// Whose context it is, in its metadata.
const OWNER: &str = "machine";

/// The contexts of one user.
#[derive(Clone, Debug)]
pub struct DockerContexts {
    folder: PathBuf,
}

/// A context cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Somebody else made one of the same name.
    #[error("The docker context \"{name}\" is of something else")]
    Taken { name: String },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds something else.
    #[error("{} is damaged", .path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// The context's name.
pub fn name_of(machine: &MachineName) -> String {
    format!("{PREFIX}{machine}")
}

impl DockerContexts {
    /// Those of the user whose environment it is; `None` for one without a home.
    pub fn of(environment: &Environment) -> Option<Self> {
        let folder = match environment.get(env_vars::DOCKER_CONFIG) {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(environment.get(env_vars::HOME)?).join(".docker"),
        };
        Some(Self { folder: environment.working_folder.join(folder) })
    }

    /// Sees to it that the machine in `folder` has its context, and that it leads to `url`.
    pub fn put(&self, machine: &MachineName, folder: &Path, url: &str) -> Result<(), ContextError> {
        let name = name_of(machine);
        let path = self.meta(&name);
        let meta = json!({
            "Name": name,
            "Metadata": { "Description": format!("machine \"{machine}\""), OWNER: folder },
            "Endpoints": { "docker": { "Host": url, "SkipTLSVerify": false } },
        });
        match read(&path)? {
            Some(found) if found == meta => Ok(()),
            Some(found) if !is_of(&found, folder) => Err(ContextError::Taken { name }),
            _ => write(&path, &meta),
        }
    }

    /// Removes the context of the machine in `folder`; the CLI goes back to its default if it was using it.
    pub fn remove(&self, machine: &MachineName, folder: &Path) -> Result<(), ContextError> {
        let name = name_of(machine);
        let path = self.meta(&name);
        if !read(&path)?.is_some_and(|found| is_of(&found, folder)) {
            return Ok(());
        }
        if self.current()?.as_deref() == Some(name.as_str()) {
            self.choose(None)?;
        }
        let folder = path.parent().unwrap_or(&path);
        Ok(fs::remove_dir_all(folder).map_err(FileError::on("remove", folder))?)
    }

    /// Makes the CLI use the machine's context, or its default.
    pub fn choose(&self, machine: Option<&MachineName>) -> Result<(), ContextError> {
        let path = self.folder.join(CONFIG);
        let mut config = match read(&path)? {
            Some(Value::Object(config)) => config,
            _ => Map::new(),
        };
        match machine {
            Some(machine) => _ = config.insert(CURRENT.to_owned(), name_of(machine).into()),
            None => _ = config.remove(CURRENT),
        }
        write(&path, &config.into())
    }

    /// The context the CLI uses, unless it is its default.
    pub fn current(&self) -> Result<Option<String>, ContextError> {
        let config = read(&self.folder.join(CONFIG))?;
        Ok(config.as_ref().and_then(|config| config.get(CURRENT)).and_then(Value::as_str).map(str::to_owned))
    }

    /// Those of machines that were in `machines`, a store's folder, and are no more: what a removal left that
    /// was cut short. Removes them and gives their names.
    pub fn sweep(&self, machines: &Path) -> Result<Vec<String>, ContextError> {
        let folder = self.folder.join("contexts/meta");
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
        let mut swept = Vec::new();
        for entry in entries.flatten() {
            let Ok(Some(found)) = read(&entry.path().join("meta.json")) else { continue };
            let Some(owner) = owner(&found) else { continue };
            let machine = owner.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if let Some(machine) = machine
                && owner.parent() == Some(machines)
                && !owner.exists()
            {
                self.remove(&machine, &owner)?;
                swept.push(name_of(&machine));
            }
        }
        Ok(swept)
    }

    /// Where the CLI looks for a context.
    fn meta(&self, name: &str) -> PathBuf {
        let digest = Sha256::digest(name.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join("contexts/meta").join(hex).join("meta.json")
    }
}

fn owner(meta: &Value) -> Option<PathBuf> {
    meta.pointer(&format!("/Metadata/{OWNER}")).and_then(Value::as_str).map(PathBuf::from)
}

fn is_of(meta: &Value, folder: &Path) -> bool {
    owner(meta).is_some_and(|owner| owner == folder)
}

fn read(path: &Path) -> Result<Option<Value>, ContextError> {
    match fs::read(path) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| ContextError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path, error).into()),
    }
}

/// Whoever reads meanwhile finds the old file or the new one, whole; a mode that was chosen stays.
fn write(path: &Path, document: &Value) -> Result<(), ContextError> {
    let mode = fs::metadata(path).map_or(0o600, |found| found.permissions().mode() & 0o777);
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let replace = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&partial)?;
        file.write_all(format!("{document:#}\n").as_bytes())?;
        file.sync_data()?;
        // A link to the file (dotfiles are often kept so) is followed, not replaced.
        fs::rename(&partial, fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    };
    replace().map_err(|source| {
        _ = fs::remove_file(&partial);
        FileError::new("write", path, source).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> (tempfile::TempDir, DockerContexts) {
        let folder = tempfile::tempdir().unwrap();
        let contexts = DockerContexts { folder: folder.path().join("docker") };
        (folder, contexts)
    }

    #[test]
    fn a_context_comes_and_goes_with_its_machine() {
        let (root, contexts) = contexts();
        let (dev, folder) = ("dev".parse().unwrap(), root.path().join("machines/dev"));
        contexts.put(&dev, &folder, "unix:///a.sock").unwrap();
        contexts.put(&dev, &folder, "unix:///b.sock").unwrap();
        // sha256 of "machine-dev", as `printf machine-dev | sha256sum` has it.
        let meta = contexts.meta("machine-dev");
        assert_eq!(read(&meta).unwrap().unwrap()["Endpoints"]["docker"]["Host"], "unix:///b.sock");
        fs::write(contexts.folder.join(CONFIG), r#"{"auths":{"x":{}},"zzz":1}"#).unwrap();
        contexts.choose(Some(&dev)).unwrap();
        assert_eq!(contexts.current().unwrap().as_deref(), Some("machine-dev"));
        contexts.remove(&dev, &folder).unwrap();
        assert_eq!(contexts.current().unwrap(), None);
        assert!(!meta.parent().unwrap().exists());
        let config = read(&contexts.folder.join(CONFIG)).unwrap().unwrap();
        assert_eq!(config, json!({"auths":{"x":{}},"zzz":1}), "nothing else has changed");
        contexts.remove(&dev, &folder).unwrap();
    }

    #[test]
    fn somebody_elses_context_is_left_alone() {
        let (root, contexts) = contexts();
        let dev = "dev".parse().unwrap();
        let (ours, theirs) = (root.path().join("a/dev"), root.path().join("b/dev"));
        contexts.put(&dev, &theirs, "unix:///theirs.sock").unwrap();
        assert!(matches!(contexts.put(&dev, &ours, "unix:///ours.sock"), Err(ContextError::Taken { .. })));
        contexts.remove(&dev, &ours).unwrap();
        assert!(contexts.meta("machine-dev").exists());
    }

    #[test]
    fn what_removed_machines_left_is_swept() {
        let (root, contexts) = contexts();
        let machines = root.path().join("machines");
        fs::create_dir_all(machines.join("here")).unwrap();
        for name in ["here", "gone"] {
            contexts.put(&name.parse().unwrap(), &machines.join(name), "unix:///x.sock").unwrap();
        }
        assert_eq!(contexts.sweep(&machines).unwrap(), ["machine-gone"]);
        assert_eq!(contexts.sweep(&machines).unwrap(), [""; 0]);
    }
}
