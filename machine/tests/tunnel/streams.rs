//! What clients see of the tunnel.

use crate::{
    engine::Engine,
    server::{Machine, Server},
};
use guest_contract::paths::ENGINE_SOCKET;
use machine::{
    ssh::{Connector, SshError},
    tunnel::Tunnel,
};
use std::{path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// A tunnel that runs, the machine and the server it leads to.
struct Running {
    machine: Machine,
    server: Option<Server>,
    socket: PathBuf,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let machine = Machine::new();
        let server = Server::start(&machine.keys, &machine.engine).await;
        let tunnel =
            Tunnel::new(Connector::new(&server.access(None), &machine.directory).unwrap(), ENGINE_SOCKET);
        let socket = machine.root.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let serving = tokio::spawn(async move { tunnel.serve(listener, None).await });
        Self { machine, server: Some(server), socket, serving }
    }

    async fn client(&self, greeting: &str) -> UnixStream {
        let mut client = UnixStream::connect(&self.socket).await.unwrap();
        client.write_all(greeting.as_bytes()).await.unwrap();
        client.write_all(b"\n").await.unwrap();
        client
    }

    async fn echo(&self, text: &str) -> String {
        let mut answer = String::new();
        self.client(text).await.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    timeout(limit, what).await.expect("it hangs")
}

/// Longer than anything takes on a loaded machine, shorter than for ever.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_blocks_nobody_else() {
    let running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(running.client("flood").await);
    }
    // Long enough for every window and buffer on the way to fill up.
    sleep(Duration::from_millis(1500)).await;
    for _ in 0..10 {
        assert_eq!(within(SOON, running.echo("hello")).await, "hello");
    }
    // And the stalled one goes on where it stopped.
    let mut buffer = vec![0; 64 * 1024 * 1024];
    within(SOON * 3, stalled[0].read_exact(&mut buffer)).await.unwrap();
    assert!(buffer.iter().all(|byte| *byte == 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_end_of_input_reaches_the_engine_and_its_answer_comes_back() {
    let running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    let mut client = running.client("count").await;
    let body: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|number| (number % 251) as u8).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    within(SOON * 3, client.write_all(&body)).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    within(SOON * 3, client.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, format!("{} {sum}", body.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engines_end_of_output_reaches_the_client_which_may_still_send() {
    let running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    let saved = running.machine.root.path().join("saved");
    let mut client = running.client(&format!("save {}", saved.display())).await;
    let mut answer = String::new();
    within(SOON, client.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "go on");
    client.write_all(b"after the end").await.unwrap();
    client.shutdown().await.unwrap();
    within(SOON, async {
        while std::fs::read(&saved).unwrap_or_default() != b"after the end" {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_gone_for_a_silent_engine_too() {
    let running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    let left = running.machine.root.path().join("left");
    let client = running.client(&format!("wait {}", left.display())).await;
    sleep(Duration::from_millis(200)).await;
    assert!(!left.exists());
    drop(client);
    within(SOON, async {
        while !left.exists() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_at_once_and_connections_are_used_again() {
    let running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    let all = (0..50).map(|number| {
        let running = &running;
        async move {
            let text = format!("client {number}");
            assert_eq!(within(SOON * 6, running.echo(&text)).await, text);
        }
    });
    futures_util::future::join_all(all).await;
    let before = running.server.as_ref().unwrap().connections();
    for _ in 0..20 {
        running.echo("again").await;
    }
    let after = running.server.as_ref().unwrap().connections();
    assert!(after <= before + 8, "{before} connections, then {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_leaves_its_connection_to_the_clients() {
    let machine = Machine::new();
    let server = Server::start(&machine.keys, &machine.engine).await;
    let _engine = Engine::start(&machine.engine);
    let tunnel =
        Tunnel::new(Connector::new(&server.access(None), &machine.directory).unwrap(), ENGINE_SOCKET);
    tunnel.connect().await.unwrap();
    for _ in 0..3 {
        tunnel.ping().await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_waits_for_an_engine_that_restarts() {
    let running = Running::start().await;
    let early = running.client("early").await;
    sleep(Duration::from_millis(700)).await;
    let _engine = Engine::start(&running.machine.engine);
    let mut answer = String::new();
    let mut early = early;
    within(SOON, early.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "early");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_end_with_their_machine() {
    let mut running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    let saved = running.machine.root.path().join("never");
    let mut idle = running.client(&format!("wait {}", saved.display())).await;
    let mut busy = running.client("flood").await;
    let mut buffer = vec![0; 1024 * 1024];
    within(SOON, busy.read_exact(&mut buffer)).await.unwrap();
    drop(running.server.take());
    assert_eq!(within(SOON, idle.read_to_end(&mut buffer)).await.unwrap_or(0), 0);
    within(SOON, busy.read_to_end(&mut buffer)).await.ok();
    // A new client is told as well, after a few tries to reconnect.
    let mut late = running.client("hello").await;
    within(SOON * 2, late.read_to_end(&mut buffer)).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_key_is_refused() {
    let machine = Machine::new();
    let stranger = Machine::new();
    let mut keys = machine.keys.clone();
    keys.host_private = stranger.keys.host_private;
    let server = Server::start(&keys, &machine.engine).await;
    let error =
        Connector::new(&server.access(None), &machine.directory).unwrap().connect().await.unwrap_err();
    let SshError::HostKey { expected, offered } = &error else {
        panic!("{error:?}");
    };
    assert!(expected.starts_with("SHA256:") && offered.starts_with("SHA256:") && expected != offered);
    assert!(error.is_permanent());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_key_is_refused() {
    let machine = Machine::new();
    let mut keys = machine.keys.clone();
    keys.client_public = Machine::new().keys.client_public;
    let server = Server::start(&keys, &machine.engine).await;
    let error =
        Connector::new(&server.access(None), &machine.directory).unwrap().connect().await.unwrap_err();
    assert!(matches!(&error, SshError::Refused { user } if user == "root"), "{error:?}");
}
