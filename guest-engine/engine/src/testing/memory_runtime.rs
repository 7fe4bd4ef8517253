//! Processes that are only played: what one does is read from its arguments.

use crate::ports::{
    AdoptedTask, AttachRequest, Bundle, ContainerRuntime, ExecSpec, ExitStatus, LogFile, LogPlan, LogSink,
    OutputFrame, ProcessInfo, RuntimeError, Stats, StreamKind, Task, TaskStreams, TerminalSize,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use oci_spec::runtime as oci;
use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    io::AsyncReadExt,
    sync::{mpsc, watch},
};

/// What a played process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// `true`, `false`, `exit N`: ends at once.
    Exit(i32),
    /// `echo WORDS`: writes a line to stdout and ends.
    Echo(String),
    /// `complain WORDS`: the same to stderr.
    Complain(String),
    /// `sleep MILLISECONDS`, or for ever without a number.
    Sleep(Option<u64>),
    /// `cat`: writes what it reads, ends when its stdin does.
    Cat,
    /// `stubborn`: ends only by SIGKILL.
    Stubborn,
    /// Anything else cannot be executed.
    Missing(String),
}

impl Script {
    fn of(args: &[String]) -> Self {
        let words = || args.get(1..).unwrap_or_default().join(" ");
        match args.first().map(String::as_str).unwrap_or_default() {
            "true" => Self::Exit(0),
            "false" => Self::Exit(1),
            "exit" => Self::Exit(words().parse().unwrap_or(0)),
            "echo" => Self::Echo(words()),
            "complain" => Self::Complain(words()),
            "sleep" => Self::Sleep(words().parse().ok()),
            "cat" => Self::Cat,
            "stubborn" => Self::Stubborn,
            other => Self::Missing(other.to_owned()),
        }
    }
}

/// A strict stand-in for the shims: an id runs once at a time, a task starts once, and what was created
/// must be deleted before it can be created again.
#[derive(Clone, Debug, Default)]
pub struct MemoryRuntime {
    tasks: Arc<Mutex<HashMap<String, Arc<MemoryTask>>>>,
}

impl MemoryRuntime {
    /// Ids of containers that have runtime state.
    pub fn ids(&self) -> Vec<String> {
        self.tasks().keys().cloned().collect()
    }

    /// Loses a container together with its record, as a reboot does.
    pub fn lose(&self, id: &str) {
        self.tasks().remove(id);
    }

    /// The specification that a container was created with.
    pub fn spec(&self, id: &str) -> Option<oci::Spec> {
        self.tasks().get(id).and_then(|task| task.spec.clone())
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Arc<MemoryTask>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ContainerRuntime for MemoryRuntime {
    async fn create(&self, bundle: Bundle) -> Result<Arc<dyn Task>, RuntimeError> {
        let args = bundle.spec.process().as_ref().and_then(|p| p.args().clone()).unwrap_or_default();
        let script = Script::of(&args);
        if let Script::Missing(name) = &script {
            return Err(RuntimeError::Start(format!("exec: {name:?}: executable file not found in $PATH")));
        }
        let mut tasks = self.tasks();
        if tasks.contains_key(&bundle.id) {
            return Err(RuntimeError::System(format!("container {} exists already", bundle.id)));
        }
        let task = MemoryTask::new(script, bundle.stdin, bundle.log, Some(bundle.spec));
        tasks.insert(bundle.id, task.clone());
        Ok(task)
    }

    async fn adopt(&self, id: &str) -> Result<AdoptedTask, RuntimeError> {
        Ok(match self.tasks().get(id) {
            None => AdoptedTask::Gone,
            Some(task) => match *task.phase.borrow() {
                Phase::Ended(status) => AdoptedTask::Exited(status),
                Phase::Created | Phase::Running => AdoptedTask::Running(task.clone()),
            },
        })
    }

    async fn adopt_exec(&self, _id: &str, _exec_id: &str) -> Result<AdoptedTask, RuntimeError> {
        Ok(AdoptedTask::Gone)
    }

    async fn init_program(&self) -> Result<std::path::PathBuf, RuntimeError> {
        Ok("/memory/init".into())
    }

    async fn delete(&self, id: &str) -> Result<(), RuntimeError> {
        let task = self.tasks().remove(id);
        if let Some(task) = task {
            task.end(137);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    Ended(ExitStatus),
}

/// One played process.
#[derive(Debug)]
pub struct MemoryTask {
    this: Weak<Self>,
    pid: u32,
    script: Script,
    spec: Option<oci::Spec>,
    log: LogPlan,
    phase: watch::Sender<Phase>,
    clients: Mutex<Vec<(AttachRequest, mpsc::UnboundedSender<OutputFrame>)>>,
    stdin: Mutex<Option<tokio::io::DuplexStream>>,
    input: Mutex<Option<tokio::io::DuplexStream>>,
    frozen: Mutex<bool>,
}

impl MemoryTask {
    fn new(script: Script, stdin: bool, log: LogPlan, spec: Option<oci::Spec>) -> Arc<Self> {
        static PIDS: AtomicU32 = AtomicU32::new(1000);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (near, far) = if stdin { (Some(near), Some(far)) } else { (None, None) };
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            pid: PIDS.fetch_add(1, Ordering::Relaxed),
            script,
            spec,
            log,
            phase: watch::Sender::new(Phase::Created),
            clients: Mutex::default(),
            stdin: Mutex::new(near),
            input: Mutex::new(far),
            frozen: Mutex::new(false),
        })
    }

    fn write(&self, kind: StreamKind, text: &str) {
        if let Some(LogSink::File(LogFile { path, .. })) = &self.log.sink {
            let stream = if kind == StreamKind::Stdout { "stdout" } else { "stderr" };
            let line = serde_json::json!({
                "log": text, "stream": stream, "time": jiff::Timestamp::now().to_string(),
            });
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            if let Ok(mut file) = file {
                drop(writeln!(file, "{line}"));
            }
        }
        let frame = OutputFrame { stream: kind, data: Bytes::copy_from_slice(text.as_bytes()) };
        for (request, client) in lock(&self.clients).iter() {
            let wanted = if kind == StreamKind::Stdout { request.stdout } else { request.stderr };
            if wanted {
                drop(client.send(frame.clone()));
            }
        }
    }

    fn end(&self, code: i32) {
        let status = ExitStatus { code, oom_killed: false, finished_at: SystemTime::now() };
        self.phase.send_if_modified(|phase| {
            let ends = !matches!(phase, Phase::Ended(_));
            if ends {
                *phase = Phase::Ended(status);
            }
            ends
        });
        lock(&self.clients).clear();
    }

    fn ended(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Ended(_))
    }
}

#[async_trait]
impl Task for MemoryTask {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn start(&self) -> Result<(), RuntimeError> {
        if *self.phase.borrow() != Phase::Created {
            return Err(RuntimeError::System("task was started before".to_owned()));
        }
        self.phase.send_replace(Phase::Running);
        match self.script.clone() {
            Script::Exit(code) => self.end(code),
            Script::Echo(text) => {
                self.write(StreamKind::Stdout, &format!("{text}\n"));
                self.end(0);
            }
            Script::Complain(text) => {
                self.write(StreamKind::Stderr, &format!("{text}\n"));
                self.end(0);
            }
            Script::Sleep(Some(milliseconds)) => {
                let this = self.this.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                    if let Some(task) = this.upgrade() {
                        task.end(0);
                    }
                });
            }
            Script::Cat => {
                let (this, input) = (self.this.clone(), lock(&self.input).take());
                tokio::spawn(async move {
                    if let Some(mut input) = input {
                        let mut block = [0; 1024];
                        while let Ok(read @ 1..) = input.read(&mut block).await {
                            let text =
                                String::from_utf8_lossy(block.get(..read).unwrap_or_default()).into_owned();
                            if let Some(task) = this.upgrade() {
                                task.write(StreamKind::Stdout, &text);
                            }
                        }
                    }
                    if let Some(task) = this.upgrade() {
                        task.end(0);
                    }
                });
            }
            Script::Sleep(None) | Script::Stubborn | Script::Missing(_) => {}
        }
        Ok(())
    }

    async fn attach(&self, request: AttachRequest) -> Result<TaskStreams, RuntimeError> {
        if self.ended() {
            return Err(RuntimeError::Exited);
        }
        let (client, receiver) = mpsc::unbounded_channel();
        lock(&self.clients).push((request, client));
        let output =
            stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|f| (Ok(f), receiver)));
        let stdin = if request.stdin { lock(&self.stdin).take() } else { None };
        Ok(TaskStreams { output: output.boxed(), stdin: stdin.map(|s| Box::new(s) as _) })
    }

    async fn resize(&self, _size: TerminalSize) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn signal(&self, signal: i32) -> Result<(), RuntimeError> {
        let deadly = matches!(signal, 1 | 2 | 3 | 15) && self.script != Script::Stubborn;
        if signal == 9 || (deadly && !*lock(&self.frozen)) {
            self.end(128 + signal);
        }
        Ok(())
    }

    async fn kill_all(&self) -> Result<(), RuntimeError> {
        self.end(137);
        Ok(())
    }

    async fn freeze(&self, frozen: bool) -> Result<(), RuntimeError> {
        let mut now = lock(&self.frozen);
        if *now == frozen {
            return Err(RuntimeError::System("cgroup is so already".to_owned()));
        }
        *now = frozen;
        Ok(())
    }

    async fn wait(&self) -> ExitStatus {
        let mut phase = self.phase.subscribe();
        loop {
            if let Phase::Ended(status) = *phase.borrow_and_update() {
                return status;
            }
            if phase.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn exec(&self, _exec_id: &str, process: ExecSpec) -> Result<Arc<dyn Task>, RuntimeError> {
        if self.ended() {
            return Err(RuntimeError::Exited);
        }
        let script = Script::of(process.process.args().as_deref().unwrap_or_default());
        if let Script::Missing(name) = &script {
            return Err(RuntimeError::Start(format!("exec: {name:?}: executable file not found in $PATH")));
        }
        Ok(Self::new(script, process.stdin, LogPlan::default(), None))
    }

    async fn processes(&self) -> Result<Vec<ProcessInfo>, RuntimeError> {
        let columns = BTreeMap::from([("PID", self.pid.to_string()), ("CMD", format!("{:?}", self.script))]);
        Ok(vec![ProcessInfo { columns }])
    }

    async fn stats(&self) -> Result<Stats, RuntimeError> {
        Ok(Stats { pids: 1, online_cpus: 1, ..Stats::default() })
    }

    async fn update(&self, _resources: &oci::LinuxResources) -> Result<(), RuntimeError> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
