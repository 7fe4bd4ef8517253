//! What the surroundings say, read once: environment, executable and where the store is.

use crate::env_vars;
use std::{collections::BTreeMap, path::PathBuf};

/// The process's surroundings. Tests make their own.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Environment variables; those that are not UTF-8 are left out.
    pub variables: BTreeMap<String, String>,
    /// This executable, for what stands beside it and for starting keepers.
    pub executable: PathBuf,
    /// The working folder, against which relative paths are resolved.
    pub working_folder: PathBuf,
}

/// The surroundings lack something that nothing can go without.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither a storage path nor a home folder.
    #[error("There is no place for machines: HOME is not set")]
    NoHome,
}

impl Environment {
    /// Reads the surroundings of this process.
    pub fn of_process() -> Self {
        let utf8 = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(utf8).collect(),
            executable: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("machine")),
            working_folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        }
    }

    /// A variable; one that is set to nothing counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The store's folder, absolute.
    pub fn storage_path(&self, flag: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
        if let Some(path) = flag.or_else(|| self.get(env_vars::STORAGE_PATH).map(PathBuf::from)) {
            return Ok(self.working_folder.join(path));
        }
        let home = self.get(env_vars::HOME).ok_or(ConfigError::NoHome)?;
        Ok(self.working_folder.join(home).join(".docker/machine"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Environment { variables, working_folder: PathBuf::from("/work"), ..Environment::default() }
    }

    #[test]
    fn flag_then_variable_then_home() {
        let both = environment(&[("HOME", "/home/me"), ("MACHINE_STORAGE_PATH", "/env")]);
        assert_eq!(both.storage_path(Some("flag".into())).unwrap(), PathBuf::from("/work/flag"));
        assert_eq!(both.storage_path(None).unwrap(), PathBuf::from("/env"));
        let home = environment(&[("HOME", "/home/me"), ("MACHINE_STORAGE_PATH", "")]);
        assert_eq!(home.storage_path(None).unwrap(), PathBuf::from("/home/me/.docker/machine"));
        assert!(matches!(environment(&[]).storage_path(None), Err(ConfigError::NoHome)));
    }
}
