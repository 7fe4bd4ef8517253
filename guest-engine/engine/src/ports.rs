//! What the domain needs from the outside. `engine-linux` implements it; `testing` has in-memory ones.

pub mod layers;
pub mod links;
pub mod runtime;
pub mod seccomp;

pub use layers::{LayerInfo, LayerStore, Located, PathKind};
pub use links::{BridgeSpec, EndpointSpec, LinkLayer};
pub use runtime::{
    AdoptedTask, AttachRequest, Bundle, ContainerRuntime, ExecSpec, ExitStatus, LogSink, NetworkStats,
    OutputFrame, OutputStream, ProcessInfo, RuntimeError, Stats, StdinWriter, StreamKind, Task, TaskStreams,
    TerminalSize,
};
pub use seccomp::{SeccompAction, SeccompComparison, SeccompCondition, SeccompPolicy, SeccompRule};
