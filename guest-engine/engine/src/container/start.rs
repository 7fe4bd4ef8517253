//! Starting: every step with its undo.
//!
//! root filesystem mounted → network namespace and address → files over `/etc` → specification → process
//! created → waiting clients connected → process let go → written down → told. A failure undoes what was
//! done and leaves the container as it was, with the reason.

use super::{
    Shared,
    actor::{Actor, runtime_failed},
    etc_files::{Resolvers, hosts},
    host_devices,
    links::Link,
    logs::driver,
    mounts::MountKind,
    propagation,
    record::Record,
    seccomp,
    spec::{self, Namespace, Surroundings, user::UserFiles},
    state::Status,
    volumes::{self, Sources},
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    network::{Endpoint, NetworkMode},
    ports::{Bundle, RuntimeError, SeccompPolicy, Task, TerminalSize},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

/// What moby puts before the OCI runtime's own sentence when a process could not be created.
const CREATE_FAILED: &str = "failed to create task for container: failed to create shim task: OCI runtime create \
                             failed: unable to start container process: ";

/// How many containers may borrow a network namespace from each other in a row.
const LONGEST_CHAIN: usize = 16;

impl Actor {
    /// Brings the process up, from created, exited or restarting.
    pub(super) async fn start(&mut self) -> Result<()> {
        if self.shared.shutting_down.load(Ordering::Relaxed) {
            return Err(EngineError::new(ErrorKind::Unavailable, "The engine is shutting down"));
        }
        match self.launch().await {
            Ok(task) => {
                let state = &mut self.record.state;
                state.pid = task.pid();
                state.started_at = Some(SystemTime::now());
                state.exit_code = 0;
                state.error.clear();
                state.oom_killed = false;
                self.forget_health();
                self.move_to(Status::Running);
                self.watch_task(task);
                if let Err(error) = self.persist().await {
                    self.undo().await;
                    return Err(error);
                }
                self.shared.announce(&self.record, "start", &[]);
                self.watch_health();
                self.show();
                Ok(())
            }
            Err(error) => {
                // Whoever waited for this start sees its stream end.
                self.waiters.clear();
                self.release(false).await;
                self.record.state.exit_code = exit_code_of(&error.to_string());
                self.record.state.error = error.to_string();
                self.keep_and_announce().await;
                Err(error)
            }
        }
    }

    /// The process runs but could not be written down: it must not run.
    async fn undo(&mut self) {
        if let Some(task) = self.task.take()
            && let Err(error) = task.kill_all().await
        {
            tracing::warn!(%error, container = self.record.id, "Process could not be killed");
        }
        self.release(false).await;
        self.record.state.status = Status::Exited;
        self.record.state.exit_code = 128;
        self.show();
    }

    async fn launch(&mut self) -> Result<Arc<dyn Task>> {
        let shared = self.shared.clone();
        let bundle = shared.bundle(&mut self.record).await?;
        self.publish().await?;
        let task = shared.runtime.create(bundle).await.map_err(start_failed)?;
        for waiter in std::mem::take(&mut self.waiters) {
            if !waiter.is_gone() {
                let streams = task.attach(waiter.request).await.map_err(runtime_failed)?;
                waiter.deliver(streams);
            }
        }
        task.start().await.map_err(start_failed)?;
        Ok(task)
    }
}

impl Shared {
    /// Mounts the root filesystem, joins the network and says what is to run. What that leaves is taken back
    /// by whoever asked, also after a failure.
    pub(super) async fn bundle(&self, record: &mut Record) -> Result<Bundle> {
        let id = record.id.clone();
        let rootfs = self.layers.mount_rootfs(&id).await?;
        let mode = NetworkMode::parse(record.host.network_mode.as_deref().unwrap_or_default())?;
        // One without networking has a namespace with nothing but a loopback in it.
        let mode = match record.config.network_disabled {
            Some(true) => NetworkMode::None,
            _ => self.owner_of_network(&mode)?,
        };
        let hostname = record.hostname();
        let joined = self.networks.join(record.guest(&hostname), &mode).await?;
        record.attached = joined.endpoints;
        let network = joined.sandbox.map_or(Namespace::Host, Namespace::Join);

        let folder = self.folder(&id);
        let etc = match &mode {
            // Who shares a network shares its names.
            NetworkMode::Container(other) => self.folder(other),
            _ => {
                self.write_etc_files(record, &folder).await?;
                folder.clone()
            }
        };
        make_bind_sources(record).await?;
        propagation::check(record).await?;
        let sources = self.mount_volumes(record).await?;
        self.make_working_dir(record, &rootfs, &sources).await?;
        let spec = self.specification(record, &rootfs, &etc, network, sources).await?;
        let size = record.host.console_size.as_deref().and_then(console_size);
        Ok(Bundle {
            id: id.clone(),
            seccomp: seccomp_policy(record, &spec).await?,
            spec,
            stdin: record.config.open_stdin.unwrap_or(false),
            stdin_once: record.config.stdin_once.unwrap_or(false),
            log: driver::plan(record, &folder)?,
            terminal_size: size.filter(|_| record.terminal()),
        })
    }

    /// Follows `container:` to the container that owns the namespace.
    fn owner_of_network(&self, mode: &NetworkMode) -> Result<NetworkMode> {
        let mut mode = mode.clone();
        for _ in 0..LONGEST_CHAIN {
            let NetworkMode::Container(other) = &mode else { return Ok(mode) };
            let owner = self.index.find(other)?.record();
            if !owner.state.status.has_process() {
                return Err(EngineError::conflict(format!(
                    "cannot join network of a non running container: {}",
                    owner.id
                )));
            }
            match NetworkMode::parse(owner.host.network_mode.as_deref().unwrap_or_default())? {
                NetworkMode::Container(further) => mode = NetworkMode::Container(further),
                NetworkMode::Host => return Ok(NetworkMode::Host),
                NetworkMode::Bridge | NetworkMode::None | NetworkMode::User(_) => {
                    return Ok(NetworkMode::Container(owner.id.clone()));
                }
            }
        }
        Err(EngineError::invalid("Containers share each other's network in a circle"))
    }

    /// The folder that the process starts in is made where it is missing, also inside of a mount.
    async fn make_working_dir(&self, record: &Record, rootfs: &Path, sources: &Sources) -> Result<()> {
        let folder = Path::new(spec::working_dir(&record.config));
        if folder == Path::new("/") {
            return Ok(());
        }
        let below = record.mounts.iter().filter(|mount| folder.starts_with(&mount.destination));
        let Some(mount) = below.max_by_key(|mount| mount.destination.len()) else {
            return self.layers.make_folder(rootfs, folder).await;
        };
        match (volumes::source(mount, sources), folder.strip_prefix(&mount.destination)) {
            // Nothing is missing at the mount itself, and one that is read-only stays as it is.
            (Some(root), Ok(rest)) if !rest.as_os_str().is_empty() && !mount.read_only => {
                self.layers.make_folder(root, rest).await
            }
            _ => Ok(()),
        }
    }

    async fn write_etc_files(&self, record: &Record, folder: &Path) -> Result<()> {
        let host = &record.host;
        let gateway = self.networks.host_gateway().map(|address| address.to_string());
        let extra: Vec<(String, String)> = host
            .extra_hosts
            .iter()
            .flatten()
            .filter_map(|entry| entry.split_once(['=', ':']))
            .filter_map(|(name, address)| {
                let address = if address == "host-gateway" { gateway.clone()? } else { address.to_owned() };
                Some((name.to_owned(), address))
            })
            .chain(self.links(record)?.iter().map(Link::host))
            .collect();
        let hostname = record.hostname();
        let domain = record.config.domainname.as_deref().unwrap_or_default();
        let addresses: Vec<String> =
            record.attached.values().flat_map(Endpoint::addresses).map(|a| a.to_string()).collect();
        let text = match host.network_mode.as_deref() {
            // Who is on the host's network knows whom the host knows.
            Some("host") => tokio::fs::read_to_string("/etc/hosts").await.ok(),
            _ => None,
        };
        let hosts = hosts(text, (&hostname, domain), &addresses, &extra);
        write_file(&folder.join("hosts"), hosts).await?;
        write_file(&folder.join("hostname"), format!("{hostname}\n")).await?;
        self.write_resolvers(record).await
    }

    /// Writes `/etc/resolv.conf` where it lies, also of a running container.
    pub(super) async fn write_resolvers(&self, record: &Record) -> Result<()> {
        let host = &record.host;
        let (servers, search) = self.networks.host_resolvers().await?;
        let mut resolvers = Resolvers { servers, search, options: Vec::new() };
        if host.network_mode.as_deref() != Some("host") {
            let ipv6 = record.attached.values().any(|endpoint| endpoint.address6.is_some());
            resolvers = resolvers.reachable_from_elsewhere(ipv6);
        }
        for (own, asked) in [
            (&mut resolvers.servers, &host.dns),
            (&mut resolvers.search, &host.dns_search),
            (&mut resolvers.options, &host.dns_options),
        ] {
            if let Some(asked) = asked.as_ref().filter(|a| !a.is_empty()) {
                own.clone_from(asked);
            }
        }
        if record.has_name_service() {
            resolvers = resolvers.behind_our_own();
        }
        write_file(&self.folder(&record.id).join("resolv.conf"), resolvers.to_file()).await
    }

    async fn specification(
        &self,
        record: &Record,
        rootfs: &Path,
        etc: &Path,
        network: Namespace,
        sources: Sources,
    ) -> Result<oci_spec::runtime::Spec> {
        let host = &record.host;
        let user = self.lookup_user(record, record.config.user.as_deref().unwrap_or_default()).await?;
        let mut devices = host_devices::mapped(host.devices.as_deref().unwrap_or_default())?;
        if host.privileged.unwrap_or(false) {
            let mut every = host_devices::every_device();
            // Only what is to be seen at another path is new.
            devices.retain(|device| every.iter().all(|known| known.path != device.path));
            every.append(&mut devices);
            devices = every;
        }
        let surroundings = Surroundings {
            rootfs,
            folder: etc,
            user,
            devices,
            grantable: host_devices::grantable(),
            network,
            pid: self.namespace_of(host.pid_mode.as_deref(), "pid")?,
            ipc: self.namespace_of(host.ipc_mode.as_deref(), "ipc")?,
            links: self.links(record)?.iter().flat_map(|link| link.environment(&record.name)).collect(),
            sources,
            init: match host.init.unwrap_or(false) {
                true => Some(self.runtime.init_program().await.map_err(runtime_failed)?),
                false => None,
            },
        };
        spec::build(record, &surroundings)
    }

    /// Who `user` is inside the container.
    pub(super) async fn lookup_user(&self, record: &Record, user: &str) -> Result<spec::user::ResolvedUser> {
        let read = async |path: &str| -> Result<String> {
            let bytes = self.layers.read_file(&record.id, path).await?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (passwd, group) = (read("/etc/passwd").await?, read("/etc/group").await?);
        let files = UserFiles { passwd: &passwd, group: &group };
        spec::user::resolve(user, record.host.group_add.as_deref().unwrap_or_default(), files)
    }

    fn namespace_of(&self, mode: Option<&str>, kind: &str) -> Result<Namespace> {
        match mode.unwrap_or_default() {
            "host" => Ok(Namespace::Host),
            mode => match mode.strip_prefix("container:") {
                None => Ok(Namespace::Private),
                Some(other) => {
                    let owner = self.index.find(other)?.record();
                    if owner.state.pid == 0 {
                        return Err(EngineError::conflict(format!(
                            "cannot join {} of a non running container: {}",
                            kind.to_uppercase(),
                            owner.id
                        )));
                    }
                    let private = matches!(owner.host.ipc_mode.as_deref(), Some("private" | "none"));
                    if kind == "ipc" && private {
                        return Err(EngineError::invalid(format!(
                            "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                            owner.id
                        )));
                    }
                    Ok(Namespace::Join(PathBuf::from(format!("/proc/{}/ns/{kind}", owner.state.pid))))
                }
            },
        }
    }
}

/// What the container may ask of the kernel, given the capabilities it keeps.
async fn seccomp_policy(record: &Record, spec: &oci_spec::runtime::Spec) -> Result<Option<SeccompPolicy>> {
    let capabilities = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let kept = capabilities.and_then(|sets| sets.bounding().clone()).unwrap_or_default();
    let kernel = tokio::fs::read_to_string("/proc/sys/kernel/osrelease").await.unwrap_or_default();
    seccomp::policy(&record.host, &kept, &kernel)
}

/// Sources of `-v` that do not exist become folders; those of `--mount` must exist.
async fn make_bind_sources(record: &Record) -> Result<()> {
    for mount in &record.mounts {
        let MountKind::Bind(bind) = &mount.kind else { continue };
        let exists = tokio::fs::symlink_metadata(&bind.source).await.is_ok();
        if !exists && bind.create {
            make_folder(Path::new(&bind.source)).await?;
        } else if !exists {
            return Err(missing_source(&bind.source));
        }
    }
    Ok(())
}

/// 400 in moby's words.
pub(super) fn missing_source(source: &str) -> EngineError {
    EngineError::invalid(format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {source}"
    ))
}

async fn make_folder(path: &Path) -> Result<()> {
    tokio::fs::create_dir_all(path)
        .await
        .map_err(|e| EngineError::system(format!("Could not make folder {}", path.display())).because(e))
}

async fn write_file(path: &Path, text: String) -> Result<()> {
    tokio::fs::write(path, text)
        .await
        .map_err(|e| EngineError::system(format!("Could not write {}", path.display())).because(e))
}

/// `[height, width]` as the API has it.
pub(super) fn console_size(size: &[usize]) -> Option<TerminalSize> {
    match size {
        [height, width] if *height > 0 && *width > 0 => {
            Some(TerminalSize { width: u16::try_from(*width).ok()?, height: u16::try_from(*height).ok()? })
        }
        _ => None,
    }
}

/// Wraps the OCI runtime's sentence as moby does; what the user got wrong is a 400.
pub(super) fn start_failed(error: RuntimeError) -> EngineError {
    match error {
        RuntimeError::Start(text) => {
            let complete = text.starts_with("failed to create task for container");
            let message = as_moby(if complete { "" } else { CREATE_FAILED }, &text);
            match exit_code_of(&message) {
                126 | 127 => EngineError::invalid(message),
                _ => EngineError::system(message),
            }
        }
        RuntimeError::Exited => EngineError::system(format!("{CREATE_FAILED}process ended before it began")),
        RuntimeError::System(text) => EngineError::system(format!("{CREATE_FAILED}{text}")),
    }
}

/// The OCI runtime's sentence between what moby puts around it. A runtime that words it like dockerd itself
/// has no need of a prefix.
pub(super) fn as_moby(prefix: &str, text: &str) -> String {
    let text = text.strip_suffix(": unknown").unwrap_or(text);
    if text.contains("failed to initialize logging driver") {
        return text.to_owned();
    }
    let reason = if text.ends_with("is a directory") {
        ": permission denied"
    } else if text.contains("error mounting ") && text.ends_with("not a directory") {
        ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists \
         and is the expected type"
    } else {
        ""
    };
    format!("{prefix}{text}: unknown{reason}")
}

/// The code of a container that could not start; clients derive the same from the sentence.
pub(super) fn exit_code_of(message: &str) -> i32 {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["executable file not found", "no such file or directory", "not found in $PATH"]) {
        127
    } else if has(&["permission denied", "is a directory"]) {
        126
    } else {
        128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_decide_exit_codes() {
        for (text, code) in [
            ("exec: \"nope\": executable file not found in $PATH", 127),
            ("exec: \"/x\": stat /x: no such file or directory", 127),
            ("exec: \"/etc\": is a directory: unknown: permission denied", 126),
            ("exec: \"/etc/passwd\": permission denied", 126),
            ("cgroup is full", 128),
        ] {
            assert_eq!(exit_code_of(text), code, "{text}");
        }
        let error =
            start_failed(RuntimeError::Start("exec: \"nope\": executable file not found in $PATH".into()));
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
    }

    #[test]
    fn console_sizes() {
        assert_eq!(console_size(&[24, 80]), Some(TerminalSize { width: 80, height: 24 }));
        assert_eq!(console_size(&[0, 0]), None);
    }
}
