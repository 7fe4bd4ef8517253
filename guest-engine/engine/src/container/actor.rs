//! The task that owns one container.
//!
//! It takes requests one at a time, sees the process end, and restarts it as the policy says. Whatever it
//! changes is on disk before anybody hears of it.

use super::{
    Shared,
    attach::{Attachment, Waiter},
    health::{Checks, ProbeResult},
    index::Handle,
    not_running,
    record::{FILE, Observed, Record},
    restart::{self, Backoff, Ending},
    signal::SIGKILL,
    state::Status,
    update::Change,
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    network::Definition,
    ports::{AttachRequest, ExitStatus, RuntimeError, Task},
    state_file,
};
use bollard_stubs::models::EndpointSettings;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// How many requests may wait for a busy container before whoever sends more waits as well.
const QUEUE: usize = 16;
/// How long attaching to a running process may take.
const ATTACH_PATIENCE: Duration = Duration::from_secs(10);

type Reply<T> = oneshot::Sender<Result<T>>;

/// What others may ask of a container's owner.
#[derive(Debug)]
pub(super) enum Request {
    Start {
        reply: Reply<()>,
    },
    /// Sends a signal to the first process.
    Signal {
        signal: i32,
        purpose: Purpose,
        reply: Reply<()>,
    },
    Freeze {
        frozen: bool,
        reply: Reply<()>,
    },
    Attach {
        request: AttachRequest,
        reply: Reply<Attachment>,
    },
    /// Answered once what was begun before is done.
    Settle {
        reply: Reply<()>,
    },
    Rename {
        name: String,
        reply: Reply<()>,
    },
    /// A health check has been made of the run that began at `started`.
    Probed {
        result: ProbeResult,
        started: SystemTime,
        reply: Reply<()>,
    },
    Update {
        change: Box<Change>,
        reply: Reply<Vec<String>>,
    },
    /// `network connect`.
    Connect {
        network: Arc<Definition>,
        wish: Box<EndpointSettings>,
        reply: Reply<()>,
    },
    /// `network disconnect`.
    Disconnect {
        network: Arc<Definition>,
        reply: Reply<()>,
    },
    /// Of a container without a process.
    Remove {
        /// Its anonymous volumes as well.
        volumes: bool,
        reply: Reply<()>,
    },
}

/// Why a signal is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `docker kill`.
    Signal,
    /// It is to end and to stay so.
    Stop,
    /// The same, because it is to be removed.
    Remove,
    /// It is to end and will be started again by whoever asks: `--rm` does not apply.
    Restart,
    /// The machine goes down: the restart policy decides at the next boot.
    ShutDown,
}

/// Whether the owner goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    /// The container is gone.
    End,
}

#[derive(Debug)]
pub(super) struct Actor {
    pub(super) shared: Arc<Shared>,
    pub(super) record: Record,
    pub(super) task: Option<Arc<dyn Task>>,
    /// The end of `task`.
    exit: Option<oneshot::Receiver<ExitStatus>>,
    /// Clients that attached before there is a process.
    pub(super) waiters: Vec<Waiter>,
    observed: watch::Sender<Observed>,
    requests: mpsc::Receiver<Request>,
    exits: u64,
    backoff: Backoff,
    pub(super) restart_at: Option<Instant>,
    /// The next end is part of a restart by a user.
    keep: bool,
    /// The next end is what a user's stop waits for.
    stopping: bool,
    /// While health checks are made.
    pub(super) checks: Option<Checks>,
}

impl Actor {
    /// The owner of `record`, not running yet, and how to reach it.
    pub(super) fn new(shared: Arc<Shared>, record: Record) -> (Self, Handle) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let observed = Observed { record: Arc::new(record.clone()), task: None, exits: 0, removed: false };
        let (observed, receiver) = watch::channel(observed);
        let handle = Handle { id: record.id.clone(), requests: sender, observed: receiver };
        let actor = Self {
            shared,
            record,
            task: None,
            exit: None,
            waiters: Vec::new(),
            observed,
            requests,
            exits: 0,
            backoff: Backoff::default(),
            restart_at: None,
            keep: false,
            stopping: false,
            checks: None,
        };
        (actor, handle)
    }

    /// Serves the container until it is gone or the engine ends.
    pub(super) async fn run(mut self) {
        loop {
            let flow = tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => Flow::End,
                },
                status = end_of(&mut self.exit) => {
                    self.exit = None;
                    self.ended(status).await
                }
                () = reached(self.restart_at) => {
                    self.restart_at = None;
                    self.restart().await
                }
            };
            if flow == Flow::End {
                return;
            }
        }
    }

    async fn serve(&mut self, request: Request) -> Flow {
        match request {
            Request::Start { reply } => {
                let (result, flow) = self.start_by_user().await;
                answer(reply, result);
                return flow;
            }
            Request::Signal { signal, purpose, reply } => answer(reply, self.signal(signal, purpose).await),
            Request::Freeze { frozen, reply } => answer(reply, self.freeze(frozen).await),
            Request::Attach { request, reply } => answer(reply, self.attach(request).await),
            Request::Settle { reply } => answer(reply, Ok(())),
            Request::Rename { name, reply } => answer(reply, self.rename(name).await),
            Request::Probed { result, started, reply } => answer(reply, self.probed(result, started).await),
            Request::Update { change, reply } => answer(reply, self.update(*change).await),
            Request::Connect { network, wish, reply } => answer(reply, self.connect(&network, *wish).await),
            Request::Disconnect { network, reply } => answer(reply, self.disconnect(&network).await),
            Request::Remove { volumes, reply } => {
                let result = self.remove(volumes).await;
                let flow = if result.is_ok() { Flow::End } else { Flow::Continue };
                answer(reply, result);
                return flow;
            }
        }
        Flow::Continue
    }

    async fn start_by_user(&mut self) -> (Result<()>, Flow) {
        match self.record.state.status {
            Status::Running | Status::Restarting => {
                let error = EngineError::new(ErrorKind::NotModified, "container is already running");
                return (Err(error), Flow::Continue);
            }
            Status::Paused => {
                let error = EngineError::conflict("cannot start a paused container, try unpause instead");
                return (Err(error), Flow::Continue);
            }
            Status::Removing | Status::Dead => {
                let error = EngineError::conflict("container is marked for removal and cannot be started");
                return (Err(error), Flow::Continue);
            }
            Status::Created | Status::Exited => {}
        }
        self.record.restarts = 0;
        self.record.manually_stopped = false;
        self.backoff = Backoff::default();
        let result = self.start().await;
        let failed = result.is_err();
        // A container that removes itself also does so when it cannot even start.
        if failed && self.record.auto_remove() {
            return (result, self.remove_itself().await);
        }
        (result, Flow::Continue)
    }

    /// Starts again after the back-off, or after a boot.
    pub(super) async fn restart(&mut self) -> Flow {
        if let Err(error) = self.start().await {
            tracing::warn!(%error, container = self.record.id, "Container could not be restarted");
            self.move_to(Status::Exited);
            self.keep_and_announce().await;
            if self.record.auto_remove() {
                return self.remove_itself().await;
            }
        }
        Flow::Continue
    }

    /// Takes over the process that has just been started or found again.
    pub(super) fn watch_task(&mut self, task: Arc<dyn Task>) {
        let (sender, receiver) = oneshot::channel();
        let watched = task.clone();
        // Ends with the process; nobody listening any more is no error.
        tokio::spawn(async move {
            sender.send(watched.wait().await).ok();
        });
        self.task = Some(task);
        self.exit = Some(receiver);
    }

    /// The process has ended: clean up, write it down, tell, and do what the policy says.
    pub(super) async fn ended(&mut self, status: ExitStatus) -> Flow {
        self.task = None;
        let id = self.record.id.clone();
        let policy_wants = !self.shared.shutting_down.load(Ordering::Relaxed)
            && restart::after_exit(self.record.policy(), self.ending(status.code));
        let leaving = self.record.auto_remove() && !self.keep && !policy_wants;
        if status.oom_killed {
            self.shared.announce(&self.record, "oom", &[]);
        }
        self.release(leaving).await;

        let state = &mut self.record.state;
        let ran = state.started_at.and_then(|started| status.finished_at.duration_since(started).ok());
        let ran = ran.unwrap_or_default();
        state.exit_code = status.code;
        state.oom_killed = status.oom_killed;
        state.finished_at = Some(status.finished_at);
        state.error.clear();
        self.move_to(if policy_wants { Status::Restarting } else { Status::Exited });
        self.watch_health();
        if policy_wants {
            self.record.restarts += 1;
            self.restart_at = Some(Instant::now() + self.backoff.next_delay(ran));
        }
        self.exits += 1;
        self.keep_record().await;
        if std::mem::take(&mut self.stopping) {
            self.shared.announce(&self.record, "stop", &[]);
        }
        self.shared.announce(
            &self.record,
            "die",
            &[("execDuration", ran.as_secs().to_string()), ("exitCode", status.code.to_string())],
        );
        self.show();
        tracing::debug!(container = id, code = status.code, "Container ended");
        self.keep = false;
        if leaving { self.remove_itself().await } else { Flow::Continue }
    }

    /// Lets go of what only a running container has. `leaving` spares the unmount that removal repeats.
    pub(super) async fn release(&mut self, leaving: bool) {
        let id = &self.record.id;
        if let Err(error) = self.shared.runtime.delete(id).await {
            tracing::warn!(%error, container = id, "Runtime state was left behind");
        }
        if let Err(error) = self.shared.networks.leave(id).await {
            tracing::warn!(%error, container = id, "Network namespace was left behind");
        }
        self.shared.unmount_volumes(&self.record).await;
        if !leaving && let Err(error) = self.shared.layers.unmount_rootfs(id).await {
            tracing::warn!(%error, container = id, "Root filesystem stayed mounted");
        }
        self.record.attached.clear();
        self.record.ports.clear();
    }

    async fn signal(&mut self, signal: i32, purpose: Purpose) -> Result<()> {
        let status = self.record.state.status;
        if status == Status::Restarting {
            // Between two runs there is nothing to signal: the next one is called off.
            self.restart_at = None;
            self.record.manually_stopped = purpose != Purpose::ShutDown;
            self.move_to(Status::Exited);
            self.keep_record().await;
            if matches!(purpose, Purpose::Stop | Purpose::Restart) {
                self.shared.announce(&self.record, "stop", &[]);
            }
            self.show();
            return Ok(());
        }
        let Some(task) = self.task.clone() else {
            return Err(not_running(&self.record.id));
        };
        self.keep = purpose == Purpose::Restart;
        self.stopping |= matches!(purpose, Purpose::Stop | Purpose::Restart);
        if self.stops_for_good(signal, purpose) && !self.record.manually_stopped {
            self.record.manually_stopped = true;
            // What fills the disk can be stopped all the same.
            self.keep_record().await;
        }
        task.signal(signal).await.map_err(runtime_failed)?;
        // A frozen process does not hear anything but SIGKILL, and that only on cgroup v2.
        if status == Status::Paused && (signal == SIGKILL || purpose != Purpose::Signal) {
            self.freeze(false).await?;
        }
        self.shared.announce(&self.record, "kill", &[("signal", signal.to_string())]);
        self.show();
        Ok(())
    }

    /// `docker kill` also counts as stopping by hand, unless the container has a stop signal of its own
    /// and this is another one.
    fn stops_for_good(&self, signal: i32, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Stop | Purpose::Remove | Purpose::Restart => true,
            Purpose::ShutDown => false,
            Purpose::Signal => match self.record.config.stop_signal.as_deref().filter(|s| !s.is_empty()) {
                Some(own) if signal != SIGKILL => super::signal::parse(own).is_ok_and(|own| own == signal),
                _ => true,
            },
        }
    }

    async fn freeze(&mut self, frozen: bool) -> Result<()> {
        let id = &self.record.id;
        let status = self.record.state.status;
        match (status, frozen) {
            (Status::Running, true) | (Status::Paused, false) => {}
            (Status::Paused, true) => {
                return Err(EngineError::conflict(format!("Container {id} is already paused")));
            }
            (Status::Running, false) => {
                return Err(EngineError::system(format!("Container {id} is not paused")));
            }
            (Status::Restarting, _) => {
                return Err(EngineError::conflict(format!(
                    "Container {id} is restarting, wait until the container is running"
                )));
            }
            (_, false) => return Err(EngineError::system(format!("Container {id} is not paused"))),
            _ => return Err(not_running(id)),
        }
        let Some(task) = self.task.clone() else { return Err(not_running(id)) };
        task.freeze(frozen).await.map_err(runtime_failed)?;
        self.move_to(if frozen { Status::Paused } else { Status::Running });
        self.watch_health();
        self.keep_record().await;
        self.shared.announce(&self.record, if frozen { "pause" } else { "unpause" }, &[]);
        self.show();
        Ok(())
    }

    async fn attach(&mut self, request: AttachRequest) -> Result<Attachment> {
        let status = self.record.state.status;
        if status == Status::Paused {
            return Err(EngineError::conflict(format!(
                "container {} is paused, unpause the container before attach",
                self.record.id
            )));
        }
        if status == Status::Restarting {
            return Err(EngineError::conflict(format!(
                "container {} is restarting, wait until the container is running before attach",
                self.record.id
            )));
        }
        let attachment = match &self.task {
            Some(task) => {
                let streams = tokio::time::timeout(ATTACH_PATIENCE, task.attach(request))
                    .await
                    .map_err(|_| EngineError::system("Container's shim did not answer in time"))?;
                match streams {
                    Ok(streams) => Attachment::live(self.record.terminal(), streams),
                    // It has just ended; its owner will notice next.
                    Err(RuntimeError::Exited) => Attachment::ended(self.record.terminal()),
                    Err(error) => return Err(runtime_failed(error)),
                }
            }
            None => {
                self.waiters.retain(|waiter| !waiter.is_gone());
                let (attachment, waiter) = Attachment::waiting(self.record.terminal(), request);
                self.waiters.push(waiter);
                attachment
            }
        };
        self.shared.announce(&self.record, "attach", &[]);
        Ok(attachment)
    }

    async fn rename(&mut self, name: String) -> Result<()> {
        let id = self.record.id.clone();
        let old = std::mem::replace(&mut self.record.name, name.clone());
        if old == name {
            return Err(EngineError::invalid("Renaming a container with the same name as its current name"));
        }
        let renamed = match self.shared.index.reserve(&name, &id) {
            Ok(()) => self.persist().await.inspect_err(|_| self.shared.index.release(&name, &id)),
            Err(error) => Err(error.of("Error when allocating new name")),
        };
        if let Err(error) = renamed {
            self.record.name = old;
            return Err(error);
        }
        self.shared.index.release(&old, &id);
        self.shared.networks.rename(&id, &name);
        self.shared.announce(&self.record, "rename", &[("oldName", format!("/{old}"))]);
        self.show();
        Ok(())
    }

    fn ending(&self, exit_code: i32) -> Ending {
        Ending { exit_code, manually_stopped: self.record.manually_stopped, restarts: self.record.restarts }
    }

    /// Whether the policy wants the ended container back now that the engine comes up.
    pub(super) fn wanted_at_boot(&self) -> bool {
        let state = &self.record.state;
        state.status == Status::Exited
            && state.started_at.is_some()
            && restart::after_boot(self.record.policy(), self.ending(state.exit_code))
    }

    /// Moves on; a transition that the table forbids is logged and not made.
    pub(super) fn move_to(&mut self, next: Status) {
        if let Err(error) = self.record.state.advance(next) {
            tracing::error!(%error, container = self.record.id, "Impossible transition");
        }
    }

    /// Writes the record; fails rather than promise what would not survive.
    pub(super) async fn persist(&self) -> Result<()> {
        state_file::save(&self.shared.folder(&self.record.id).join(FILE), &self.record).await
    }

    /// Writes the record where failing would help nobody.
    pub(super) async fn keep_record(&self) {
        if let Err(error) = self.persist().await {
            tracing::error!(%error, container = self.record.id, "Container's record could not be written");
        }
    }

    /// Shows the container as it is to everybody who watches.
    pub(super) fn show(&self) {
        self.show_as(false);
    }

    pub(super) fn show_as(&self, removed: bool) {
        self.observed.send_replace(Observed {
            record: Arc::new(self.record.clone()),
            task: self.task.clone(),
            exits: self.exits,
            removed,
        });
    }

    pub(super) async fn keep_and_announce(&self) {
        self.keep_record().await;
        self.show();
    }
}

/// What a runtime failure is to whoever asked.
pub(super) fn runtime_failed(error: RuntimeError) -> EngineError {
    match error {
        RuntimeError::Exited => EngineError::conflict("process has already exited"),
        other => EngineError::system(other.to_string()),
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T>) {
    // Whoever asked may have gone away; the work is done all the same.
    drop(reply.send(result));
}

async fn end_of(exit: &mut Option<oneshot::Receiver<ExitStatus>>) -> ExitStatus {
    match exit {
        // The sender is only dropped when the waiting task died: take that for an unexplained end.
        Some(exit) => {
            exit.await.unwrap_or(ExitStatus { code: 255, oom_killed: false, finished_at: SystemTime::now() })
        }
        None => std::future::pending().await,
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
