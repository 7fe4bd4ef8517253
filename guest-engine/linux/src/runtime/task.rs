//! One process under its shim, as the engine holds it.

use super::{
    Places, blocking, connection,
    connection::Connection,
    exit_record_of, let_install_seccomp, make_folder, process_list, read_config, safe_name,
    spawn::{self, CREATE_PREFIX, EXEC_PREFIX, refused},
    stats, write_config,
};
use crate::{
    cgroup::Cgroup,
    shim::{
        config::{PROCESS_FILE, SECCOMP_FILE, ShimConfig, Size},
        protocol::{ExitRecord, Reply, Request},
        rlimits,
    },
};
use async_trait::async_trait;
use engine::ports::{
    AdoptedTask, AttachRequest, ExecSpec, ExitStatus, LogPlan, ProcessInfo, RuntimeError, Stats, StdinWriter,
    Task, TaskStreams, TerminalSize,
};
use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use oci_spec::runtime as oci;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use tokio::{sync::watch, task::AbortHandle};

/// What an exit looks like when nobody recorded it: killed.
const KILLED: i32 = 137;

/// A process and where its shim answers. Dropping it leaves both alone.
#[derive(Debug)]
pub(super) struct ShimTask {
    places: Arc<Places>,
    id: String,
    exec_id: Option<String>,
    folder: PathBuf,
    pid: u32,
    cgroup: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
    watcher: AbortHandle,
}

impl Drop for ShimTask {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl ShimTask {
    /// Takes hold of a process whose shim is there, and waits for its end from now on.
    pub(super) fn open(
        places: Arc<Places>,
        id: String,
        exec_id: Option<String>,
        folder: PathBuf,
        pid: u32,
        cgroup: &Path,
    ) -> Arc<dyn Task> {
        let (sender, exit) = watch::channel(None);
        let watcher =
            tokio::spawn(watch_exit(folder.clone(), exec_id.is_none().then(|| cgroup.to_owned()), sender))
                .abort_handle();
        Arc::new(Self { places, id, exec_id, folder, pid, cgroup: cgroup.to_owned(), exit, watcher })
    }

    /// Asks the shim for something that is only done or failed.
    async fn ask(&self, request: &Request) -> Result<(), RuntimeError> {
        match connection::ask(&self.folder, request).await? {
            Some(Reply::Failed { message }) => Err(RuntimeError::System(message)),
            Some(_) => Ok(()),
            None => Err(RuntimeError::Exited),
        }
    }

    fn cgroup(&self) -> Cgroup {
        Cgroup::at(&self.cgroup)
    }

    async fn in_cgroup<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cgroup) -> io::Result<T> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let cgroup = self.cgroup();
        blocking(move || if cgroup.exists() { work(&cgroup).map(Some) } else { Ok(None) })
            .await?
            .map_err(|error| RuntimeError::System(error.to_string()))?
            .ok_or(RuntimeError::Exited)
    }
}

/// Finds out what became of the process of `folder`.
pub(super) async fn adopt(
    places: &Arc<Places>,
    id: &str,
    exec_id: Option<&str>,
    folder: PathBuf,
) -> Result<AdoptedTask, RuntimeError> {
    if let Some(record) = exit_record_of(folder.clone()).await? {
        return Ok(AdoptedTask::Exited(record.into()));
    }
    let config = {
        let folder = folder.clone();
        blocking(move || read_config(&folder))
            .await?
            .map_err(|error| RuntimeError::System(error.to_string()))?
    };
    let Some(config) = config else { return Ok(AdoptedTask::Gone) };
    match connection::ask(&folder, &Request::Wait).await? {
        Some(Reply::Created { pid }) => Ok(AdoptedTask::Running(ShimTask::open(
            Arc::clone(places),
            id.to_owned(),
            exec_id.map(str::to_owned),
            folder,
            pid,
            &config.cgroup,
        ))),
        Some(Reply::Exited(record)) => Ok(AdoptedTask::Exited(record.into())),
        _ => {
            // It may have ended between the two questions.
            if let Some(record) = exit_record_of(folder).await? {
                return Ok(AdoptedTask::Exited(record.into()));
            }
            if exec_id.is_none() {
                kill_orphans(&config.cgroup).await;
            }
            Ok(AdoptedTask::Gone)
        }
    }
}

/// A container without its shim has lost its stdio and its exit code; it must not go on unseen.
async fn kill_orphans(cgroup: &Path) {
    let cgroup = Cgroup::at(cgroup);
    let path = format!("{cgroup:?}");
    let killed = blocking(move || cgroup.kill()).await;
    if let Ok(Err(error)) = killed {
        tracing::warn!(cgroup = path, %error, "could not kill a container whose shim is gone");
    }
}

/// Stays connected to the shim until it reports the end, or is gone.
async fn watch_exit(folder: PathBuf, cgroup: Option<PathBuf>, sender: watch::Sender<Option<ExitStatus>>) {
    let told = async {
        let mut connection = Connection::open(&folder, &Request::Wait).await?;
        loop {
            match connection.reply().await? {
                Some(Reply::Exited(record)) => return Ok(Some(record)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    };
    let told: io::Result<Option<ExitRecord>> = told.await;
    let record = match told {
        Ok(Some(record)) => Some(record),
        Ok(None) | Err(_) => exit_record_of(folder).await.ok().flatten(),
    };
    let status = match record {
        Some(record) => record.into(),
        None => {
            if let Some(cgroup) = cgroup {
                kill_orphans(&cgroup).await;
            }
            ExitStatus { code: KILLED, oom_killed: false, finished_at: SystemTime::now() }
        }
    };
    sender.send_replace(Some(status));
}

#[async_trait]
impl Task for ShimTask {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn start(&self) -> Result<(), RuntimeError> {
        match connection::ask(&self.folder, &Request::Start).await? {
            Some(Reply::Done) => Ok(()),
            Some(Reply::Failed { message }) => {
                let prefix = if self.exec_id.is_some() { EXEC_PREFIX } else { CREATE_PREFIX };
                Err(refused(prefix, &message))
            }
            Some(other) => Err(RuntimeError::System(format!("unexpected answer to start: {other:?}"))),
            None => Err(RuntimeError::Exited),
        }
    }

    async fn attach(&self, request: AttachRequest) -> Result<TaskStreams, RuntimeError> {
        let AttachRequest { stdin, stdout, stderr } = request;
        let opened = async {
            let mut connection =
                Connection::open(&self.folder, &Request::Attach { stdin, stdout, stderr }).await?;
            let reply = connection.reply().await?;
            Ok::<_, io::Error>((connection, reply))
        };
        match opened.await {
            Ok((connection, Some(Reply::Attached { stdin }))) => {
                let Connection { reader, writer } = connection;
                if stdin {
                    let stdin: StdinWriter = Box::new(writer);
                    Ok(TaskStreams { output: connection::frames(reader, None), stdin: Some(stdin) })
                } else {
                    Ok(TaskStreams { output: connection::frames(reader, Some(writer)), stdin: None })
                }
            }
            Ok((_, Some(_) | None)) => Err(RuntimeError::Exited),
            Err(error) if connection::no_shim(&error) => Err(RuntimeError::Exited),
            Err(error) => Err(RuntimeError::System(format!("could not attach: {error}"))),
        }
    }

    async fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError> {
        self.ask(&Request::Resize { width: size.width, height: size.height }).await
    }

    async fn signal(&self, signal: i32) -> Result<(), RuntimeError> {
        match self.ask(&Request::Signal { signal }).await {
            Err(RuntimeError::Exited) => Ok(()),
            other => other,
        }
    }

    async fn kill_all(&self) -> Result<(), RuntimeError> {
        match self.in_cgroup(Cgroup::kill).await {
            Err(RuntimeError::Exited) => Ok(()),
            other => other,
        }
    }

    async fn freeze(&self, frozen: bool) -> Result<(), RuntimeError> {
        self.in_cgroup(move |cgroup| cgroup.freeze(frozen)).await
    }

    async fn wait(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        // The watcher always reports before it ends, unless the whole runtime is shutting down.
        ended.unwrap_or(ExitStatus { code: KILLED, oom_killed: false, finished_at: SystemTime::now() })
    }

    async fn exec(&self, exec_id: &str, mut process: ExecSpec) -> Result<Arc<dyn Task>, RuntimeError> {
        if self.exit.borrow().is_some() {
            return Err(RuntimeError::Exited);
        }
        let folder = self.places.exec(&self.id, safe_name(exec_id)?);
        let seccomp = self.places.container(&self.id).join(SECCOMP_FILE).exists();
        if seccomp {
            let_install_seccomp(&mut process.process);
        }
        let config = ShimConfig {
            id: self.id.clone(),
            exec: true,
            bundle: self.places.container(&self.id),
            state_root: self.places.state_root(),
            terminal: process.process.terminal().unwrap_or(false),
            size: process.terminal_size.map(Size::from),
            stdin: process.stdin,
            stdin_once: true,
            output: LogPlan::default(),
            uid: process.process.user().uid(),
            cgroup: self.cgroup.clone(),
            private_pids: true,
            devices: Vec::new(),
            no_oom_killer: false,
            seccomp,
            rlimits: rlimits::take(&mut process.process),
        };
        let write = {
            let folder = folder.clone();
            move || {
                make_folder(&folder)?;
                fs::write(folder.join(PROCESS_FILE), serde_json::to_vec(&process.process)?)?;
                write_config(&folder, &config)
            }
        };
        blocking(write)
            .await?
            .map_err(|error| RuntimeError::System(format!("could not write the process: {error}")))?;
        match spawn::spawn(self.places.executable(), &folder, EXEC_PREFIX).await {
            Ok(pid) => Ok(Self::open(
                Arc::clone(&self.places),
                self.id.clone(),
                Some(exec_id.to_owned()),
                folder,
                pid,
                &self.cgroup,
            )),
            Err(error) => {
                // The container's delete would take it along; the error is what matters.
                let _leftover = blocking(move || fs::remove_dir_all(folder)).await;
                Err(error)
            }
        }
    }

    async fn processes(&self) -> Result<Vec<ProcessInfo>, RuntimeError> {
        self.in_cgroup(|cgroup| process_list::read(cgroup.processes()?)).await
    }

    async fn stats(&self) -> Result<Stats, RuntimeError> {
        let pid = self.pid;
        self.in_cgroup(move |cgroup| stats::read(cgroup, pid)).await
    }

    async fn update(&self, resources: &oci::LinuxResources) -> Result<(), RuntimeError> {
        let (path, id, resources) = (self.cgroup.clone(), self.id.clone(), resources.clone());
        self.in_cgroup(move |_| {
            let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
            let config = CgroupConfig { cgroup_path: path, systemd_cgroup: false, container_name: id };
            let manager = create_cgroup_manager(config).map_err(|error| failed(&error))?;
            let options = ControllerOpt {
                resources: &resources,
                disable_oom_killer: false,
                oom_score_adj: None,
                freezer_state: None,
            };
            manager.apply(&options).map_err(|error| failed(&error))
        })
        .await
    }
}
