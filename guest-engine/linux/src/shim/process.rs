//! Has libcontainer create the process, a container's first one or an exec, and keeps it at the gate.

use super::{
    config::{CONSOLE_FILE, PROCESS_FILE, SECCOMP_FILE, SPEC_FILE, ShimConfig},
    gate::{self, Gate, GatedExecutor, Heard},
    propagation, rlimits,
    stdio::{self, Streams},
    trace,
};
use crate::{cgroup::Cgroup, device_filter};
use libcontainer::{
    container::{Container, builder::ContainerBuilder},
    error::LibcontainerError,
    oci_spec::runtime::{Process, Spec},
    syscall::syscall::SyscallType,
};
use nix::unistd::Pid;
use std::{
    fs, io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

/// Why a process could not be created.
#[derive(Debug, thiserror::Error)]
pub(super) enum CreateError {
    /// What the OCI runtime would say, starting with `unable to start container process`.
    #[error("{0}")]
    Refused(String),
    #[error("Could not set up the stdio of the process")]
    Stdio(#[source] io::Error),
    #[error("Could not read the seccomp program")]
    Seccomp(#[source] io::Error),
    #[error("Could not enforce the device rules")]
    Devices(#[source] io::Error),
    #[error("Could not set what bind mounts exchange with the host")]
    Propagation(#[source] io::Error),
    #[error("Could not turn off the OOM killer")]
    OomKiller(#[source] io::Error),
}

/// The created process, waiting at its gate.
#[derive(Debug)]
pub(super) struct Created {
    pub pid: Pid,
    pub gate: Gate,
    pub streams: Streams,
}

/// Creates it. The current folder must be `folder`, the shim's.
pub(super) fn create(folder: &Path, config: &ShimConfig) -> Result<Created, CreateError> {
    let (gate, theirs) = gate::pair().map_err(CreateError::Stdio)?;
    trace::install(theirs.as_raw_fd());
    let seccomp = match config.seccomp {
        true => Some(fs::read(config.bundle.join(SECCOMP_FILE)).map_err(CreateError::Seccomp)?),
        false => None,
    };
    let own_oom_score = fs::read("/proc/self/oom_score_adj").ok();

    let mut builder = ContainerBuilder::new(config.id.clone(), SyscallType::default())
        .with_executor(GatedExecutor::new(&theirs, seccomp))
        .with_root_path(&config.state_root)
        .map_err(|error| refusal(&error, &gate))?;
    let (mut streams, mut console) = (Streams::default(), None);
    if config.terminal {
        console = Some(stdio::console_listener().map_err(CreateError::Stdio)?);
        builder = builder.with_console_socket(Some(folder.join(CONSOLE_FILE)));
    } else {
        let (ours, ends) = stdio::pipes(config).map_err(CreateError::Stdio)?;
        builder = builder.with_stdin(ends.stdin).with_stdout(ends.stdout).with_stderr(ends.stderr);
        streams = ours;
    }
    let built = if config.exec { exec(builder, folder, config) } else { first(builder, config) };
    let pid = built.map_err(|error| in_runcs_words(refusal(&error, &gate), config))?;
    // Ours would keep the gate from ever ending.
    drop(theirs);
    if let Some(score) = own_oom_score {
        // libcontainer gave the shim the container's score.
        let _kept = fs::write("/proc/self/oom_score_adj", score);
    }

    let finished = finish(config, console.as_ref(), pid);
    match finished {
        Ok(terminal) => {
            let streams = terminal.unwrap_or(streams);
            Ok(Created { pid, gate, streams })
        }
        Err(error) => {
            super::event_loop::abandon(pid);
            Err(error)
        }
    }
}

fn finish(
    config: &ShimConfig,
    console: Option<&std::os::unix::net::UnixListener>,
    pid: Pid,
) -> Result<Option<Streams>, CreateError> {
    let streams = match console {
        Some(listener) => {
            let streams = stdio::terminal(listener, config).map_err(CreateError::Stdio)?;
            // It has served its purpose; a leftover would only confuse.
            let _removed = fs::remove_file(CONSOLE_FILE);
            Some(streams)
        }
        None => None,
    };
    rlimits::apply(pid, &config.rlimits).map_err(CreateError::Refused)?;
    if config.exec {
        return Ok(streams);
    }
    propagation::apply(&config.bundle, pid).map_err(CreateError::Propagation)?;
    let cgroup = Cgroup::at(&config.cgroup);
    if let Some(folder) = cgroup.unified() {
        device_filter::attach(&folder, &config.devices).map_err(CreateError::Devices)?;
    }
    if config.no_oom_killer
        && let Some(folder) = cgroup.controller("memory")
    {
        fs::write(folder.join("memory.oom_control"), "1").map_err(CreateError::OomKiller)?;
    }
    Ok(streams)
}

fn first(builder: ContainerBuilder, config: &ShimConfig) -> Result<Pid, LibcontainerError> {
    // What cannot be made libcontainer tells better.
    drop(Cgroup::at(&config.cgroup).make_parents());
    let mut container = builder.as_init(&config.bundle).with_systemd(false).with_detach(true).build()?;
    // libcontainer lets execs join only what it believes to be running; the real start is the gate.
    container.start()?;
    container.pid().map(|pid| Pid::from_raw(pid.as_raw())).ok_or(LibcontainerError::NoDirectory)
}

fn exec(builder: ContainerBuilder, folder: &Path, config: &ShimConfig) -> Result<Pid, LibcontainerError> {
    let process: PathBuf = folder.join(PROCESS_FILE);
    let first = Container::load(config.state_root.join(&config.id))?.pid();
    let below = first.and_then(|pid| Cgroup::at(&config.cgroup).below(pid.as_raw()));
    let pid = builder
        .as_tenant()
        .with_detach(true)
        .with_process(Some(process))
        .with_sub_cgroup(below.map(|path| path.to_string_lossy().into_owned()))
        .build()?;
    Ok(Pid::from_raw(pid.as_raw()))
}

/// The best sentence there is: the process's own, else libcontainer's error with what it logged on the way.
fn refusal(error: &LibcontainerError, gate: &Gate) -> CreateError {
    let mut events = Vec::new();
    loop {
        match gate.hear() {
            Ok(Heard::Sentence(sentence)) => return CreateError::Refused(sentence),
            Ok(Heard::Event(event)) => events.push(event),
            Ok(Heard::Nothing | Heard::End) | Err(_) => break,
        }
    }
    let mut text = chain(error);
    // The first event is the innermost cause, the rest is its way up.
    if let Some(first) = events.first() {
        text.push_str(": ");
        text.push_str(first);
    }
    CreateError::Refused(text)
}

/// What users get wrong often enough for scripts to look at the sentence.
fn in_runcs_words(error: CreateError, config: &ShimConfig) -> CreateError {
    let reason = match &error {
        CreateError::Refused(text) if text.contains("failed to chdir e=ENOENT") => {
            "no such file or directory"
        }
        CreateError::Refused(text) if text.contains("failed to chdir e=ENOTDIR") => "not a directory",
        CreateError::Refused(text) if text.contains("failed to chdir e=EACCES") => "permission denied",
        CreateError::Refused(text) => {
            let mount = failed_mount(text, config);
            return mount.map_or(error, CreateError::Refused);
        }
        _ => return error,
    };
    let cwd = if config.exec {
        fs::read(PROCESS_FILE).ok().and_then(|json| serde_json::from_slice::<Process>(&json).ok())
    } else {
        Spec::load(config.bundle.join(SPEC_FILE)).ok().and_then(|spec| spec.process().clone())
    };
    let cwd = cwd.map(|process| process.cwd().display().to_string()).unwrap_or_default();
    CreateError::Refused(format!("chdir to cwd ({cwd:?}) set in config.json failed: {reason}"))
}

/// `… failed to mount Mount { destination: "/x", …, source: Some("/y"), … }: why`.
fn failed_mount(text: &str, config: &ShimConfig) -> Option<String> {
    let (_, mount) = text.split_once("failed to mount Mount { destination: ")?;
    let destination = mount.split('"').nth(1)?;
    let source = mount.split_once("source: Some(\"")?.1.split('"').next()?;
    let why = mount.rsplit_once(" }: ")?.1;
    let root = Spec::load(config.bundle.join(SPEC_FILE)).ok()?.root().as_ref()?.path().clone();
    let is_folder = |path: &Path| fs::metadata(path).map(|metadata| metadata.is_dir()).ok();
    let target = root.join(destination.trim_start_matches('/'));
    let mismatch = match (is_folder(Path::new(source)), is_folder(&target)) {
        (Some(source), Some(target)) => source != target,
        _ => false,
    };
    let why = if mismatch { "not a directory" } else { why };
    Some(format!(
        "error during container init: error mounting {source:?} to rootfs at {destination:?}: {why}"
    ))
}

/// An error with its causes, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}
