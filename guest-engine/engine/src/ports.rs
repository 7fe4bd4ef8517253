//! What the domain needs from the outside. `engine-linux` implements it; `testing` has in-memory ones.

pub mod layers;
pub mod links;
pub mod log;
pub mod runtime;
pub mod seccomp;

pub use layers::{LayerInfo, LayerStore, Located, PathKind};
pub use links::{BridgeSpec, EndpointSpec, LinkLayer};
pub use log::{
    Delivery, FluentdSink, GelfCompression, GelfSink, LogFile, LogFormat, LogPlan, LogServer, LogSink,
    LogTrust, SyslogFormat, SyslogSink,
};
pub use runtime::{
    AdoptedTask, AttachRequest, Bundle, ContainerRuntime, ExecSpec, ExitStatus, NetworkStats, OutputFrame,
    OutputStream, ProcessInfo, RuntimeError, Stats, StdinWriter, StreamKind, Task, TaskStreams, TerminalSize,
};
pub use seccomp::{SeccompAction, SeccompComparison, SeccompCondition, SeccompPolicy, SeccompRule};
