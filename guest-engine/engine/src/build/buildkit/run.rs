//! `RUN` with its mounts: caches, secrets, agents and the files of others around a process over the stage.

use super::{Door, caches::Cache};
use crate::{
    build::{
        BuildFailure, Builder, Workspace, blocking,
        classic::container_config,
        front::{Front, Made, Process, Ran, Step},
        ignore::Ignore,
        mount::{BuildMount, MountKind, Owner},
        placing,
        stage::{Build, Source, State},
        transfer::discard,
    },
    container::Once,
    error::{EngineError, Result},
    id::random_id,
    image::config::digest,
    ports::{OutputFrame, StreamKind},
};
use bollard_stubs::models::{Mount, MountTmpfsOptions, MountType};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use std::{
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::UnixListener, sync::mpsc};

/// Frames of output that may wait for whoever watches.
const AHEAD: usize = 64;
/// Bytes of output that are shown of one step, as BuildKit does.
const SHOWN: usize = 2 << 20;
const CLIPPED: &[u8] = b"\n[output clipped, log limit 2MiB reached]\n";
/// What a step's machine is called, unless a build argument says otherwise.
const HOSTNAME: &str = "buildkitsandbox";
/// What exists in a container because something is mounted there, whatever the image says.
const ALWAYS: [&str; 7] =
    ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc", "/proc", "/sys", "/dev"];

/// What is around a process while it runs.
#[derive(Debug, Default)]
struct Around {
    mounts: Vec<Mount>,
    env: Vec<String>,
    /// Root filesystems that are mounted in it.
    rootfs: Vec<String>,
    caches: Vec<Cache>,
    /// Memory that secrets are in.
    secrets: Option<Workspace>,
    /// Agents, and the sockets that lead to them.
    agents: Vec<(String, UnixListener)>,
}

impl Door<'_> {
    pub(super) async fn run_process(
        &self,
        build: &Build<'_>,
        step: &Step,
        state: &State,
        process: Process,
    ) -> Result<Ran, BuildFailure> {
        let mut around = Around::default();
        let ran = self.run_around(build, step, state, process, &mut around).await;
        for id in around.rootfs {
            discard(&*build.builder.layers, &id).await;
        }
        ran
    }

    async fn run_around(
        &self,
        build: &Build<'_>,
        step: &Step,
        state: &State,
        process: Process,
        around: &mut Around,
    ) -> Result<Ran, BuildFailure> {
        if let Some((name, content)) = &process.script {
            let path = private_file(build.builder, around, name, content.as_bytes(), 0o755, (0, 0)).await?;
            around.mounts.push(bind(&path, &format!("/dev/pipes/{name}"), true));
        }
        for mount in &process.mounts {
            self.mount(build, step, mount, around).await?;
        }
        let network = process.network.clone();
        let shown = process.words.join(" ");
        let mut config = container_config(state, process)?;
        config.env.get_or_insert_default().append(&mut around.env);
        let hostname = self.argument("BUILDKIT_SANDBOX_HOSTNAME").unwrap_or(HOSTNAME);
        config.hostname = Some(hostname.to_owned());
        config.volumes = None;
        config.entrypoint = None;
        let mut host = build.request.host.clone();
        if let Some(mode) = network.filter(|mode| mode != "default") {
            host.network_mode = Some(mode);
        }
        host.mounts = Some(std::mem::take(&mut around.mounts));
        let mut once = build.builder.containers.once(&state.layers, config, host).await?;
        let ran = self.run_once(build, step, &mut once, around).await;
        once.discard().await;
        match ran {
            Err(failure) if !self.cancel.is_cancelled() => Err(EngineError::invalid(format!(
                "process {shown:?} did not complete successfully: {}",
                failure.error
            ))
            .into()),
            ran => ran,
        }
    }

    async fn run_once(
        &self,
        build: &Build<'_>,
        step: &Step,
        once: &mut Once,
        around: &Around,
    ) -> Result<Ran, BuildFailure> {
        let layers = &build.builder.layers;
        let targets: Vec<String> =
            once.host().mounts.iter().flatten().filter_map(|mount| mount.target.clone()).collect();
        let mut stubs = Vec::new();
        for target in targets.iter().map(String::as_str).chain(ALWAYS) {
            // And the folders that have to be made on the way there.
            let mut path = target;
            while path.len() > 1 && layers.locate(once.id(), path).await?.kind.is_none() {
                stubs.push(path.to_owned());
                path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            }
        }
        stubs.sort_by_key(|path| std::cmp::Reverse(path.len()));
        stubs.dedup();
        let (sender, frames) = mpsc::channel(AHEAD);
        let running = async {
            tokio::select! {
                status = once.run(sender, &self.cancel) => status,
                () = self.serve_agents(&around.agents) => Err(Build::gone().error),
            }
        };
        let (status, ()) = tokio::join!(running, self.show(step, frames));
        let code = status?.code;
        let mut made = Made::default();
        if code == 0 {
            layers.unmount_rootfs(once.id()).await?;
            layers.remove_stubs(once.id(), &stubs).await?;
            made.layer = Some(layers.commit_rootfs(once.id(), true).await?);
        }
        Ok(Ran { code, made })
    }

    async fn show(&self, step: &Step, mut frames: mpsc::Receiver<OutputFrame>) {
        let mut shown = 0;
        while let Some(frame) = frames.recv().await {
            let stream = match frame.stream {
                StreamKind::Stdout => 1,
                StreamKind::Stderr => 2,
            };
            let room = SHOWN - shown;
            let part = frame.data.slice(..frame.data.len().min(room));
            shown += part.len();
            if !part.is_empty() {
                self.with_task(step, |task| task.log(stream, part));
                if shown == SHOWN {
                    self.with_task(step, |task| task.log(stream, Bytes::from_static(CLIPPED)));
                }
            }
        }
    }

    /// Files of a stage, an image or a named folder for a cache that is new.
    async fn cache_begun_as(
        &self,
        build: &Build<'_>,
        step: &Step,
        from: &str,
        source: &str,
        around: &mut Around,
    ) -> Result<Begun, BuildFailure> {
        let files = build.source_of(step.stage, from).await?;
        let content = match &files {
            Source::Layers(layers) => layers.join(" "),
            Source::Files(tree) => {
                let tree = Arc::clone(tree);
                blocking(move || tree.checksum("", &Ignore::default())).await?
            }
        };
        let digest = digest(format!("{content} {source}").as_bytes());
        let (rootfs, _) = mounted(build.builder, files, around).await?;
        Ok(Begun { rootfs, path: format!("/{}", source.trim_start_matches('/')), digest })
    }

    async fn mount(
        &self,
        build: &Build<'_>,
        step: &Step,
        mount: &BuildMount,
        around: &mut Around,
    ) -> Result<(), BuildFailure> {
        let target = &mount.target;
        match &mount.kind {
            MountKind::Bind { from, source, writable } => {
                let source_of = match from {
                    Some(from) => build.source_of(step.stage, from).await?,
                    None => Source::Files(self.context(build, step).await?),
                };
                let path = shown_files(build.builder, source_of, source, around).await?;
                around.mounts.push(bind(&path, target, !writable));
            }
            MountKind::Cache { id, from, source, read_only, sharing, owner } => {
                let begun = match from {
                    Some(from) => Some(self.cache_begun_as(build, step, from, source, around).await?),
                    None => None,
                };
                // What it began as is part of what it is.
                let id = begun.as_ref().map_or_else(|| id.clone(), |begun| format!("{id}:{}", begun.digest));
                let cache = tokio::select! {
                    () = self.cancel.cancelled() => return Err(Build::gone()),
                    cache = build.builder.caches.open(&id, *sharing, *owner) => cache?,
                };
                if let Some(begun) = begun {
                    build.builder.layers.copy_out(&begun.rootfs, &begun.path, &cache.folder).await?;
                }
                around.mounts.push(bind(&cache.folder, target, *read_only));
                around.caches.push(cache);
            }
            MountKind::Tmpfs { size } => around.mounts.push(Mount {
                typ: Some(MountType::TMPFS),
                target: Some(target.clone()),
                tmpfs_options: size
                    .map(|size| MountTmpfsOptions { size_bytes: Some(size), ..MountTmpfsOptions::default() }),
                ..Mount::default()
            }),
            MountKind::Secret { id, file, env, required, owner } => {
                let Some(value) = self.client.secret(id).await? else {
                    if *required {
                        return Err(EngineError::invalid(format!("secret {id}: not found")).into());
                    }
                    return Ok(());
                };
                if let Some(name) = env {
                    around.env.push(format!("{name}={}", String::from_utf8_lossy(&value)));
                }
                if *file {
                    let name = format!("secret-{}", around.mounts.len());
                    let Owner { user, group, mode } = *owner;
                    let path =
                        private_file(build.builder, around, &name, &value, mode, (user, group)).await?;
                    let standard = format!("/run/secrets/{id}");
                    let target = if target.is_empty() { &standard } else { target };
                    around.mounts.push(bind(&path, target, true));
                }
            }
            MountKind::Ssh { id, required, owner } => {
                if !self.client.has_agent(id).await? {
                    if *required {
                        return Err(EngineError::invalid(format!(
                            "no SSH key {id:?} forwarded from the client"
                        ))
                        .into());
                    }
                    return Ok(());
                }
                let number = around.agents.len();
                let folder = secrets(build.builder, around).await?;
                let path = folder.join(format!("agent-{number}"));
                let standard = format!("/run/buildkit/ssh_agent.{number}");
                let target = if target.is_empty() { &standard } else { target };
                let listener = socket(&path, *owner)?;
                if number == 0 {
                    around.env.push(format!("SSH_AUTH_SOCK={target}"));
                }
                around.mounts.push(bind(&path, target, true));
                around.agents.push((id.clone(), listener));
            }
        }
        Ok(())
    }

    /// Connects whoever comes to a socket with the client's agent, for as long as anybody may come.
    async fn serve_agents(&self, agents: &[(String, UnixListener)]) {
        let serve = agents.iter().map(|(id, listener)| async move {
            let mut connections = FuturesUnordered::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => connections.push(self.client.agent(id, Box::new(stream))),
                        Err(error) => break tracing::warn!(%error, "An SSH agent is no longer forwarded"),
                    },
                    Some(Err(error)) = connections.next() => {
                        tracing::debug!(%error, "A connection to an SSH agent ended early");
                    }
                }
            }
        });
        join_all(serve).await;
        std::future::pending::<()>().await;
    }
}

/// A new cache's content.
struct Begun {
    rootfs: String,
    path: String,
    digest: String,
}

/// A root filesystem with the files of others, mounted as long as the step runs.
async fn mounted(
    builder: &Builder,
    source: Source,
    around: &mut Around,
) -> Result<(String, PathBuf), BuildFailure> {
    let (store, id) = (&builder.layers, random_id()?);
    let (layers, tree) = match source {
        Source::Layers(layers) => (layers, None),
        Source::Files(tree) => (Vec::new(), Some(tree)),
    };
    store.create_rootfs(&id, &layers).await?;
    around.rootfs.push(id.clone());
    let root = store.mount_rootfs(&id).await?;
    if let Some(tree) = tree {
        placing::pour(&**store, &id, tree).await?;
    }
    Ok((id, root))
}

/// Where the files of others are while a step sees them.
async fn shown_files(
    builder: &Builder,
    source: Source,
    path: &str,
    around: &mut Around,
) -> Result<PathBuf, BuildFailure> {
    let store = &builder.layers;
    let (id, root) = mounted(builder, source, around).await?;
    let located = store.locate(&id, path).await?;
    if located.kind.is_none() {
        return Err(EngineError::invalid(format!("mount source {path:?}: not found")).into());
    }
    Ok(root.join(located.path.trim_start_matches('/')))
}

/// A file in memory that only this build sees.
async fn private_file(
    builder: &Builder,
    around: &mut Around,
    name: &str,
    content: &[u8],
    mode: u32,
    owner: (u32, u32),
) -> Result<PathBuf> {
    let path = secrets(builder, around).await?.join(name);
    let failed = |e: io::Error| EngineError::system("Could not hand a file to a build step").because(e);
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    chown(&path, Some(owner.0), Some(owner.1)).map_err(failed)?;
    file.set_permissions(PermissionsExt::from_mode(mode)).map_err(failed)?;
    Ok(path)
}

async fn secrets<'a>(builder: &Builder, around: &'a mut Around) -> Result<&'a Path> {
    if around.secrets.is_none() {
        around.secrets = Some(builder.secret_workspace().await?);
    }
    let folder = around.secrets.as_ref().map(|folder| folder.0.as_path());
    folder.ok_or_else(|| EngineError::system("Could not make a folder for the build"))
}

fn socket(path: &Path, owner: Owner) -> Result<UnixListener> {
    let failed = |e: io::Error| EngineError::system("Could not forward an SSH agent").because(e);
    let listener = UnixListener::bind(path).map_err(failed)?;
    chown(path, Some(owner.user), Some(owner.group)).map_err(failed)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(owner.mode)).map_err(failed)?;
    Ok(listener)
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}
