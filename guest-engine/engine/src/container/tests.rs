//! Containers against the in-memory adapters: what a client can rely on.

mod volumes;

use super::{
    Containers, CreateRequest, ImageLookup, ListFilter, ResolvedImage, Snapshot, Status, WaitCondition,
    logs::LogQuery,
};
use crate::{
    engine::Ports,
    error::{EngineError, ErrorKind, Result},
    events::Events,
    network::{BRIDGE_INTERFACE, Networks},
    ports::{AttachRequest, LayerStore, NoHost},
    testing::{MemoryLayers, MemoryLinks, MemoryRuntime, MemoryVolumes},
    volume::Volumes,
};
use async_trait::async_trait;
use bollard_stubs::models::{
    ContainerConfig, ExecConfig, HostConfig, ImageConfig, RestartPolicy, RestartPolicyNameEnum,
};
use futures_util::StreamExt;
use std::{path::Path, sync::Arc, time::Duration};

#[derive(Debug)]
struct OneImage;

#[async_trait]
impl ImageLookup for OneImage {
    async fn resolve(&self, reference: &str) -> Result<ResolvedImage> {
        if reference != "busybox" {
            return Err(EngineError::not_found(format!("No such image: {reference}:latest")));
        }
        Ok(ResolvedImage {
            id: "sha256:b0".into(),
            config: ImageConfig::default(),
            platform: crate::platform::Platform::of_machine(),
            diff_ids: Vec::new(),
        })
    }
}

struct World {
    root: tempfile::TempDir,
    runtime: MemoryRuntime,
    layers: Arc<MemoryLayers>,
    links: Arc<MemoryLinks>,
    store: Arc<MemoryVolumes>,
    volumes: Arc<Volumes>,
    events: Arc<Events>,
    containers: Containers,
}

async fn open(
    root: &Path,
    runtime: &MemoryRuntime,
    layers: &Arc<MemoryLayers>,
    links: &Arc<MemoryLinks>,
    store: &Arc<MemoryVolumes>,
    events: &Arc<Events>,
) -> (Containers, Arc<Volumes>) {
    let networks = Arc::new(
        Networks::open(root, links.clone(), Arc::new(NoHost), events.clone(), BRIDGE_INTERFACE)
            .await
            .unwrap(),
    );
    let volumes = Arc::new(Volumes::open(root, store.clone(), events.clone()).await.unwrap());
    let ports = Ports {
        runtime: Arc::new(runtime.clone()),
        layers: layers.clone(),
        files: layers.clone(),
        volumes: store.clone(),
        links: links.clone(),
        host_ports: Arc::new(NoHost),
    };
    let containers =
        Containers::open(root, ports, volumes.clone(), networks, events.clone(), Arc::new(OneImage)).await;
    (containers.unwrap(), volumes)
}

impl World {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let runtime = MemoryRuntime::default();
        let layers = Arc::new(MemoryLayers::default());
        let links = Arc::new(MemoryLinks::default());
        let events = Arc::new(Events::default());
        let store = Arc::new(MemoryVolumes::new(root.path()));
        let (containers, volumes) = open(root.path(), &runtime, &layers, &links, &store, &events).await;
        Self { root, runtime, layers, links, store, volumes, events, containers }
    }

    async fn create(&self, command: &str, host: HostConfig) -> String {
        let config = ContainerConfig {
            image: Some("busybox".into()),
            cmd: Some(command.split(' ').map(str::to_owned).collect()),
            open_stdin: Some(true),
            ..ContainerConfig::default()
        };
        let request = CreateRequest { config, host, ..CreateRequest::default() };
        self.containers.create(request).await.unwrap().id
    }

    async fn run(&self, command: &str, host: HostConfig) -> String {
        let id = self.create(command, host).await;
        self.containers.start(&id).await.unwrap();
        id
    }

    async fn ended(&self, id: &str) -> i32 {
        self.containers.wait(id, WaitCondition::NotRunning).unwrap().done().await.exit_code
    }

    fn see(&self, id: &str) -> Snapshot {
        self.containers.inspect(id).unwrap()
    }

    fn actions(&self) -> Vec<String> {
        self.events.subscribe().0.into_iter().map(|event| event.action).collect()
    }
}

fn policy(name: RestartPolicyNameEnum, most: i64) -> HostConfig {
    let policy = RestartPolicy { name: Some(name), maximum_retry_count: Some(most) };
    HostConfig { restart_policy: Some(policy), ..HostConfig::default() }
}

async fn eventually(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

const ALL: AttachRequest = AttachRequest { stdin: true, stdout: true, stderr: true };

#[tokio::test]
async fn run_rm_sees_the_first_byte_the_code_and_the_removal() {
    let world = World::new().await;
    let host = HostConfig { auto_remove: Some(true), ..HostConfig::default() };
    let id = world.create("echo hello", host).await;
    let attached = world.containers.attach(&id, ALL).await.unwrap();
    let waiting = world.containers.wait(&id, WaitCondition::Removed).unwrap();
    world.containers.start(&id).await.unwrap();
    let mut output = attached.connected().await.unwrap().output;
    assert_eq!(output.next().await.unwrap().unwrap().data, "hello\n");
    assert!(output.next().await.is_none());
    assert_eq!(waiting.done().await.exit_code, 0);
    assert_eq!(world.containers.inspect(&id).unwrap_err().to_string(), format!("No such container: {id}"));
    assert!(world.runtime.ids().is_empty() && world.links.sandboxes().is_empty());
    assert!(world.layers.rootfs_ids().await.unwrap().is_empty());
    assert!(!world.root.path().join("containers").join(&id).exists());
    assert_eq!(world.actions(), ["create", "attach", "connect", "start", "disconnect", "die", "destroy"]);
}

#[tokio::test]
async fn a_command_that_cannot_start_rolls_back() {
    let world = World::new().await;
    let id = world.create("nope", HostConfig::default()).await;
    let attached = world.containers.attach(&id, ALL).await.unwrap();
    let error = world.containers.start(&id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter);
    assert!(error.to_string().contains("exec: \"nope\": executable file not found in $PATH"), "{error}");
    assert!(attached.connected().await.is_none());
    let state = world.see(&id).record.state.clone();
    assert_eq!((state.status, state.exit_code), (Status::Created, 127));
    assert!(world.runtime.ids().is_empty() && world.links.sandboxes().is_empty());
}

#[tokio::test]
async fn names_conflict_until_they_are_free_and_ids_abbreviate() {
    let world = World::new().await;
    let request = |name: &str| CreateRequest {
        name: Some(name.into()),
        config: ContainerConfig {
            image: Some("busybox".into()),
            cmd: Some(vec!["true".into()]),
            ..ContainerConfig::default()
        },
        ..CreateRequest::default()
    };
    let id = world.containers.create(request("web")).await.unwrap().id;
    let error = world.containers.create(request("/web")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Conflict. The container name \"/web\" is already in use by container \"{id}\". You have to remove (or \
             rename) that container to be able to reuse that name."
        )
    );
    for key in ["web", "/web", &id, &id[..5]] {
        assert_eq!(world.see(key).record.id, id);
    }
    world.containers.rename("web", "db").await.unwrap();
    world.containers.create(request("web")).await.unwrap();
    world.containers.remove("db", false, false).await.unwrap();
    let missing = CreateRequest {
        config: ContainerConfig { image: Some("absent".into()), ..ContainerConfig::default() },
        ..CreateRequest::default()
    };
    assert_eq!(
        world.containers.create(missing).await.unwrap_err().to_string(),
        "No such image: absent:latest"
    );
}

#[tokio::test]
async fn stop_asks_then_kills() {
    let world = World::new().await;
    let polite = world.run("sleep", HostConfig::default()).await;
    world.containers.stop(&polite, None, None).await.unwrap();
    assert_eq!(world.see(&polite).record.state.exit_code, 143);
    let again = world.containers.stop(&polite, None, None).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotModified);
    let stubborn = world.run("stubborn", HostConfig::default()).await;
    world.containers.stop(&stubborn, None, Some(0)).await.unwrap();
    assert_eq!(world.see(&stubborn).record.state.exit_code, 137);
}

#[tokio::test]
async fn pause_holds_and_kill_still_works() {
    let world = World::new().await;
    let id = world.run("sleep", HostConfig::default()).await;
    world.containers.pause(&id).await.unwrap();
    assert_eq!(world.containers.pause(&id).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(world.see(&id).record.state.status, Status::Paused);
    world.containers.unpause(&id).await.unwrap();
    world.containers.pause(&id).await.unwrap();
    world.containers.kill(&id, None).await.unwrap();
    assert_eq!(world.ended(&id).await, 137);
    assert_eq!(world.containers.kill(&id, None).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn on_failure_restarts_so_often_and_a_stop_ends_always() {
    let world = World::new().await;
    let failing = world.run("false", policy(RestartPolicyNameEnum::ON_FAILURE, 2)).await;
    eventually(|| world.see(&failing).record.state.status == Status::Exited).await;
    assert_eq!(world.see(&failing).record.restarts, 2);
    let always = world.run("sleep 1", policy(RestartPolicyNameEnum::ALWAYS, 0)).await;
    eventually(|| world.see(&always).record.restarts > 0).await;
    world.containers.stop(&always, None, None).await.ok();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.see(&always).record.state.status, Status::Exited);
}

#[tokio::test]
async fn forced_removal_wins_against_the_restart_policy() {
    let world = World::new().await;
    for _ in 0..20 {
        let id = world.run("true", policy(RestartPolicyNameEnum::ALWAYS, 0)).await;
        world.containers.remove(&id, true, false).await.unwrap();
        assert!(world.containers.inspect(&id).is_err());
    }
}

#[tokio::test]
async fn restart_keeps_what_removes_itself() {
    let world = World::new().await;
    let host = HostConfig { auto_remove: Some(true), ..HostConfig::default() };
    let id = world.run("sleep", host).await;
    world.containers.restart(&id, None, None).await.unwrap();
    assert_eq!(world.see(&id).record.state.status, Status::Running);
    world.containers.stop(&id, None, None).await.unwrap();
    eventually(|| world.containers.inspect(&id).is_err()).await;
}

#[tokio::test]
async fn exec_runs_beside_and_tells_failures_in_its_stream() {
    let world = World::new().await;
    let id = world.run("sleep", HostConfig::default()).await;
    let exec = async |cmd: &str| {
        let config = ExecConfig {
            cmd: Some(cmd.split(' ').map(str::to_owned).collect()),
            attach_stdout: Some(true),
            ..ExecConfig::default()
        };
        world.containers.exec_create(&id, config).await.unwrap()
    };
    let hi = exec("echo hi").await;
    let mut output = world.containers.exec_start(&hi, false, None).await.unwrap().unwrap().streams.output;
    assert_eq!(output.next().await.unwrap().unwrap().data, "hi\n");
    eventually(|| world.containers.exec_inspect(&hi).unwrap().exit_code == Some(0)).await;
    assert_eq!(world.containers.exec_start(&hi, false, None).await.unwrap_err().kind(), ErrorKind::Conflict);
    let nope = exec("nope").await;
    let mut output = world.containers.exec_start(&nope, false, None).await.unwrap().unwrap().streams.output;
    let text = output.next().await.unwrap().unwrap().data;
    assert!(text.starts_with(b"OCI runtime exec failed") && text.ends_with(b"\r\n"));
    assert_eq!(world.containers.exec_inspect(&nope).unwrap().exit_code, Some(126));
    world.containers.kill(&id, None).await.unwrap();
    assert!(world.containers.exec_create(&id, ExecConfig::default()).await.is_err());
}

#[tokio::test]
async fn logs_replay_and_follow_to_the_end() {
    let world = World::new().await;
    let id = world.create("cat", HostConfig::default()).await;
    let attached = world.containers.attach(&id, ALL).await.unwrap();
    world.containers.start(&id).await.unwrap();
    let mut stdin = attached.connected().await.unwrap().stdin.unwrap();
    let query = LogQuery { stdout: true, stderr: true, follow: true, ..LogQuery::default() };
    let mut followed = world.containers.logs(&id, query).await.unwrap().frames;
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"one\n").await.unwrap();
    assert_eq!(followed.next().await.unwrap().unwrap()[0].data, "one\n");
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"two\n").await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stdin).await.unwrap();
    assert_eq!(followed.next().await.unwrap().unwrap()[0].data, "two\n");
    assert!(followed.next().await.is_none());
    let query = LogQuery { stdout: true, tail: Some(1), ..LogQuery::default() };
    let last: Vec<_> = world.containers.logs(&id, query).await.unwrap().frames.collect().await;
    assert_eq!((last.len(), &last[0].as_ref().unwrap()[0].data[..]), (1, &b"two\n"[..]));
    assert!(world.containers.logs(&id, LogQuery::default()).await.is_err());
}

#[tokio::test]
async fn a_new_engine_takes_over_what_runs_and_marks_what_died() {
    let world = World::new().await;
    let running = world.run("sleep", HostConfig::default()).await;
    let lost = world.run("sleep", HostConfig::default()).await;
    let always = world.run("sleep", policy(RestartPolicyNameEnum::UNLESS_STOPPED, 0)).await;
    let stopped = world.run("sleep", policy(RestartPolicyNameEnum::UNLESS_STOPPED, 0)).await;
    world.containers.stop(&stopped, None, None).await.unwrap();
    // The second engine sees what a crash of the first would have left: its tasks know nothing of it.
    world.runtime.lose(&lost);
    world.runtime.lose(&always);
    world.links.remove_sandbox_of(&[&lost, &always]);
    let (second, _) =
        open(world.root.path(), &world.runtime, &world.layers, &world.links, &world.store, &world.events)
            .await;
    second.settled(Duration::from_secs(10)).await;
    let status = |id: &str| second.inspect(id).unwrap().record.state.clone();
    assert_eq!(status(&running).status, Status::Running);
    assert_eq!((status(&lost).status, status(&lost).exit_code), (Status::Exited, 255));
    assert_eq!(status(&always).status, Status::Running);
    assert_eq!(status(&stopped).status, Status::Exited);
    second.kill(&running, None).await.unwrap();
    assert_eq!(second.wait(&running, WaitCondition::NotRunning).unwrap().done().await.exit_code, 137);
}

#[tokio::test]
async fn what_comes_back_with_the_engine_is_waited_for_by_an_exec() {
    let world = World::new().await;
    let id = world.run("sleep", policy(RestartPolicyNameEnum::ALWAYS, 0)).await;
    world.containers.shutdown().await;
    let (second, _) =
        open(world.root.path(), &world.runtime, &world.layers, &world.links, &world.store, &world.events)
            .await;
    assert_eq!(second.inspect(&id).unwrap().record.state.status, Status::Exited, "nothing has run yet");
    let config = ExecConfig { cmd: Some(vec!["true".to_owned()]), ..ExecConfig::default() };
    second.exec_create(&id, config.clone()).await.unwrap();
    second.stop(&id, None, None).await.unwrap();
    let refused = second.exec_create(&id, config).await.unwrap_err().to_string();
    assert_eq!(refused, format!("container {id} is not running"));
}

#[tokio::test]
async fn list_filters() {
    let world = World::new().await;
    let up = world.run("sleep", HostConfig::default()).await;
    let down = world.run("false", HostConfig::default()).await;
    world.ended(&down).await;
    let ids = async |filter: ListFilter| -> Vec<String> {
        world
            .containers
            .list(&filter)
            .await
            .unwrap()
            .into_iter()
            .map(|l| l.snapshot.record.id.clone())
            .collect()
    };
    let by = |key: &str, value: &str| ListFilter {
        filters: [(key.to_owned(), vec![value.to_owned()])].into(),
        ..ListFilter::default()
    };
    assert_eq!(ids(ListFilter::default()).await, std::slice::from_ref(&up));
    assert_eq!(ids(ListFilter { all: true, ..ListFilter::default() }).await, [down.clone(), up.clone()]);
    assert_eq!(
        ids(ListFilter { limit: Some(1), ..ListFilter::default() }).await,
        std::slice::from_ref(&down)
    );
    assert_eq!(ids(by("exited", "1")).await, std::slice::from_ref(&down));
    assert_eq!(ids(by("status", "running")).await, std::slice::from_ref(&up));
    assert_eq!(ids(by("name", "^/?nobody$")).await, Vec::<String>::new());
    assert!(world.containers.list(&by("status", "flying")).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_clients_leave_nothing_half_done() {
    let world = Arc::new(World::new().await);
    for round in 0..20 {
        let id = world
            .create("sleep", HostConfig { auto_remove: Some(round % 2 == 0), ..HostConfig::default() })
            .await;
        let race: Vec<_> = (0..6)
            .map(|n| {
                let (world, id) = (world.clone(), id.clone());
                tokio::spawn(async move {
                    let containers = &world.containers;
                    let done = match n % 3 {
                        0 => containers.start(&id).await,
                        1 => containers.stop(&id, None, Some(0)).await,
                        _ => containers.remove(&id, true, true).await,
                    };
                    if let Err(error) = done {
                        assert_ne!(error.kind(), ErrorKind::System, "{error}");
                    }
                })
            })
            .collect();
        for racer in race {
            racer.await.unwrap();
        }
        world.containers.remove(&id, true, true).await.ok();
        eventually(|| world.containers.inspect(&id).is_err()).await;
    }
    assert!(world.runtime.ids().is_empty() && world.links.sandboxes().is_empty());
    assert!(world.layers.rootfs_ids().await.unwrap().is_empty());
}
