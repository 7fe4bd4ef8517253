//! `kill -9` at every step of `create` and `rm`: a real process is killed between one step and the next, its
//! locks with it, and the next command repairs what it left.
//!
//! The victim is this test program again, told by variables which step to die at.

use crate::support::{Host, PretendedGuests};
use async_trait::async_trait;
use machine::{World, config::Environment, drivers::Registry, interrupts::Interrupts, ui::Ui};
use machine_drivers::{
    Access, Capabilities, Driver, DriverError, Instance, InstanceState, MachineSpec, OptionSpec, Progress,
    testing::MemoryDriver,
};
use std::{
    env,
    ffi::OsString,
    io::Cursor,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

const STEP: &str = "MACHINE_TEST_DIE_AT";
const STORE: &str = "MACHINE_TEST_STORE";
const ARGUMENTS: &str = "MACHINE_TEST_ARGUMENTS";

/// Before and after each call that `create` and `rm` make of the driver.
const CREATE: [&str; 8] = [
    "before check",
    "after check",
    "before create",
    "after create",
    "before start",
    "after start",
    "before access",
    "after access",
];
const REMOVE: [&str; 2] = ["before remove", "after remove"];

/// A driver that kills its process.
#[derive(Debug)]
struct Deadly {
    inner: MemoryDriver,
    step: String,
}

impl Deadly {
    fn at(&self, step: &str) {
        if self.step == step {
            nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap();
        }
    }
}

#[async_trait]
impl Driver for Deadly {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn options(&self) -> &'static [OptionSpec] {
        self.inner.options()
    }

    async fn check(&self, spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        self.at("before check");
        let done = self.inner.check(spec).await;
        self.at("after check");
        done
    }

    async fn create(&self, spec: &MachineSpec, progress: &dyn Progress) -> Result<Instance, DriverError> {
        self.at("before create");
        let done = self.inner.create(spec, progress).await;
        self.at("after create");
        done
    }

    async fn start(&self, instance: &Instance, progress: &dyn Progress) -> Result<(), DriverError> {
        self.at("before start");
        let done = self.inner.start(instance, progress).await;
        self.at("after start");
        done
    }

    async fn stop(&self, instance: &Instance, grace: Duration) -> Result<(), DriverError> {
        self.inner.stop(instance, grace).await
    }

    async fn kill(&self, instance: &Instance) -> Result<(), DriverError> {
        self.inner.kill(instance).await
    }

    async fn remove(&self, instance: &Instance) -> Result<(), DriverError> {
        self.at("before remove");
        let done = self.inner.remove(instance).await;
        self.at("after remove");
        done
    }

    async fn state(&self, instance: &Instance) -> Result<InstanceState, DriverError> {
        self.inner.state(instance).await
    }

    async fn access(&self, instance: &Instance) -> Result<Access, DriverError> {
        self.at("before access");
        let done = self.inner.access(instance).await;
        self.at("after access");
        done
    }

    async fn console_tail(&self, instance: &Instance, lines: usize) -> Result<Vec<String>, DriverError> {
        self.inner.console_tail(instance, lines).await
    }
}

/// Not a test of its own: what a killed process does before it is killed.
#[test]
fn victim() {
    let (Ok(step), Ok(store), Ok(arguments)) = (env::var(STEP), env::var(STORE), env::var(ARGUMENTS)) else {
        return;
    };
    let code = run_here(&PathBuf::from(store), step, &arguments);
    // Whoever gets here was not killed; the code says how it ended.
    std::process::exit(code);
}

fn run_here(store: &Path, step: String, arguments: &str) -> i32 {
    let variables = [("MACHINE_STORAGE_PATH".to_owned(), store.display().to_string())];
    let world = World {
        environment: Environment { variables: variables.into(), ..Environment::default() },
        drivers: Registry::of(vec![Arc::new(Deadly { inner: MemoryDriver::new(), step })]),
        guests: Some(Arc::new(PretendedGuests::default())),
        interrupts: Interrupts::Signals,
    };
    let ui = Ui::captured(std::io::stderr(), std::io::stderr(), Cursor::new(Vec::new()));
    let arguments: Vec<OsString> =
        std::iter::once("machine").chain(arguments.split(' ')).map(OsString::from).collect();
    machine::run(&arguments, &world, &ui)
}

/// The victim's command.
pub(crate) fn victim_command(store: &Path, step: &str, arguments: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "killed::victim", "--test-threads=1", "--nocapture"]);
    command.env(STEP, step).env(STORE, store).env(ARGUMENTS, arguments);
    command
}

/// Lets a process die.
fn die(host: &Host, step: &str, arguments: &str) {
    let output = victim_command(&host.store(), step, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(9), "{step}: it lived: {said}");
}

/// A machine that nothing is left of but its name is whole again, and then gone without a trace.
fn is_repaired(host: &Host, step: &str) {
    assert_eq!(host.ok(&["status", "dev"]), "Running\n", "{step}");
    assert_eq!(host.entries(), ["dev"], "{step}");
    host.ok(&["rm", "-y", "dev"]);
    assert!(host.entries().is_empty(), "{step}");
}

#[test]
fn create_again_after_create() {
    for step in CREATE {
        let host = Host::new();
        die(&host, step, "create -d memory dev");
        host.ok(&["ls"]);
        host.create("dev");
        is_repaired(&host, step);
    }
}

#[test]
fn rm_after_create() {
    for step in CREATE {
        let host = Host::new();
        die(&host, step, "create -d memory dev");
        host.ok(&["rm", "-y", "dev"]);
        assert!(host.entries().is_empty(), "{step}");
        assert_eq!(host.ok(&["ls", "-q"]), "", "{step}");
        host.create("dev");
        is_repaired(&host, step);
    }
}

#[test]
fn rm_and_create_after_rm() {
    for step in REMOVE {
        for next in [&["rm", "-y", "dev"][..], &["rm", "-f", "dev"]] {
            let host = Host::new();
            host.create("dev");
            die(&host, step, "rm -y dev");
            assert_eq!(host.run(&["status", "dev"]).stdout, "Error\n", "{step}");
            host.ok(next);
            assert!(host.entries().is_empty(), "{step}");
        }
        let host = Host::new();
        host.create("dev");
        die(&host, step, "rm -y dev");
        host.create("dev");
        is_repaired(&host, step);
    }
}

#[test]
fn start_after_start() {
    for step in ["before start", "after start", "before access", "after access"] {
        let host = Host::new();
        host.create("dev");
        host.ok(&["stop", "dev"]);
        die(&host, step, "start dev");
        host.ok(&["start", "dev"]);
        is_repaired(&host, step);
    }
}
