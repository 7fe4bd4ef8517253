//! Published ports on this host, with an engine of the test's own that publishes them.

use crate::{engine::Engine, keeper::Scene};
use guest_contract::ports::{
    Errand, FRAME_HEADER, PortAnswer, PortNews, PortProtocol, PublishedPort, frame_header, parse_frame_header,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(20);

/// The keeper, as the engine sees it.
struct Keeper(BufReader<UnixStream>);

impl Keeper {
    /// The next that comes, and what for.
    async fn accept(listener: &UnixListener) -> (Self, Errand) {
        let (stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let mut keeper = Self(BufReader::new(stream));
        let errand = serde_json::from_str(&keeper.hear().await).unwrap();
        (keeper, errand)
    }

    async fn hear(&mut self) -> String {
        let mut line = String::new();
        timeout(SOON, self.0.read_line(&mut line)).await.unwrap().unwrap();
        line
    }

    async fn tell(&mut self, news: &PortNews) {
        let line = format!("{}\n", serde_json::to_string(news).unwrap());
        self.0.get_mut().write_all(line.as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, id: u64, port: PublishedPort) -> Option<String> {
        self.tell(&PortNews::Open { id, ports: vec![port] }).await;
        let answer: PortAnswer = serde_json::from_str(&self.hear().await).unwrap();
        assert_eq!(answer.id, id);
        answer.refused
    }
}

fn published(protocol: PortProtocol, port: u16) -> PublishedPort {
    PublishedPort { protocol, address: ([0, 0, 0, 0], port).into() }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

async fn greeting(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut heard = String::new();
    timeout(SOON, stream.read_to_string(&mut heard)).await??;
    Ok(heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_open_when_the_engine_says_and_a_taken_one_is_refused() {
    let scene = Scene::new("ports").await;
    let listener = UnixListener::bind(scene.machine.root.path().join("keeper.sock")).unwrap();
    let _engine = Engine::start(&scene.machine.engine);
    let keeper_task = scene.start();
    let guest = scene.ready_guest().await;

    let (mut keeper, errand) = Keeper::accept(&listener).await;
    assert_eq!(errand, Errand::Ports);
    let first = free_port().await;
    keeper.tell(&PortNews::All { ports: vec![published(PortProtocol::Tcp, first)] }).await;
    let second = free_port().await;
    assert_eq!(keeper.ask(1, published(PortProtocol::Tcp, second)).await, None);
    assert_eq!(greeting(first).await.unwrap(), format!("127.0.0.1:{first}\nhello"));
    assert_eq!(greeting(second).await.unwrap(), format!("127.0.0.1:{second}\nhello"));

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let squatter = TcpListener::bind(taken).await.unwrap();
    let refused = keeper.ask(2, published(PortProtocol::Tcp, taken.port())).await.unwrap();
    assert!(refused.ends_with(&format!("listen tcp4 {taken}: bind: address already in use")), "{refused}");
    drop(squatter);
    assert_eq!(keeper.ask(3, published(PortProtocol::Tcp, taken.port())).await, None);

    // A new engine says everything again; what it does not say is closed.
    drop(keeper);
    let (mut keeper, _) = Keeper::accept(&listener).await;
    assert_eq!(greeting(first).await.unwrap(), format!("127.0.0.1:{first}\nhello"), "open meanwhile");
    keeper.tell(&PortNews::All { ports: vec![published(PortProtocol::Tcp, second)] }).await;
    assert_eq!(keeper.ask(4, published(PortProtocol::Tcp, second)).await, None);
    assert!(greeting(first).await.is_err());
    keeper.tell(&PortNews::Close { ports: vec![published(PortProtocol::Tcp, second)] }).await;
    let third = free_port().await;
    assert_eq!(keeper.ask(5, published(PortProtocol::Tcp, third)).await, None);
    assert!(greeting(second).await.is_err());

    // The ports go with the machine.
    drop(guest);
    timeout(SOON, keeper_task).await.unwrap().unwrap().unwrap();
    assert!(greeting(third).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_of_many_clients_share_a_channel() {
    let scene = Scene::new("datagrams").await;
    let listener = UnixListener::bind(scene.machine.root.path().join("keeper.sock")).unwrap();
    let _engine = Engine::start(&scene.machine.engine);
    let _keeper_task = scene.start();
    let _guest = scene.ready_guest().await;
    let (mut keeper, _) = Keeper::accept(&listener).await;
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert_eq!(keeper.ask(1, published(PortProtocol::Udp, port)).await, None);

    let clients =
        [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    for (client, word) in clients.iter().zip(["one", "two"]) {
        client.connect(("127.0.0.1", port)).await.unwrap();
        client.send(word.as_bytes()).await.unwrap();
    }
    let (mut relay, errand) = Keeper::accept(&listener).await;
    assert_eq!(errand, Errand::Datagrams { to: SocketAddr::from(([127, 0, 0, 1], port)) });
    for _ in &clients {
        let mut header = [0; FRAME_HEADER];
        timeout(SOON, relay.0.read_exact(&mut header)).await.unwrap().unwrap();
        let (client, length) = parse_frame_header(header);
        let mut word = vec![0; usize::from(length)];
        relay.0.read_exact(&mut word).await.unwrap();
        let answer = [&frame_header(client, length + 1)[..], &word, b"!"].concat();
        relay.0.get_mut().write_all(&answer).await.unwrap();
    }
    for (client, word) in clients.iter().zip(["one!", "two!"]) {
        let mut answer = [0; 16];
        let length = timeout(SOON, client.recv(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer[..length], word.as_bytes());
    }
}
