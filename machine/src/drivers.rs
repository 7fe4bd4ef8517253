//! The drivers by name: those built in, and those that are programs in a folder of `PATH`. The only file of
//! the host's binary that names a driver's crate.

use driver_plugin::PluginDriver;
use machine_drivers::{
    Driver, DriverError,
    external::{self, ExternalDriver, Program},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The driver of `create` when none is named.
pub const DEFAULT: &str = "kvm";

/// The drivers there are.
#[derive(Debug)]
pub struct Registry {
    built_in: Vec<Arc<dyn Driver>>,
    /// Where programs are looked for.
    folders: Vec<PathBuf>,
    /// The programs that were asked for, by what they are called: one driver each for all that the command
    /// does.
    programs: Mutex<BTreeMap<String, Arc<dyn Program>>>,
}

/// How a kind of program is called, and how the driver of a name is made of it.
type Kind = (&'static str, fn(&str, PathBuf) -> Arc<dyn Program>);

/// Ours, and docker-machine's.
const EXTERNAL: Kind = (external::PREFIX, |name, path| Arc::new(ExternalDriver::new(name, path)));
const PLUGIN: Kind = (driver_plugin::PREFIX, |name, path| Arc::new(PluginDriver::new(name, path)));

/// No driver has the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Driver {name:?} not found")]
pub struct UnknownDriver {
    /// The name.
    pub name: String,
    /// Those there are.
    pub known: Vec<&'static str>,
    /// The programs that would be this driver.
    pub looked_for: Vec<String>,
    /// Where they are not.
    pub folders: Vec<PathBuf>,
}

/// A driver cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is none of the name.
    #[error(transparent)]
    Unknown(#[from] UnknownDriver),
    /// There is one, and it does not work.
    #[error(transparent)]
    Broken(#[from] DriverError),
}

/// Makes the driver that the file at `path` is, each with a process of its own; `None` when the file is not
/// called as one, or cannot be run.
pub fn of_program(path: &Path) -> Option<impl Fn() -> Arc<dyn Program>> {
    let (folder, called) = (path.parent()?, path.file_name()?.to_str()?);
    let path = external::find(called, &[folder.to_owned()])?;
    let kind = [EXTERNAL, PLUGIN]
        .into_iter()
        .find_map(|(prefix, driver)| Some((driver, called.strip_prefix(prefix)?)));
    let (driver, name) = kind.filter(|(_, name)| external::is_driver_name(name))?;
    let name = name.to_owned();
    Some(move || driver(&name, path.clone()))
}

impl Registry {
    /// What is built in, and the programs in `path`, folders separated by colons. Cheap: every command
    /// calls it.
    pub fn built_in(path: Option<&str>) -> Self {
        let mut drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(driver_kvm::KvmDriver::new())];
        drivers.extend(driver_cloud::drivers());
        Self::of(drivers).with_programs_in(std::env::split_paths(path.unwrap_or_default()).collect())
    }

    /// These.
    pub fn of(built_in: Vec<Arc<dyn Driver>>) -> Self {
        Self { built_in, folders: Vec::new(), programs: Mutex::default() }
    }

    /// And programs in these folders.
    pub fn with_programs_in(self, folders: Vec<PathBuf>) -> Self {
        Self { folders, ..self }
    }

    /// The driver of that name. A program is not started: its first call does that.
    pub fn get(&self, name: &str) -> Result<Arc<dyn Driver>, UnknownDriver> {
        if let Some(driver) = self.built_in.iter().find(|driver| driver.name() == name) {
            return Ok(Arc::clone(driver));
        }
        match self.program(EXTERNAL, name).or_else(|| self.program(PLUGIN, name)) {
            Some(program) => Ok(program),
            None => Err(UnknownDriver {
                name: name.to_owned(),
                known: self.built_in.iter().map(|driver| driver.name()).collect(),
                looked_for: [EXTERNAL, PLUGIN].map(|(prefix, _)| format!("{prefix}{name}")).to_vec(),
                folders: self.folders.clone(),
            }),
        }
    }

    /// The same, ready to tell its options: a program has been started and has said who it is.
    pub fn open(&self, name: &str) -> Result<Arc<dyn Driver>, Unavailable> {
        let driver = self.get(name)?;
        let program = self.programs().values().find(|program| program.name() == name).cloned();
        if let Some(program) = program {
            external::block_on(program.introduce())?;
        }
        Ok(driver)
    }

    /// Those built in, and the programs that were asked for so far.
    pub fn known(&self) -> Vec<Arc<dyn Driver>> {
        let programs = self.programs();
        let programs = programs.values().map(|program| Arc::clone(program) as Arc<dyn Driver>);
        self.built_in.iter().cloned().chain(programs).collect()
    }

    /// Whether its machines are on this computer, as far as can be told without starting anything.
    pub fn is_local(&self, name: &str) -> bool {
        self.built_in.iter().any(|driver| driver.name() == name && driver.capabilities().local)
    }

    /// docker-machine's plugin for its driver `name`, whatever drivers of that name we have ourselves.
    pub fn plugin(&self, name: &str) -> Option<Arc<dyn Driver>> {
        Some(self.program(PLUGIN, name)?)
    }

    /// Ends the programs: the command goes on for hours and needs them no more.
    pub fn rest(&self) {
        self.programs().values().for_each(|program| program.rest());
    }

    fn program(&self, (prefix, driver): Kind, name: &str) -> Option<Arc<dyn Program>> {
        if !external::is_driver_name(name) {
            return None;
        }
        let called = format!("{prefix}{name}");
        let mut programs = self.programs();
        if let Some(program) = programs.get(&called) {
            return Some(Arc::clone(program));
        }
        let program = driver(name, external::find(&called, &self.folders)?);
        programs.insert(called, Arc::clone(&program));
        Some(program)
    }

    fn programs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<dyn Program>>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
