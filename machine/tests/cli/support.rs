//! A computer of its own for each test: a store, a memory driver, guests that answer at once.

use async_trait::async_trait;
use guest_contract::Phase;
use machine::{
    World,
    config::Environment,
    drivers::Registry,
    interrupts::Interrupts,
    lifecycle::{GuestError, Guests, Readiness},
    machine::MachineName,
    provision::HostPlan,
    ui::Ui,
};
use machine_drivers::{Instance, Progress, testing::MemoryDriver};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::{self, Cursor, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::watch;

pub(crate) struct Host {
    folder: TempDir,
    pub(crate) driver: Arc<MemoryDriver>,
    pub(crate) guests: Arc<PretendedGuests>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) interrupt: watch::Sender<u32>,
    /// By which name `machine` is called.
    pub(crate) program: String,
    /// Where drivers that are programs are looked for.
    pub(crate) programs: Vec<PathBuf>,
}

/// What a command said and how it ended. The store's path reads `[STORE]`.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Guests that are ready at once, unless told otherwise.
#[derive(Debug, Default)]
pub(crate) struct PretendedGuests {
    kept: Mutex<BTreeSet<PathBuf>>,
    /// They fail on their way up.
    pub(crate) broken: Mutex<bool>,
    /// They never get ready.
    pub(crate) stuck: Mutex<bool>,
    /// As often as there are drivers here, the guest crashes while it boots.
    pub(crate) crashing: Mutex<Vec<Arc<MemoryDriver>>>,
    /// Nobody says how far these are, ever; by name.
    pub(crate) silent: Mutex<BTreeSet<String>>,
    /// Told of every guest that is waited for.
    pub(crate) waiting: Mutex<Option<watch::Sender<u32>>>,
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            driver: Arc::new(MemoryDriver::new()),
            guests: Arc::default(),
            variables: BTreeMap::from([("SHELL".to_owned(), "/bin/bash".to_owned())]),
            interrupt: watch::channel(0).0,
            program: "machine".to_owned(),
            programs: Vec::new(),
        }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Puts a driver's program, which stands in the folder of `drivers`, into a folder of its own under `name`.
    pub(crate) fn install(&mut self, program: &str, name: &str) {
        let folder = self.folder.path().join("programs");
        fs::create_dir_all(&folder).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../drivers").join(program);
        std::os::unix::fs::symlink(program.canonicalize().unwrap(), folder.join(name)).unwrap();
        self.programs = vec![folder];
    }

    /// A file beside the store.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    pub(crate) fn machine_folder(&self, name: &str) -> PathBuf {
        self.store().join("machines").join(name)
    }

    /// What stands in the folder of machines, dotted leftovers included.
    pub(crate) fn entries(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.store().join("machines")) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with_input(arguments, "")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        let (data, talk) = (Captured::default(), Captured::default());
        let ui = Ui::captured(data.clone(), talk.clone(), Cursor::new(input.as_bytes().to_vec()));
        let mut variables = self.variables.clone();
        variables.insert("MACHINE_STORAGE_PATH".to_owned(), self.store().display().to_string());
        let world = World {
            environment: Environment {
                variables,
                executable: self.folder.path().join("bin/machine"),
                working_folder: self.folder.path().to_owned(),
            },
            drivers: Registry::of(vec![self.driver.clone()]).with_programs_in(self.programs.clone()),
            guests: Some(self.guests.clone()),
            interrupts: Interrupts::Counted(self.interrupt.subscribe()),
        };
        let arguments: Vec<OsString> = std::iter::once(self.program.as_str())
            .chain(arguments.iter().copied())
            .map(OsString::from)
            .collect();
        let code = machine::run(&arguments, &world, &ui);
        Run { code, stdout: data.text(&self.store()), stderr: talk.text(&self.store()) }
    }

    /// Runs what must succeed; its stdout.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {run:?}");
        run.stdout
    }

    /// Runs what must fail with `code`; its stderr.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{arguments:?}: {run:?}");
        run.stderr
    }

    pub(crate) fn create(&self, name: &str) {
        self.ok(&["create", "-d", "memory", name]);
    }

    /// Changes a machine's record on disk.
    pub(crate) fn edit_record(&self, name: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = self.machine_folder(name).join("config.json");
        let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut record);
        fs::write(path, record.to_string()).unwrap();
    }

    pub(crate) fn kept(&self, name: &str) -> bool {
        self.guests.kept.lock().unwrap().contains(&self.machine_folder(name))
    }

    /// A keeper is killed.
    pub(crate) fn lose_keeper(&self, name: &str) {
        self.guests.kept.lock().unwrap().remove(&self.machine_folder(name));
    }
}

#[async_trait]
impl Guests for PretendedGuests {
    async fn provision(&self, _plan: &HostPlan<'_>, _progress: &dyn Progress) -> Result<bool, GuestError> {
        Ok(false)
    }

    async fn halt(&self, _plan: &HostPlan<'_>, _remove: bool) -> Result<(), GuestError> {
        Ok(())
    }

    async fn adopt(&self, _name: &MachineName, folder: &Path) -> Result<(), GuestError> {
        self.kept.lock().unwrap().insert(folder.to_owned());
        Ok(())
    }

    async fn wait_ready(
        &self,
        _name: &MachineName,
        folder: &Path,
        on_phase: &mut (dyn FnMut(Phase) + Send),
        _limit: Duration,
    ) -> Result<(), GuestError> {
        if let Some(waiting) = &*self.waiting.lock().unwrap() {
            waiting.send_modify(|count| *count += 1);
        }
        on_phase(Phase::Booting);
        if let Some(driver) = self.crashing.lock().unwrap().pop() {
            let id = folder.display().to_string();
            driver.crash(&Instance { id, data: serde_json::Value::Null }).unwrap();
            return Err(GuestError("The VM has ended".into()));
        }
        on_phase(Phase::Disk);
        let (broken, stuck) = (*self.broken.lock().unwrap(), *self.stuck.lock().unwrap());
        if broken {
            return Err(GuestError("The data disk is damaged".into()));
        }
        if stuck {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn readiness(&self, folder: &Path) -> Result<Option<Readiness>, GuestError> {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let is_silent = self.silent.lock().unwrap().contains(&name);
        if is_silent {
            std::future::pending::<()>().await;
        }
        Ok(self.kept.lock().unwrap().contains(folder).then_some(Readiness::Ready))
    }

    async fn release(&self, folder: &Path) -> Result<(), GuestError> {
        self.kept.lock().unwrap().remove(folder);
        Ok(())
    }

    fn api_socket(&self, folder: &Path) -> PathBuf {
        folder.join("docker.sock")
    }

    fn tls_port(&self, folder: &Path) -> Option<u16> {
        self.kept.lock().unwrap().contains(folder).then_some(2376)
    }
}

impl Captured {
    fn text(&self, store: &Path) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.replace(&store.display().to_string(), "[STORE]")
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
