//! The TLS endpoint: who is let in, and that streams end there as they do on the socket.

use crate::{
    engine::Engine,
    server::{Machine, Server},
};
use guest_contract::paths::ENGINE_SOCKET;
use machine::{
    certificates::{CertificateFiles, Renew},
    endpoint::{TlsEndpoint, TlsError},
    ssh::Connector,
    tunnel::{Door, Tunnel},
};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
    task::JoinHandle,
    time::{sleep, timeout},
};

const SOON: Duration = Duration::from_secs(60);

struct Running {
    machine: Machine,
    _server: Server,
    files: CertificateFiles,
    endpoint: TlsEndpoint,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let machine = Machine::new();
        let server = Server::start(&machine.keys, &machine.engine).await;
        let tunnel =
            Tunnel::new(Connector::new(&server.access(None), &machine.directory).unwrap(), ENGINE_SOCKET);
        let files = CertificateFiles::in_store(machine.root.path());
        files.ensure(&machine.directory, &[], Renew::Nothing).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let folder = machine.directory.clone();
        let endpoint = TlsEndpoint {
            address,
            authority: folder.join("ca.pem"),
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            folder: folder.clone(),
        };
        let socket = UnixListener::bind(machine.root.path().join("docker.sock")).unwrap();
        let door = Door::new(listener, &folder);
        let serving = tokio::spawn(async move { tunnel.serve(socket, Some(&door)).await });
        Self { machine, _server: server, files, endpoint, serving }
    }

    async fn client(&self, greeting: &str) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let mut client = self.endpoint.connect().await.unwrap();
        client.write_all(format!("{greeting}\n").as_bytes()).await.unwrap();
        client
    }

    async fn echo(&self, text: &str) -> String {
        let mut answer = String::new();
        self.client(text).await.read_to_string(&mut answer).await.ok();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_the_certificates_is_served() {
    let running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    assert_eq!(timeout(SOON, running.echo("hello")).await.unwrap(), "hello");
    // New certificates count at once, without a new keeper; the old ones no longer do.
    let old = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let to = old.path().join(name);
        std::fs::copy(running.machine.directory.join(name), &to).unwrap();
        to
    };
    let old = TlsEndpoint {
        authority: copy("ca.pem"),
        certificate: copy("cert.pem"),
        key: copy("key.pem"),
        ..running.endpoint.clone()
    };
    running.files.ensure(&running.machine.directory, &[], Renew::All).unwrap();
    assert_eq!(timeout(SOON, running.echo("again")).await.unwrap(), "again");
    assert!(matches!(old.connect().await, Err(TlsError::Io(_))), "the server is not the one it knew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_not_let_in() {
    let running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    // Somebody with certificates of another store, who trusts ours.
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir(other.path().join("m")).unwrap();
    let folder = other.path().join("m");
    CertificateFiles::in_store(other.path()).ensure(&folder, &[], Renew::Nothing).unwrap();
    let stranger = TlsEndpoint {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
        ..running.endpoint.clone()
    };
    // With TLS 1.3 the client learns of it when it reads.
    let mut answer = Vec::new();
    if let Ok(mut client) = stranger.connect().await {
        client.write_all(b"hello\n").await.ok();
        client.read_to_end(&mut answer).await.ok();
    }
    assert_eq!(answer, b"");
    // Somebody without TLS hears of TLS and nothing else.
    let mut plain = TcpStream::connect(&running.endpoint.address).await.unwrap();
    plain.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").await.unwrap();
    timeout(SOON, plain.read_to_end(&mut answer)).await.unwrap().ok();
    assert!(!String::from_utf8_lossy(&answer).contains("GET"), "{answer:?}");
    // Somebody who says nothing keeps nobody else out.
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(&running.endpoint.address).await.unwrap());
    }
    assert_eq!(timeout(SOON, running.echo("hello")).await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_as_they_do_on_the_socket() {
    let running = Running::start().await;
    let _engine = Engine::start(&running.machine.engine);
    let mut client = running.client("count").await;
    let body = vec![1; 4 * 1024 * 1024];
    timeout(SOON, client.write_all(&body)).await.unwrap().unwrap();
    // Go's `CloseWrite`: a message that ends the input, on a connection that stays open.
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(SOON, client.read_to_string(&mut answer)).await.unwrap().ok();
    assert_eq!(answer, format!("{} {}", body.len(), body.len()));

    let left = running.machine.root.path().join("left");
    let client = running.client(&format!("wait {}", left.display())).await;
    sleep(Duration::from_millis(200)).await;
    assert!(!left.exists());
    drop(client);
    let gone = async {
        while !left.exists() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, gone).await.expect("the engine learns that the client has left");
}
