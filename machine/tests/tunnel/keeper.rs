//! A keeper's life, with a guest and an SSH server of the test's own.

use crate::{
    engine::Engine,
    guest::Guest,
    server::{Machine, Server},
};
use guest_contract::{GuestMessage, HostMessage, Phase, seed::EngineSettings};
use machine::keeper::{self, KeeperClient, KeeperError, KeeperPlan, KeeperStatus};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Scene {
    pub(crate) machine: Machine,
    server: Server,
    seed: UnixListener,
    plan: KeeperPlan,
}

impl Scene {
    pub(crate) async fn new(folder: &str) -> Self {
        let machine = Machine::within(folder);
        let server = Server::start(&machine.keys, &machine.engine).await;
        let path = machine.root.path().join("seed.sock");
        let seed = Guest::listen(&path);
        let plan = KeeperPlan {
            folders: Vec::new(),
            name: "dev".to_owned(),
            directory: machine.directory.clone(),
            machine_id: "id-1".to_owned(),
            access: server.access(Some(path)),
            engine: EngineSettings::default(),
        };
        Self { machine, server, seed, plan }
    }

    pub(crate) fn start(&self) -> JoinHandle<Result<(), KeeperError>> {
        tokio::spawn(keeper::run(self.plan.clone()))
    }

    fn directory(&self) -> &Path {
        &self.plan.directory
    }

    async fn client(&self) -> KeeperClient {
        timeout(SOON, async {
            loop {
                if let Some(client) = KeeperClient::connect(self.directory()).await.unwrap() {
                    return client;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap()
    }

    /// A guest that has been seeded and is ready.
    pub(crate) async fn ready_guest(&self) -> Guest {
        let mut guest = Guest::accept(&self.seed).await;
        assert!(matches!(guest.hear().await, HostMessage::Seed(_)));
        guest.phase(Phase::Ready).await;
        guest
    }
}

async fn ping(socket: PathBuf) -> String {
    let mut client = UnixStream::connect(socket).await.unwrap();
    client.write_all(b"GET /_ping HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guest_is_seeded_followed_and_served_and_the_sockets_go_with_it() {
    let scene = Scene::new("m").await;
    let keeper = scene.start();
    let mut guest = Guest::accept(&scene.seed).await;
    let HostMessage::Seed(seed) = guest.hear().await else { panic!("the seed comes first") };
    assert_eq!((seed.hostname.as_str(), seed.machine_id.as_str()), ("dev", "id-1"));
    assert_eq!(seed.authorized_keys, std::slice::from_ref(&scene.machine.keys.client_public));
    assert_eq!(seed.host_key, scene.machine.keys.host_private);
    assert!(seed.entropy.len() >= 44 && seed.time_unix_nanos > 1_700_000_000_000_000_000);

    let mut client = scene.client().await;
    let watching = tokio::spawn(async move {
        let mut phases = Vec::new();
        client.wait_ready(&mut |phase| phases.push(phase), SOON).await.map(|()| phases)
    });
    for phase in [Phase::Seeded, Phase::Network, Phase::Services] {
        guest.phase(phase).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(guest.hear().await, HostMessage::Time { .. }));
    guest.phase(Phase::Ready).await;
    // Ready is what answers, not what says so.
    sleep(Duration::from_millis(200)).await;
    assert!(!watching.is_finished());
    let _engine = Engine::start(&scene.machine.engine);
    let phases = timeout(SOON, watching).await.unwrap().unwrap().unwrap();
    assert!(phases.contains(&Phase::Network) && phases.is_sorted(), "{phases:?}");

    let socket = keeper::api_socket(scene.directory());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ping(socket.clone()).await.starts_with("HTTP/1.1 200"));
    let mut open = UnixStream::connect(&socket).await.unwrap();

    drop(guest);
    timeout(SOON, keeper).await.unwrap().unwrap().unwrap();
    assert!(!socket.exists());
    assert!(KeeperClient::connect(scene.directory()).await.unwrap().is_none());
    let mut rest = Vec::new();
    timeout(SOON, open.read_to_end(&mut rest)).await.unwrap().ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guests_own_words_reach_whoever_waits_at_once() {
    let scene = Scene::new("m").await;
    let _keeper = scene.start();
    let mut guest = Guest::accept(&scene.seed).await;
    let mut client = scene.client().await;
    let mut later = client.clone();
    let watching = tokio::spawn(async move { client.wait_ready(&mut |_| {}, SOON * 10).await });
    guest.hear().await;
    let message = "The data disk has no space left".to_owned();
    guest.say(&GuestMessage::Failed { phase: Phase::Disk, message: message.clone() }).await;
    let error = timeout(SOON, watching).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&error, KeeperError::Guest { phase: Phase::Disk, message: said } if *said == message));
    assert_eq!(later.status().await.unwrap(), KeeperStatus::Failed { phase: Phase::Disk, message });
    later.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_dies_on_its_way_up_is_reported() {
    let scene = Scene::new("m").await;
    let keeper = scene.start();
    let mut guest = Guest::accept(&scene.seed).await;
    let mut client = scene.client().await;
    let watching = tokio::spawn(async move { client.wait_ready(&mut |_| {}, SOON * 10).await });
    guest.hear().await;
    guest.phase(Phase::Network).await;
    sleep(Duration::from_millis(100)).await;
    drop(guest);
    let error = timeout(SOON, watching).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&error, KeeperError::Guest { phase: Phase::Network, .. }), "{error:?}");
    timeout(SOON, keeper).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_in_the_machines_place_is_reported_and_not_talked_to() {
    let mut scene = Scene::new("m").await;
    let mut keys = scene.machine.keys.clone();
    keys.host_private = Machine::new().keys.host_private;
    scene.server = Server::start(&keys, &scene.machine.engine).await;
    scene.plan.access.ssh = scene.server.endpoint();
    let _keeper = scene.start();
    let _guest = scene.ready_guest().await;
    let error = scene.client().await.wait_ready(&mut |_| {}, SOON).await.unwrap_err();
    assert!(error.to_string().contains("host key"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_has_an_end() {
    let scene = Scene::new("m").await;
    let _keeper = scene.start();
    let mut guest = Guest::accept(&scene.seed).await;
    guest.hear().await;
    guest.phase(Phase::Disk).await;
    sleep(Duration::from_millis(100)).await;
    let error = scene.client().await.wait_ready(&mut |_| {}, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, KeeperError::Timeout { phase: Phase::Disk, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_keeper_and_a_new_one_takes_over_from_a_killed_one() {
    let scene = Scene::new("m").await;
    let _engine = Engine::start(&scene.machine.engine);
    let first = scene.start();
    let guest = scene.ready_guest().await;
    scene.client().await.wait_ready(&mut |_| {}, SOON).await.unwrap();
    let second = timeout(SOON, scene.start()).await.unwrap().unwrap();
    assert!(matches!(second, Err(KeeperError::AlreadyRunning { .. })));
    assert!(ping(keeper::api_socket(scene.directory())).await.starts_with("HTTP/1.1 200"));

    // What `kill -9` leaves: stale sockets and a free lock. (An aborted task removes its sockets.)
    first.abort();
    _ = first.await;
    drop(guest);
    for name in ["keeper.sock", "docker.sock"] {
        drop(std::os::unix::net::UnixListener::bind(scene.directory().join(name)).unwrap());
    }
    assert!(KeeperClient::connect(scene.directory()).await.unwrap().is_none());
    let third = scene.start();
    let _guest = scene.ready_guest().await;
    let mut client = scene.client().await;
    client.wait_ready(&mut |_| {}, SOON).await.unwrap();
    assert!(ping(keeper::api_socket(scene.directory())).await.starts_with("HTTP/1.1 200"));
    client.stop().await.unwrap();
    timeout(SOON, third).await.unwrap().unwrap().unwrap();
    assert!(!keeper::api_socket(scene.directory()).exists());
    client.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deep_folder_is_served_as_well() {
    let scene = Scene::new(&format!("{}/{}", "deep".repeat(20), "folder".repeat(10))).await;
    let _engine = Engine::start(&scene.machine.engine);
    let _keeper = scene.start();
    let _guest = scene.ready_guest().await;
    let mut client = scene.client().await;
    client.wait_ready(&mut |_| {}, SOON).await.unwrap();
    let socket = keeper::api_socket(scene.directory());
    assert!(socket.as_os_str().len() <= 107 && !socket.starts_with(scene.directory()));
    assert!(ping(socket).await.starts_with("HTTP/1.1 200"));
    client.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_a_seed_channel_is_ready_when_it_answers() {
    let mut scene = Scene::new("m").await;
    scene.plan.access.seed_socket = None;
    let _engine = Engine::start(&scene.machine.engine);
    let _keeper = scene.start();
    let mut client = scene.client().await;
    client.wait_ready(&mut |_| {}, SOON).await.unwrap();
    client.stop().await.unwrap();
}
