//! Running processes in containers. The unit is an OCI bundle: the domain decides the whole OCI runtime
//! specification, the runtime carries it out.
//!
//! Every [`Task`] is a process under its own shim, which outlives the engine: it holds the stdio or the
//! pty, writes the log and records the exit. After a restart the engine gets its tasks back with
//! [`ContainerRuntime::adopt`].

use super::{LogPlan, SeccompPolicy};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use oci_spec::runtime as oci;
use std::{collections::BTreeMap, fmt::Debug, io, path::PathBuf, sync::Arc, time::SystemTime};
use tokio::io::AsyncWrite;

/// Creates, finds again and cleans up containers' processes.
#[async_trait]
pub trait ContainerRuntime: Debug + Send + Sync {
    /// Makes namespaces, cgroup and mounts and leaves the process waiting before its `exec`. On failure
    /// nothing is left. The error text is what `docker start` shows (and what clients map to 126/127).
    async fn create(&self, bundle: Bundle) -> Result<Arc<dyn Task>, RuntimeError>;

    /// Finds the container again after the engine restarted. Harmless to repeat.
    async fn adopt(&self, id: &str) -> Result<AdoptedTask, RuntimeError>;

    /// Finds an exec of a running container again after the engine restarted.
    async fn adopt_exec(&self, id: &str, exec_id: &str) -> Result<AdoptedTask, RuntimeError>;

    /// Where on the host the program is that a container with `--init` runs first.
    async fn init_program(&self) -> Result<PathBuf, RuntimeError>;

    /// Removes whatever is left of the container outside its root filesystem: processes, cgroup, runtime
    /// state. `Ok` when there is nothing.
    async fn delete(&self, id: &str) -> Result<(), RuntimeError>;
}

/// What to run and where its output goes.
#[derive(Debug)]
pub struct Bundle {
    /// The container's full id.
    pub id: String,
    /// The complete specification; `root.path` is a mounted root filesystem.
    pub spec: oci::Spec,
    /// Which system calls its processes, execs included, may make; `None` is all of them.
    pub seccomp: Option<SeccompPolicy>,
    /// Keep stdin open for attached clients; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Close stdin for good when the first attached client ends it (`StdinOnce`).
    pub stdin_once: bool,
    /// What is done with its output.
    pub log: LogPlan,
    /// First window of the terminal, when the process has one.
    pub terminal_size: Option<TerminalSize>,
}

/// What [`ContainerRuntime::adopt`] found.
#[derive(Debug)]
pub enum AdoptedTask {
    /// Its shim is there and answers.
    Running(Arc<dyn Task>),
    /// It ended while nobody looked.
    Exited(ExitStatus),
    /// Neither process nor record: it was killed together with its shim, or the machine rebooted.
    Gone,
}

/// One process under its shim: a container's first one, or an exec.
#[async_trait]
pub trait Task: Debug + Send + Sync {
    /// Its pid as the engine sees it.
    fn pid(&self) -> u32;

    /// Lets the created process `exec`. Called once, after the first attachments are in place. Fails with
    /// [`RuntimeError::Start`] when the `exec` fails; the task has then ended.
    async fn start(&self) -> Result<(), RuntimeError>;

    /// Connects a client to the process's stdio; sees everything from now on. Any number of clients; a
    /// slow one holds the process back once the shim's buffer for it is full, as under dockerd.
    async fn attach(&self, request: AttachRequest) -> Result<TaskStreams, RuntimeError>;

    /// Resizes the terminal; nothing happens when there is none.
    async fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError>;

    /// Sends a signal to the process. `Ok` when it has ended already.
    async fn signal(&self, signal: i32) -> Result<(), RuntimeError>;

    /// Sends SIGKILL to every process of the container (not for execs).
    async fn kill_all(&self) -> Result<(), RuntimeError>;

    /// Freezes or thaws every process of the container.
    async fn freeze(&self, frozen: bool) -> Result<(), RuntimeError>;

    /// Waits for the end. Any number of callers, also after it.
    async fn wait(&self) -> ExitStatus;

    /// Creates another process inside the container, stopped before its `exec`.
    async fn exec(&self, exec_id: &str, process: ExecSpec) -> Result<Arc<dyn Task>, RuntimeError>;

    /// Every process of the container.
    async fn processes(&self) -> Result<Vec<ProcessInfo>, RuntimeError>;

    /// Resource use now.
    async fn stats(&self) -> Result<Stats, RuntimeError>;

    /// Applies new limits to the running container.
    async fn update(&self, resources: &oci::LinuxResources) -> Result<(), RuntimeError>;
}

/// What to run in a running container.
#[derive(Debug)]
pub struct ExecSpec {
    /// The complete process: args, env, cwd, user, capabilities, terminal.
    pub process: oci::Process,
    /// Keep stdin open for the attached client.
    pub stdin: bool,
    /// First window of the terminal.
    pub terminal_size: Option<TerminalSize>,
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// An attached client's ends. Dropping both detaches.
pub struct TaskStreams {
    /// Ends when the process's output ends.
    pub output: OutputStream,
    /// Shutting it down ends the process's stdin. `None` unless asked for and open.
    pub stdin: Option<StdinWriter>,
}

impl Debug for TaskStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskStreams").field("stdin", &self.stdin.is_some()).finish_non_exhaustive()
    }
}

/// Frames of output in the order they were written.
pub type OutputStream = BoxStream<'static, io::Result<OutputFrame>>;
/// Writes to a process's stdin.
pub type StdinWriter = Box<dyn AsyncWrite + Send + Unpin>;

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFrame {
    pub stream: StreamKind,
    pub data: Bytes,
}

/// Which stream output came from; a terminal's is all [`StreamKind::Stdout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    Stdout,
    Stderr,
}

/// A terminal's window in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// The kernel's OOM killer took a process of the container.
    pub oom_killed: bool,
    pub finished_at: SystemTime,
}

/// One process as `docker top` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Column to value, named as `ps` titles them: USER UID PID PPID C STIME TTY TIME %CPU RSS STAT CMD…
    pub columns: BTreeMap<&'static str, String>,
}

/// Resource use of a container; the cumulative ones count from its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time, nanoseconds: all, in user mode, in the kernel.
    pub cpu_total: u64,
    pub cpu_user: u64,
    pub cpu_system: u64,
    /// Time of all CPUs of the machine since boot, nanoseconds.
    pub system_cpu: u64,
    pub online_cpus: u32,
    pub throttled_periods: u64,
    pub periods: u64,
    pub throttled_time: u64,
    /// Bytes, page cache included.
    pub memory_usage: u64,
    /// Bytes; the machine's memory when unlimited.
    pub memory_limit: u64,
    /// `memory.stat`, by its own names.
    pub memory_stat: BTreeMap<String, u64>,
    pub pids: u64,
    pub pids_limit: Option<u64>,
    pub block_read: u64,
    pub block_write: u64,
    /// Interface name to counters.
    pub networks: BTreeMap<String, NetworkStats>,
}

/// Counters of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// What a runtime can answer.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The process could not be created or exec'ed; the OCI runtime's own sentence, for example
    /// `exec: "nope": executable file not found in $PATH`.
    #[error("{0}")]
    Start(String),
    /// The process has ended.
    #[error("process has already exited")]
    Exited,
    /// The runtime or the kernel failed.
    #[error("{0}")]
    System(String),
}
