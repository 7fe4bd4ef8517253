//! What the engine tells a shim: one JSON file, `shim.json`, in the shim's own folder. Every other file
//! name in that folder is here as well.

use engine::ports::{LogPlan, TerminalSize};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// [`ShimConfig`] of a shim.
pub(crate) const CONFIG_FILE: &str = "shim.json";
/// The OCI specification of a container, as libcontainer expects it in a bundle.
pub(crate) const SPEC_FILE: &str = "config.json";
/// The OCI process of an exec.
pub(crate) const PROCESS_FILE: &str = "process.json";
/// The seccomp program of a container, for its first process and its execs.
pub(crate) const SECCOMP_FILE: &str = "seccomp.bpf";
/// Where the shim answers.
pub(crate) const SOCKET_FILE: &str = "sock";
/// How the process ended; written once.
pub(crate) const EXIT_FILE: &str = "exit.json";
/// Through which the new process hands over its terminal; lives for milliseconds.
pub(crate) const CONSOLE_FILE: &str = "console";
/// Folder of the execs' shims inside a container's.
pub(crate) const EXEC_FOLDER: &str = "exec";

/// Everything a shim has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    /// The container's id.
    pub id: String,
    /// A further process in the running container instead of its first one.
    pub exec: bool,
    /// Folder of the container's `config.json`.
    pub bundle: PathBuf,
    /// libcontainer's scratch.
    pub state_root: PathBuf,
    pub terminal: bool,
    pub size: Option<Size>,
    pub stdin: bool,
    pub stdin_once: bool,
    /// What is done with the output.
    #[serde(default)]
    pub output: LogPlan,
    /// Owner of the stdio pipes, so that the process may open `/dev/stdout` again.
    pub uid: u32,
    /// The container's cgroup as in its specification.
    pub cgroup: PathBuf,
    /// The kernel kills everything with the container's first process.
    pub private_pids: bool,
    /// On cgroup v2: enforce these device rules, which libcontainer does not. In order, the last match wins.
    pub devices: Vec<oci_spec::runtime::LinuxDeviceCgroup>,
    /// On cgroup v1: processes wait for memory instead of being killed, which libcontainer leaves out.
    #[serde(default)]
    pub no_oom_killer: bool,
    /// [`SECCOMP_FILE`] in the bundle is to be installed before the process begins.
    #[serde(default)]
    pub seccomp: bool,
    /// Limits of the process, which libcontainer is not told of.
    #[serde(default)]
    pub rlimits: Vec<oci_spec::runtime::PosixRlimit>,
}

/// Window of a terminal in characters.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    pub width: u16,
    pub height: u16,
}

impl From<TerminalSize> for Size {
    fn from(size: TerminalSize) -> Self {
        Self { width: size.width, height: size.height }
    }
}
