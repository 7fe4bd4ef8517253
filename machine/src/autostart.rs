//! Machines that come back after the computer was restarted: a unit of the user's systemd for each.

use crate::{config::Environment, env_vars, file_error::FileError, machine::MachineName};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const UNIT_PREFIX: &str = "machine-";
const UNIT_SUFFIX: &str = ".service";
/// What systemd starts when the user's session begins, or at boot for users that linger.
const WANTS: &str = "default.target.wants";

/// The user's units.
#[derive(Clone, Debug)]
pub struct Autostart {
    folder: PathBuf,
    executable: PathBuf,
    store: PathBuf,
}

/// A unit cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AutostartError {
    /// There is no place for one.
    #[error("There is no place for systemd's user units: HOME is not set")]
    NoHome,
    /// Another store's machine of that name, or something else, has it.
    #[error("{} is of something else", .0.display())]
    Taken(PathBuf),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Autostart {
    /// Those of the user whose environment it is, for machines in `store`.
    pub fn of(environment: &Environment, store: &Path) -> Result<Self, AutostartError> {
        let config = environment
            .get(env_vars::XDG_CONFIG_HOME)
            .map(PathBuf::from)
            .or_else(|| environment.get(env_vars::HOME).map(|home| Path::new(home).join(".config")))
            .ok_or(AutostartError::NoHome)?;
        Ok(Self {
            folder: environment.working_folder.join(config).join("systemd/user"),
            executable: environment.executable.clone(),
            store: store.to_owned(),
        })
    }

    /// Has the machine started with the user's session.
    pub fn enable(&self, name: &MachineName) -> Result<(), AutostartError> {
        let (unit, text) = (self.unit(name), self.text(name));
        let wants = self.folder.join(WANTS);
        if read(&unit)?.is_some_and(|found| found != text && !self.is_ours(&found)) {
            return Err(AutostartError::Taken(unit));
        }
        fs::create_dir_all(&wants).map_err(FileError::on("create", &wants))?;
        fs::write(&unit, text).map_err(FileError::on("write", &unit))?;
        let link = wants.join(unit.file_name().unwrap_or_default());
        match symlink(&unit, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(FileError::new("create", &link, error).into())
            }
            _ => Ok(()),
        }
    }

    /// No longer. One that was never to be is left as it is.
    pub fn disable(&self, name: &MachineName) -> Result<(), AutostartError> {
        let unit = self.unit(name);
        if !read(&unit)?.is_some_and(|found| self.is_ours(&found)) {
            return Ok(());
        }
        let link = self.folder.join(WANTS).join(unit.file_name().unwrap_or_default());
        for path in [link, unit] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError::new("remove", &path, error).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The machines of this store that have a unit.
    pub fn enabled(&self) -> Vec<MachineName> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let name = |entry: fs::DirEntry| {
            let file = entry.file_name().into_string().ok()?;
            let name = file.strip_prefix(UNIT_PREFIX)?.strip_suffix(UNIT_SUFFIX)?.parse().ok()?;
            read(&entry.path()).ok()??.contains(&self.mark()).then_some(name)
        };
        entries.flatten().filter_map(name).collect()
    }

    /// Tells systemd; whether that worked. Where it does not run there is nobody to tell.
    pub fn reload(&self) -> bool {
        let mut command = Command::new("systemctl");
        command
            .args(["--user", "daemon-reload"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn unit(&self, name: &MachineName) -> PathBuf {
        self.folder.join(format!("{UNIT_PREFIX}{name}{UNIT_SUFFIX}"))
    }

    /// By this line a unit is known as one of this store's.
    fn mark(&self) -> String {
        format!("Environment={}\n", quoted(&format!("{}={}", env_vars::STORAGE_PATH, self.store.display())))
    }

    fn is_ours(&self, text: &str) -> bool {
        text.contains(&self.mark())
    }

    fn text(&self, name: &MachineName) -> String {
        let program = quoted(&self.executable.display().to_string());
        format!(
            "[Unit]\nDescription=Machine {name}\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n{}\
             ExecStart={program} start {name}\nExecStop={program} stop {name}\nTimeoutStartSec=10min\n\n\
             [Install]\nWantedBy=default.target\n",
            self.mark()
        )
    }
}

/// As systemd reads a word: quotes and backslashes are escaped, and its own `%` specifiers.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$"))
}

fn read(path: &Path) -> Result<Option<String>, AutostartError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path, error).into()),
    }
}
