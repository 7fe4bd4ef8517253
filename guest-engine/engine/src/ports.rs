//! What the domain needs from the outside. `engine-linux` implements it; `testing` has in-memory ones.

pub mod files;
pub mod host_ports;
pub mod layers;
pub mod links;
pub mod log;
pub mod names;
pub mod runtime;
pub mod seccomp;
pub mod volumes;

pub use files::{
    ArchiveSource, ArchiveStream, Change, ChangeKind, ContainerFiles, Extraction, PathStat, View, ViewMount,
};
pub use host_ports::{HostPorts, NoHost};
pub use layers::{LayerInfo, LayerStore, LayerTar, Located, PathKind};
pub use links::{BridgeSpec, EndpointSpec, LinkLayer, MacvlanMode, Plug, PortSpec, Protocol};
pub use log::{
    Delivery, FluentdSink, GelfCompression, GelfSink, LogFile, LogFormat, LogPlan, LogServer, LogSink,
    LogTrust, SyslogFormat, SyslogSink,
};
pub use names::{NameAnswer, Names, Upstream};
pub use runtime::{
    AdoptedTask, AttachRequest, Bundle, ContainerRuntime, ExecSpec, ExitStatus, NetworkStats, OutputFrame,
    OutputStream, ProcessInfo, RuntimeError, Stats, StdinWriter, StreamKind, Task, TaskStreams, TerminalSize,
};
pub use seccomp::{SeccompAction, SeccompComparison, SeccompCondition, SeccompPolicy, SeccompRule};
pub use volumes::{VolumeSource, VolumeStore};
