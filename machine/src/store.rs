//! The store: one folder per machine, shared by every `machine` process of a user.
//!
//! A machine's folder appears under its name with its record in it and vanishes from it in one rename,
//! so at any instant, and after any `kill -9` or power cut, a name is either free or has a whole record.
//! What a killed command leaves under a dotted name is deleted by the next one.

pub mod files;
pub mod foreign;
mod identity;
mod lock;
mod record;

pub use lock::{Attempt, MachineLock, Waiting};
pub use record::{Address, OwnPart, Part, Record, RecordError, Request, Stage, TlsPart};

use crate::{
    file_error::FileError,
    machine::{MachineId, MachineName},
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// A folder on its way in that is older than this and not locked was left by a killed `create`.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// One user's machines.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// Failure of a store call.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No machine has the name.
    #[error("Docker machine \"{name}\" does not exist")]
    NotFound { name: MachineName },
    /// Some machine has it already.
    #[error("Docker machine \"{name}\" already exists")]
    Taken { name: MachineName },
    /// The record is there but of no use.
    #[error("Could not use {}", .path.display())]
    Record {
        path: PathBuf,
        #[source]
        source: RecordError,
    },
    /// The store is another user's; what it holds cannot be trusted, nor may we litter there.
    #[error("The store {} belongs to another user (uid {owner})", .path.display())]
    NotOurs { path: PathBuf, owner: u32 },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Store {
    /// The store in `root`, which need not exist yet. Touches nothing.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the machine `name`.
    pub fn folder(&self, name: &MachineName) -> PathBuf {
        self.machines().join(name.as_str())
    }

    /// The folder for what all machines share; may not exist yet.
    pub fn cache(&self) -> PathBuf {
        self.root.join(files::CACHE)
    }

    /// Takes the name for a new machine: writes `record`, which must be in [`Stage::Creating`], and
    /// returns with the machine locked. [`StoreError::Taken`] when there is one of that name.
    pub fn reserve(&self, record: &Record) -> Result<MachineLock, StoreError> {
        self.check_owner()?;
        let machines = self.machines();
        private_folder(&machines)?;
        private_folder(&self.cache())?;
        self.names_and_sweep()?;
        let folder = self.folder(&record.name);
        // Cheap, and spares the disk when the answer is no. The rename below decides.
        if folder.join(files::RECORD).exists() {
            return Err(StoreError::Taken { name: record.name.clone() });
        }
        let incoming = machines.join(dotted(files::CREATING_PREFIX, &record.name)?);
        DirBuilder::new().mode(0o700).create(&incoming).map_err(FileError::on("create", &incoming))?;
        let entered = (|| {
            let attempt = MachineLock::attempt(&incoming).map_err(FileError::on("lock", &incoming))?;
            let Attempt::Held(lock) = attempt else {
                return Err(FileError::new("lock", &incoming, io::ErrorKind::WouldBlock.into()).into());
            };
            self.write_record(&incoming, record)?;
            match fs::rename(&incoming, &folder) {
                Ok(()) => Ok(lock),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                    ) =>
                {
                    Err(StoreError::Taken { name: record.name.clone() })
                }
                Err(e) => Err(FileError::new("create", &folder, e).into()),
            }
        })();
        match &entered {
            Ok(_) => sync_folder(&machines)?,
            Err(_) => _ = fs::remove_dir_all(&incoming),
        }
        entered
    }

    /// Tries to lock an existing machine. [`Attempt::Gone`] when there is none of that name.
    pub fn attempt_lock(&self, name: &MachineName) -> Result<Attempt, StoreError> {
        self.check_owner()?;
        let folder = self.folder(name);
        Ok(MachineLock::attempt(&folder).map_err(FileError::on("lock", &folder))?)
    }

    /// Reads a record.
    pub fn load(&self, name: &MachineName) -> Result<Record, StoreError> {
        self.check_owner()?;
        let path = self.folder(name).join(files::RECORD);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(StoreError::NotFound { name: name.clone() });
            }
            Err(e) => return Err(FileError::new("read", &path, e).into()),
        };
        Record::parse(name, &text).map_err(|source| StoreError::Record { path, source })
    }

    /// Replaces a record; the caller holds the machine's lock. Whoever reads meanwhile, and whoever
    /// reads after a power cut, finds the old one or the new one, whole.
    pub fn save(&self, record: &Record) -> Result<(), StoreError> {
        let folder = self.folder(&record.name);
        self.write_record(&folder, record)?;
        Ok(sync_folder(&folder)?)
    }

    /// The names of all machines, sorted without regard to case. Deletes what killed commands left.
    pub fn list(&self) -> Result<Vec<MachineName>, StoreError> {
        self.check_owner()?;
        let mut names = self.names_and_sweep()?;
        names.sort_by_key(|name| name.as_str().to_lowercase());
        Ok(names)
    }

    fn names_and_sweep(&self) -> Result<Vec<MachineName>, StoreError> {
        let machines = self.machines();
        let entries = match fs::read_dir(&machines) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(FileError::new("read", &machines, e).into()),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(FileError::on("read", &machines))?;
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            if file_name.starts_with('.') {
                sweep(&entry.path(), &file_name);
            } else if let Ok(name) = file_name.parse::<MachineName>()
                && entry.path().join(files::RECORD).exists()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Frees the name and deletes the folder; the caller holds the lock and the driver has removed the
    /// instance. Once the name is free the machine is gone, even if deleting is cut short.
    pub fn remove(&self, name: &MachineName) -> Result<(), StoreError> {
        let machines = self.machines();
        let folder = self.folder(name);
        let outgoing = machines.join(dotted(files::REMOVING_PREFIX, name)?);
        match fs::rename(&folder, &outgoing) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(FileError::new("remove", &folder, e).into()),
        }
        sync_folder(&machines)?;
        match fs::remove_dir_all(&outgoing) {
            // A sweeping `ls` may be deleting the same files.
            Err(e) if outgoing.exists() => Err(FileError::new("remove", &outgoing, e).into()),
            _ => Ok(()),
        }
    }

    /// The folder of all machines' folders.
    pub fn machines(&self) -> PathBuf {
        self.root.join(files::MACHINES)
    }

    fn write_record(&self, folder: &Path, record: &Record) -> Result<(), StoreError> {
        let partial = folder.join(record_partial());
        let mut text = format!("{:#}", record.document(&self.root)).into_bytes();
        text.push(b'\n');
        let write = || {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
            file.write_all(&text)?;
            file.sync_data()?;
            fs::rename(&partial, folder.join(files::RECORD))
        };
        Ok(write().map_err(FileError::on("write", &folder.join(files::RECORD)))?)
    }

    /// Our own API sockets and keys stand in the store: another user's is no place for them.
    fn check_owner(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.root) {
            Ok(metadata) if metadata.uid() != nix::unistd::geteuid().as_raw() => {
                Err(StoreError::NotOurs { path: self.root.clone(), owner: metadata.uid() })
            }
            _ => Ok(()),
        }
    }
}

/// Deletes what a killed command left at `path`, unless its command still lives.
fn sweep(path: &Path, file_name: &str) {
    if file_name.starts_with(files::REMOVING_PREFIX)
        || (file_name.starts_with(files::CREATING_PREFIX) && is_abandoned(path))
    {
        // The command that sweeps has another job; what resists stays for the next one.
        _ = fs::remove_dir_all(path);
    }
}

/// Whether the `create` that made the folder is dead. It locks the folder before it writes anything, so
/// that whoever sees a record without a lock knows; without a record only time tells. The order of the
/// two looks matters.
fn is_abandoned(folder: &Path) -> bool {
    let is_old = || {
        let modified = fs::metadata(folder).and_then(|metadata| metadata.modified()).ok();
        modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > ABANDONED_AFTER)
    };
    let is_begun = folder.join(files::RECORD).exists() || folder.join(record_partial()).exists();
    (is_begun || is_old()) && !MachineLock::is_held(folder)
}

fn record_partial() -> String {
    format!("{}{}", files::PARTIAL_PREFIX, files::RECORD)
}

fn dotted(prefix: &str, name: &MachineName) -> Result<String, StoreError> {
    let random = MachineId::draw().map_err(FileError::on("read", Path::new("/dev/urandom")))?;
    Ok(format!("{prefix}{name}-{}", &random.as_str()[..8]))
}

fn private_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::on("create", path))
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(FileError::on("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_contract::seed::EngineSettings;

    fn record(name: &str) -> Record {
        let id = MachineId::draw().unwrap();
        let (request, engine, tls) = (Request::default(), EngineSettings::default(), TlsPart::default());
        Record::new(name.parse().unwrap(), "memory", id, request, engine, tls)
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("deep/store"));
        (folder, store)
    }

    #[test]
    fn a_reserved_name_is_taken_until_it_is_removed() {
        let (_folder, store) = store();
        let record = record("dev");
        assert!(store.list().unwrap().is_empty());
        let lock = store.reserve(&record).unwrap();
        assert!(matches!(store.reserve(&record), Err(StoreError::Taken { .. })));
        assert_eq!(store.load(&record.name).unwrap(), record);
        assert!(matches!(store.attempt_lock(&record.name).unwrap(), Attempt::Busy(_)));
        store.remove(&record.name).unwrap();
        drop(lock);
        assert!(matches!(store.load(&record.name), Err(StoreError::NotFound { .. })));
        store.reserve(&record).unwrap();
        assert_eq!(fs::read_dir(store.machines()).unwrap().count(), 1, "nothing dotted is left");
    }

    #[test]
    fn folders_and_records_are_private() {
        let (_folder, store) = store();
        let record = record("dev");
        store.reserve(&record).unwrap();
        store.save(&record).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(store.root()), 0o700);
        assert_eq!(mode(&store.folder(&record.name)), 0o700);
        assert_eq!(mode(&store.folder(&record.name).join(files::RECORD)), 0o600);
    }

    #[test]
    fn of_thirty_that_want_one_name_one_gets_it() {
        let (_folder, store) = store();
        let won = std::thread::scope(|scope| {
            let claims: Vec<_> =
                (0..30).map(|_| scope.spawn(|| store.reserve(&record("dev")).is_ok())).collect();
            claims.into_iter().map(|claim| claim.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
        assert_eq!(store.list().unwrap().len(), 1);
    }

    #[test]
    fn the_next_command_finishes_a_killed_removal() {
        let (_folder, store) = store();
        store.reserve(&record("dev")).unwrap();
        let left = store.machines().join(".removing-old-1");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("disk"), "x").unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        assert!(!left.exists());
    }

    #[test]
    fn a_machine_that_is_just_coming_in_is_left_alone_and_an_abandoned_one_is_not() {
        let (_folder, store) = store();
        private_folder(&store.machines()).unwrap();
        let incoming = store.machines().join(".creating-dev-1");
        fs::create_dir(&incoming).unwrap();
        store.list().unwrap();
        assert!(incoming.exists(), "its lock is just about to be taken");
        let lock = MachineLock::attempt(&incoming).unwrap();
        fs::write(incoming.join(record_partial()), "{").unwrap();
        store.list().unwrap();
        assert!(incoming.exists(), "its record is just being written");
        drop(lock);
        store.list().unwrap();
        assert!(!incoming.exists(), "its creator is dead");
    }

    #[test]
    fn creating_sweeps_as_well() {
        let (_folder, store) = store();
        private_folder(&store.machines()).unwrap();
        fs::create_dir(store.machines().join(".removing-old-1")).unwrap();
        store.reserve(&record("dev")).unwrap();
        assert_eq!(fs::read_dir(store.machines()).unwrap().count(), 1);
    }

    #[test]
    fn names_are_listed_without_regard_to_case_and_strangers_are_not() {
        let (_folder, store) = store();
        for name in ["b", "A", "c"] {
            store.reserve(&record(name)).unwrap();
        }
        fs::write(store.machines().join("file"), "").unwrap();
        fs::create_dir(store.machines().join("empty")).unwrap();
        let names: Vec<String> = store.list().unwrap().into_iter().map(String::from).collect();
        assert_eq!(names, ["A", "b", "c"]);
    }
}
