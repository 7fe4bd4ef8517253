//! The two services, engine and SSH server: both are this binary again, each in its own process,
//! started together, watched, and started again when they end. The engine is started before what it
//! needs is there, and begins when the gate opens: loading a program takes time that the boot has.
//!
//! ```text
//!   starting ──a byte on the ready descriptor──▶ ready
//!      ▲                                           │
//!      └──── back-off 0.1 s … 10 s ◀──── ended ◀───┘
//! ```

use super::children::{Children, Exit, pid};
use super::{identity, log};
use crate::bounded_log;
use guest_contract::folders::SharedFolder;
use guest_contract::paths::{DATA_ROOT, ENGINE_SOCKET, RUN_ROOT, SSH_PORT};
use guest_contract::seed::EngineSettings;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The running binary: its file name may be gone by now.
const SELF: &str = "/proc/self/exe";
/// What shows the user's folders.
const FOLDERS: &str = "folders";
/// How the services appear in a list of processes.
const NAME: &str = "machine-engine";
const HOME: &str = "/root";
const OTHER_HOME: &str = "/run/machine/home";
const LOGS: &str = "/run/machine/log";
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A service that ran this long is healthy again.
const HEALTHY: Duration = Duration::from_secs(60);

/// One of the two, and what supervising it needs.
#[derive(Debug)]
struct Service {
    name: &'static str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    oom_score_adj: &'static str,
    log: PathBuf,
    /// Its end is what the service waits for before it begins.
    gate: Option<OwnedFd>,
    ready: AtomicBool,
    /// Its process, 0 while there is none.
    process: AtomicI32,
}

/// Both services, running.
#[derive(Clone, Debug)]
pub(super) struct Services {
    children: Children,
    stopping: Arc<AtomicBool>,
    running: Arc<Mutex<Vec<Arc<Service>>>>,
    /// The engine's gate while it is closed. A boot that fails never opens it.
    closed: Arc<Mutex<Option<OwnedFd>>>,
}

impl Services {
    pub(super) fn new(children: Children) -> Self {
        Self { children, stopping: Arc::default(), running: Arc::default(), closed: Arc::default() }
    }

    /// Starts the SSH server, which needs nothing but its keys.
    pub(super) fn start_sshd(&self, folders: &[SharedFolder]) {
        let arguments = [
            "sshd",
            "--listen",
            &format!("0.0.0.0:{SSH_PORT}"),
            "--host-key",
            identity::HOST_KEY,
            "--authorized-keys",
            identity::AUTHORIZED_KEYS,
            "--engine-socket",
            ENGINE_SOCKET,
        ];
        let home = vec![("HOME".to_owned(), home(folders).to_owned())];
        self.start("sshd", &arguments, home, "-900", None);
    }

    /// Starts what shows folders of the user's computer.
    pub(super) fn start_folders(&self, folders: &[SharedFolder]) {
        let mut arguments = vec!["folders"];
        for folder in folders {
            arguments.extend([if folder.read_only { "--read-only" } else { "--folder" }, &folder.path]);
        }
        self.start(FOLDERS, &arguments, Vec::new(), "-900", None);
    }

    /// Waits until the folders are mounted, if there are any.
    pub(super) fn wait_for_folders(&self, deadline: Instant) {
        let Some(folders) = self.list().into_iter().find(|service| service.name == FOLDERS) else { return };
        while !folders.ready.load(Ordering::Acquire) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts the engine up to its gate: the data disk and its kernel modules may come later.
    pub(super) fn start_engine(&self, settings: &EngineSettings) -> io::Result<()> {
        let (gate, closed) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        if let Ok(mut slot) = self.closed.lock() {
            *slot = Some(closed);
        }
        let mut arguments = vec![
            "serve",
            "--socket",
            ENGINE_SOCKET,
            "--data-root",
            DATA_ROOT,
            "--run-root",
            RUN_ROOT,
            // It is told to end when the machine is powered off; a crash does not touch containers.
            "--stop-containers-on-exit",
        ];
        let lists = [
            ("--label", &settings.labels),
            ("--insecure-registry", &settings.insecure_registries),
            ("--registry-mirror", &settings.registry_mirrors),
        ];
        for (flag, values) in lists {
            for value in values {
                arguments.extend([flag, value]);
            }
        }
        self.start("engine", &arguments, environment(&settings.env), "-500", Some(gate));
        Ok(())
    }

    /// Lets the engine begin.
    pub(super) fn open_gate(&self) {
        if let Ok(mut slot) = self.closed.lock() {
            *slot = None;
        }
    }

    /// Waits until every service that was started has become ready; false at the deadline, with the
    /// names of those that have not.
    pub(super) fn wait_until_ready(&self, deadline: Instant) -> Result<(), String> {
        loop {
            let late: Vec<&str> = self
                .list()
                .iter()
                .filter(|service| !service.ready.load(Ordering::Acquire))
                .map(|service| service.name)
                .collect();
            if late.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(late.join(" and "));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether the guest is about to be powered off.
    pub(super) fn are_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Asks the engine to stop and waits for it; from now on nothing is started again.
    pub(super) fn stop_engine(&self, grace: Duration) {
        self.stop_restarting();
        let deadline = Instant::now() + grace;
        let engine = self.list().into_iter().find(|service| service.name == "engine");
        let Some(engine) = engine else { return };
        let process = engine.process.load(Ordering::Acquire);
        if process > 0 && kill(Pid::from_raw(process), Signal::SIGTERM).is_ok() {
            while engine.process.load(Ordering::Acquire) == process && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Kills every process but PID 1 and waits until none is left, at most `grace`.
    pub(super) fn kill_everything(&self, grace: Duration) {
        self.stop_restarting();
        let deadline = Instant::now() + grace;
        // Again and again: a process may have been starting another one.
        while kill(Pid::from_raw(-1), Signal::SIGKILL).is_ok() && !self.children.reap() {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn start(
        &self,
        name: &'static str,
        arguments: &[&str],
        environment: Vec<(String, String)>,
        oom_score_adj: &'static str,
        gate: Option<OwnedFd>,
    ) {
        let service = Arc::new(Service {
            name,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment,
            oom_score_adj,
            log: Path::new(LOGS).join(name).with_extension("log"),
            gate,
            ready: AtomicBool::new(false),
            process: AtomicI32::new(0),
        });
        if let Ok(mut running) = self.running.lock() {
            running.push(Arc::clone(&service));
        }
        let (children, stopping) = (self.children.clone(), Arc::clone(&self.stopping));
        super::thread(name, move || service.supervise(&children, &stopping));
    }

    fn stop_restarting(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn list(&self) -> Vec<Arc<Service>> {
        self.running.lock().map(|running| running.clone()).unwrap_or_default()
    }
}

impl Service {
    fn supervise(&self, children: &Children, stopping: &AtomicBool) {
        let mut pause = FIRST_PAUSE;
        while !stopping.load(Ordering::Acquire) {
            let started = Instant::now();
            let ended = match self.run(children) {
                Ok(exit) => format!("ended with {exit}"),
                Err(error) => format!("could not be started: {error}"),
            };
            self.process.store(0, Ordering::Release);
            if stopping.load(Ordering::Acquire) {
                return;
            }
            if started.elapsed() >= HEALTHY {
                pause = FIRST_PAUSE;
            }
            let name = self.name;
            let said = bounded_log::last_line(&self.log).map(|line| format!(" ({line})")).unwrap_or_default();
            log::line(format_args!("{name} {ended}{said}; starting it again in {pause:?}"));
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One life of the process, from its start to its end.
    fn run(&self, children: &Children) -> io::Result<Exit> {
        let (ready, tell_ready) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let gate = self.gate.as_ref().map(OwnedFd::try_clone).transpose()?;
        let mut command = Command::new(SELF);
        command.arg0(NAME).args(&self.arguments);
        if let Some(gate) = &gate {
            command.args(["--begin-fd", &gate.as_raw_fd().to_string()]);
        }
        command
            .args(["--ready-fd", &tell_ready.as_raw_fd().to_string()])
            .env_clear()
            .envs([("PATH", super::PATH), ("HOME", HOME), ("USER", "root"), ("LANG", "C.UTF-8")])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (mut child, exit) = children.spawn(&mut command, move || {
            Ok((inheritable(tell_ready)?, gate.map(inheritable).transpose()?))
        })?;
        let process = pid(&child);
        self.process.store(process.as_raw(), Ordering::Release);
        if let Err(error) = fs::write(format!("/proc/{process}/oom_score_adj"), self.oom_score_adj) {
            log::line(format_args!("Could not protect {} from the OOM killer: {error}", self.name));
        }
        if let Some(stderr) = child.stderr.take() {
            let path = self.log.clone();
            super::thread("log", move || {
                if let Err(error) = bounded_log::copy(stderr, &path) {
                    log::line(format_args!("Could not write {}: {error}", path.display()));
                }
            });
        }
        // It is the reaper that waits for the process, not this handle.
        drop(child);
        Ok(self.wait(&ready, &exit))
    }

    /// Waits for the end, and meanwhile for the byte that says that the service answers.
    fn wait(&self, ready: &OwnedFd, exit: &Receiver<Exit>) -> Exit {
        let mut open = true;
        while open {
            let mut waited_for = [PollFd::new(ready.as_fd(), PollFlags::POLLIN)];
            // The pipe hangs up with the process, unless a child of it holds it open.
            if poll(&mut waited_for, PollTimeout::from(1000_u16)).is_ok_and(|count| count > 0) {
                let mut byte = [0; 1];
                if matches!(nix::unistd::read(ready, &mut byte), Ok(1)) {
                    log::line(format_args!("{} answers", self.name));
                    self.ready.store(true, Ordering::Release);
                }
                open = false;
            }
            if let Ok(exit) = exit.try_recv() {
                return exit;
            }
        }
        loop {
            match exit.recv_timeout(Duration::from_secs(3600)) {
                Ok(exit) => return exit,
                Err(RecvTimeoutError::Timeout) => {}
                // Cannot happen while the reaper lives; a service whose end is unknown has ended.
                Err(RecvTimeoutError::Disconnected) => return Exit::Status(-1),
            }
        }
    }
}

/// Where sessions begin: not in a folder of the user's computer, which is not there without a keeper.
fn home(folders: &[SharedFolder]) -> &'static str {
    let taken = folders.iter().any(|folder| Path::new(HOME).starts_with(&folder.path));
    if taken { OTHER_HOME } else { HOME }
}

/// Lets the next process inherit the descriptor.
fn inheritable(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(descriptor)
}

/// `KEY=value` pairs; what is not one is left out.
fn environment(pairs: &[String]) -> Vec<(String, String)> {
    pairs
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_made_of_pairs() {
        let pairs = ["HTTP_PROXY=http://p:1/?a=b".to_owned(), "broken".to_owned(), "=x".to_owned()];
        assert_eq!(environment(&pairs), [("HTTP_PROXY".to_owned(), "http://p:1/?a=b".to_owned())]);
    }
}
