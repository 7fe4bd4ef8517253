//! Further processes in a running container: `docker exec`.

use super::{
    Containers,
    actor::Request,
    spec::{self, ProcessPlan},
    state::Status,
    to_the_end,
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    id::random_id,
    ports::{
        AttachRequest, ExecSpec, OutputFrame, RuntimeError, StreamKind, Task, TaskStreams, TerminalSize,
    },
};
use bollard_stubs::models::ExecConfig;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long an exec that has ended can still be inspected; clients do so after its stream has closed.
const KEPT: Duration = Duration::from_secs(300);
/// How long one waits for a container that is just being started.
const SETTLING: Duration = Duration::from_secs(10);
/// How much longer than its output an exec may last before its client is let go without an exit code.
const LAST_WORD: Duration = Duration::from_secs(2);
/// The code of an exec whose process could not be started, whatever the reason.
const NEVER_RAN: i32 = 126;
/// What moby puts before the OCI runtime's own sentence.
const EXEC_FAILED: &str = "OCI runtime exec failed: exec failed: unable to start container process: ";

/// Every exec that is known.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<String, Exec>>);

#[derive(Clone, Debug)]
struct Exec {
    container: String,
    config: ExecConfig,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Created,
    /// Being started; nobody else may.
    Starting,
    Running(Arc<dyn Task>),
    Ended(i32),
}

/// An exec as inspect shows it.
#[derive(Clone, Debug)]
pub struct ExecView {
    pub id: String,
    pub container: String,
    pub config: ExecConfig,
    pub running: bool,
    /// `None` before it has ended.
    pub exit_code: Option<i32>,
    /// 0 before it has started.
    pub pid: u32,
}

/// What a started exec gives its client.
#[derive(Debug)]
pub struct ExecStarted {
    pub terminal: bool,
    pub streams: TaskStreams,
}

impl Registry {
    pub(super) fn running_in(&self, container: &str) -> Vec<String> {
        let mut ids: Vec<String> = self
            .lock()
            .iter()
            .filter(|(_, exec)| exec.container == container && !matches!(exec.phase, Phase::Ended(_)))
            .map(|(id, _)| id.clone())
            .collect();
        ids.sort();
        ids
    }

    /// Forgets every exec of a container that is gone.
    pub(super) fn forget(&self, container: &str) {
        self.lock().retain(|_, exec| exec.container != container);
    }

    fn find(&self, id: &str) -> Result<Exec> {
        self.lock()
            .get(id)
            .cloned()
            .ok_or_else(|| EngineError::not_found(format!("No such exec instance: {id}")))
    }

    fn set(&self, id: &str, phase: Phase) {
        if let Some(exec) = self.lock().get_mut(id) {
            exec.phase = phase;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Exec>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Containers {
    /// Notes what is to be run; 409 when the container does not run. One that is just being started, after the
    /// engine itself was, is waited for.
    pub async fn exec_create(&self, key: &str, config: ExecConfig) -> Result<String> {
        let command = config.cmd.clone().unwrap_or_default();
        if command.is_empty() {
            return Err(EngineError::invalid("No exec command specified"));
        }
        let handle = self.shared.index.find(key)?;
        if !handle.record().state.status.counts_as_running() {
            // One that takes longer is not running, as far as anybody knows.
            let settled = handle.ask(|reply| Request::Settle { reply });
            _ = tokio::time::timeout(SETTLING, settled).await;
        }
        let record = handle.record();
        ready_for_exec(key, &record.id, record.state.status)?;
        let id = random_id()?;
        let exec = Exec { container: record.id.clone(), config, phase: Phase::Created };
        self.shared.execs.lock().insert(id.clone(), exec);
        self.shared.announce(&record, named("exec_create", &command), &[("execID", id.clone())]);
        Ok(id)
    }

    /// What is known of an exec.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecView> {
        let exec = self.shared.execs.find(id)?;
        let (running, exit_code, pid) = match &exec.phase {
            Phase::Created | Phase::Starting => (false, None, 0),
            Phase::Running(task) => (true, None, task.pid()),
            Phase::Ended(code) => (false, Some(*code), 0),
        };
        Ok(ExecView {
            id: id.to_owned(),
            container: exec.container,
            config: exec.config,
            running,
            exit_code,
            pid,
        })
    }

    /// Resizes an exec's terminal.
    pub async fn exec_resize(&self, id: &str, size: TerminalSize) -> Result<()> {
        match self.shared.execs.find(id)?.phase {
            Phase::Running(task) => task
                .resize(size)
                .await
                .map_err(|e| EngineError::system("Could not resize the terminal").because(e)),
            _ => Err(EngineError::conflict(format!("exec process {id} is not running"))),
        }
    }

    /// Whether an exec is there and its container runs, as [`Containers::exec_start`] needs it.
    pub fn exec_ready(&self, id: &str) -> Result<()> {
        let exec = self.shared.execs.find(id)?;
        let container = self.shared.index.find(&exec.container)?;
        ready_for_exec(&exec.container, &exec.container, container.record().state.status)
    }

    /// Starts an exec and connects its client; `None` when it is detached. A command that cannot be run
    /// is told in the stream, as dockerd does, except to a client that has none. Goes on to its end when
    /// the caller leaves.
    pub async fn exec_start(
        &self,
        id: &str,
        detach: bool,
        size: Option<TerminalSize>,
    ) -> Result<Option<ExecStarted>> {
        self.exec_ready(id)?;
        let (this, id) = (self.clone(), id.to_owned());
        to_the_end(async move { this.start_exec(&id, detach, size).await }).await
    }

    async fn start_exec(
        &self,
        id: &str,
        detach: bool,
        size: Option<TerminalSize>,
    ) -> Result<Option<ExecStarted>> {
        let exec = self.shared.execs.find(id)?;
        let handle = self.shared.index.find(&exec.container)?;
        self.claim(id)?;
        let record = handle.record();
        let terminal = exec.config.tty.unwrap_or(false);
        let command = exec.config.cmd.clone().unwrap_or_default();
        self.shared.announce(&record, named("exec_start", &command), &[("execID", id.to_owned())]);
        match self.launch_exec(id, &exec, detach, size).await {
            Ok((task, streams)) => {
                self.shared.execs.set(id, Phase::Running(task.clone()));
                let end = tokio::spawn(self.clone().follow_exec(id.to_owned(), exec.container.clone(), task));
                Ok(streams.map(|mut streams| {
                    // A client asks for the exit code as soon as the output has ended.
                    let known = stream::once(async move { drop(tokio::time::timeout(LAST_WORD, end).await) });
                    let known = known.filter_map(|()| std::future::ready(None));
                    streams.output = streams.output.chain(known).boxed();
                    ExecStarted { terminal, streams }
                }))
            }
            Err(error) => {
                let text = error.to_string();
                self.settle(id, NEVER_RAN);
                if detach || error.kind() != ErrorKind::InvalidParameter {
                    return Err(error);
                }
                let frame =
                    OutputFrame { stream: StreamKind::Stdout, data: Bytes::from(format!("{text}\r\n")) };
                let output = stream::iter([Ok(frame)]).boxed();
                Ok(Some(ExecStarted { terminal, streams: TaskStreams { output, stdin: None } }))
            }
        }
    }

    /// Waits for the end of an exec that has been started; its exit code.
    pub(super) async fn exec_wait(&self, id: &str) -> Result<i32> {
        match self.shared.execs.find(id)?.phase {
            Phase::Running(task) => Ok(task.wait().await.code),
            Phase::Ended(code) => Ok(code),
            Phase::Created | Phase::Starting => {
                Err(EngineError::conflict(format!("exec process {id} is not running")))
            }
        }
    }

    /// Kills an exec and waits for its end; false when it has not come within `patience`.
    pub(super) async fn exec_kill(&self, id: &str, patience: Duration) -> bool {
        let Ok(Exec { phase: Phase::Running(task), .. }) = self.shared.execs.find(id) else { return true };
        if let Err(error) = task.signal(super::signal::SIGKILL).await {
            tracing::warn!(%error, exec = id, "Exec could not be killed");
        }
        tokio::time::timeout(patience, task.wait()).await.is_ok()
    }

    /// Forgets an exec nobody will ask for.
    pub(super) fn exec_forget(&self, id: &str) {
        self.shared.execs.lock().remove(id);
    }

    /// Announces that a client left an exec by its key sequence.
    pub fn exec_detached(&self, id: &str) {
        if let Ok(exec) = self.shared.execs.find(id)
            && let Ok(handle) = self.shared.index.find(&exec.container)
        {
            self.shared.announce(&handle.record(), "exec_detach", &[("execID", id.to_owned())]);
        }
    }

    fn claim(&self, id: &str) -> Result<()> {
        let mut execs = self.shared.execs.lock();
        let Some(exec) = execs.get_mut(id) else {
            return Err(EngineError::not_found(format!("No such exec instance: {id}")));
        };
        match exec.phase {
            Phase::Created => {
                exec.phase = Phase::Starting;
                Ok(())
            }
            Phase::Starting | Phase::Running(_) => {
                Err(EngineError::conflict(format!("Error: Exec command {id} is already running")))
            }
            Phase::Ended(_) => {
                Err(EngineError::conflict(format!("Error: Exec command {id} has already run")))
            }
        }
    }

    async fn launch_exec(
        &self,
        id: &str,
        exec: &Exec,
        detach: bool,
        size: Option<TerminalSize>,
    ) -> Result<(Arc<dyn Task>, Option<TaskStreams>)> {
        let handle = self.shared.index.find(&exec.container)?;
        let record = handle.record();
        let container = handle.running_task()?;
        let config = &exec.config;
        let asked = config.user.as_deref().filter(|user| !user.is_empty());
        let user = asked.or(record.config.user.as_deref()).unwrap_or_default();
        let user = self.shared.lookup_user(&record, user).await?;
        let terminal = config.tty.unwrap_or(false);
        let mut env =
            spec::environment(&record.config, &record.hostname(), config.env.as_deref().unwrap_or_default());
        if terminal && !env.iter().any(|entry| entry.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        let plan = ProcessPlan {
            args: config.cmd.clone().unwrap_or_default(),
            env,
            cwd: config
                .working_dir
                .as_deref()
                .filter(|dir| !dir.is_empty())
                .unwrap_or_else(|| spec::working_dir(&record.config)),
            user: &user,
            terminal,
            privileged: config.privileged.unwrap_or(false) || record.host.privileged.unwrap_or(false),
            grantable: super::host_devices::grantable(),
        };
        let request = AttachRequest {
            stdin: !detach && config.attach_stdin.unwrap_or(false),
            stdout: config.attach_stdout.unwrap_or(false),
            stderr: config.attach_stderr.unwrap_or(false),
        };
        let asked_size = config.console_size.as_deref().and_then(super::start::console_size);
        let process = ExecSpec {
            process: spec::process(&record.host, plan)?,
            stdin: request.stdin,
            terminal_size: size.or(asked_size).filter(|_| terminal),
        };
        let task = container.exec(id, process).await.map_err(exec_failed)?;
        let streams = match detach {
            true => None,
            false => Some(task.attach(request).await.map_err(exec_failed)?),
        };
        task.start().await.map_err(exec_failed)?;
        Ok((task, streams))
    }

    async fn follow_exec(self, id: String, container: String, task: Arc<dyn Task>) {
        let status = task.wait().await;
        self.ended(&id, &container, status.code);
    }

    fn ended(&self, id: &str, container: &str, code: i32) {
        self.settle(id, code);
        if let Ok(handle) = self.shared.index.find(container) {
            let attributes = [("execID", id.to_owned()), ("exitCode", code.to_string())];
            self.shared.announce(&handle.record(), "exec_die", &attributes);
        }
    }

    /// Nothing more will come of it. One that never ran has no event, as with dockerd.
    fn settle(&self, id: &str, code: i32) {
        self.shared.execs.set(id, Phase::Ended(code));
        let (shared, id) = (self.shared.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            shared.execs.lock().remove(&id);
        });
    }
}

/// `key` is what the client called it.
fn ready_for_exec(key: &str, id: &str, status: Status) -> Result<()> {
    match status {
        Status::Running => Ok(()),
        Status::Paused => Err(EngineError::conflict(format!(
            "Container {key} is paused, unpause the container before exec"
        ))),
        Status::Restarting => Err(EngineError::conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        ))),
        _ => Err(super::not_running(id)),
    }
}

/// The action of an exec's event: the program, a space, its arguments if it has any.
fn named(action: &str, command: &[String]) -> String {
    let (program, arguments) = command.split_first().map_or(("", &[][..]), |(p, rest)| (p.as_str(), rest));
    format!("{action}: {program} {}", arguments.join(" "))
}

fn exec_failed(error: RuntimeError) -> EngineError {
    match error {
        RuntimeError::Start(text) if text.starts_with("OCI runtime exec failed") => {
            EngineError::invalid(super::start::as_moby("", &text))
        }
        RuntimeError::Start(text) => EngineError::invalid(super::start::as_moby(EXEC_FAILED, &text)),
        RuntimeError::Exited => EngineError::conflict("the container has stopped"),
        RuntimeError::System(text) => EngineError::system(format!("{EXEC_FAILED}{text}")),
    }
}
