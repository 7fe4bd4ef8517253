//! A server without IPv4, as Hetzner makes it: from `create` over a reboot to nothing left, and with everything that
//! has an address in it on the way.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{Read, Write},
    net::{Ipv6Addr, TcpListener, UdpSocket},
    sync::Arc,
    thread,
};
use tests::{
    FakeRegistry, Host, Network, artifacts,
    network::ADDRESS6,
    run::eventually,
    test_cloud::{
        DebianVms, Fake, TOKEN,
        hetzner::{PREFIX, Project, SPECIFICATION},
    },
};

#[test]
fn is_as_good_as_one_with_ipv4() -> Result<()> {
    let network = Arc::new(Network::new()?);
    let vms = Box::new(DebianVms::new(Some(Arc::clone(&network)))?.with_ipv6_only());
    let cloud =
        Fake::listening(network.listen("127.0.0.1:0")?, Project::on(vms), PREFIX, Some(&SPECIFICATION));
    let host = Host::in_network(Arc::clone(&network))?;
    let outside = Outside::open(&network)?;

    let url = cloud.url(PREFIX);
    let account = ["--hetzner-api-token", TOKEN, "--hetzner-endpoint", &url];
    let create =
        ["create", "-d", "hetzner", "--hetzner-disable-public-ipv4", "--engine-insecure-registry", REGISTRY];
    host.machine(&[&create[..], &account, &["box"]].concat())?.ok()?;

    // Everything that says where it is.
    let address = host.machine(&["ip", "box"])?.ok()?;
    ensure!(address.parse::<Ipv6Addr>().is_ok(), "{address}");
    let environment = host.machine(&["env", "--no-proxy", "box"])?.ok()?;
    assert!(environment.contains(&format!("NO_PROXY=\"{address}\"")), "{environment}");
    assert!(host.machine(&["url", "--tcp", "box"])?.ok()?.starts_with("tcp://127.0.0.1:"));
    let listed = host.machine(&["ls", "--format", "{{.Name}} {{.State}} {{.DockerVersion}}"])?.ok()?;
    assert!(listed.starts_with("box Running v"), "{listed}");
    let routes = host.machine(&["ssh", "box", "ip -4 route"])?.ok()?;
    assert!(!routes.contains("default"), "{routes}");
    let file = host.store().join("file");
    fs::write(&file, "from here")?;
    let path = file.display().to_string();
    host.machine(&["scp", &path, "box:/root/file"])?.ok()?;
    host.machine(&["scp", "box:/root/file", &format!("{path}.back")])?.ok()?;
    assert_eq!(fs::read_to_string(format!("{path}.back"))?, "from here");

    host.docker("box", &["version"])?.ok()?;
    host.docker("box", &["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    // The engine itself reaches others by name.
    host.docker("box", &["tag", "busybox", &format!("{REGISTRY}/busybox")])?.ok()?;
    host.docker("box", &["push", "-q", &format!("{REGISTRY}/busybox")])?.ok()?;
    // And so do containers, on the default network and on one of the user's.
    host.docker("box", &["network", "create", "mine"])?.ok()?;
    for on in ["bridge", "mine"] {
        let fetch = ["run", "--rm", "--network", on, "busybox", "wget", "-qO-", &format!("http://{NAME}/")];
        assert_eq!(host.docker("box", &fetch)?.ok()?, "hello", "on {on}");
    }

    let speaker = ["busybox", "sh", "-c", "while true; do echo hi | nc -l -p 80; done"];
    let web = ["run", "-d", "--name", "web", "--restart", "always", "-p", "18232:80"];
    host.docker("box", &[&web[..], &speaker].concat())?.ok()?;
    let published = || -> Result<()> {
        eventually("the port is here", || network.speaks("127.0.0.1:18232"))?;
        eventually("and there", || network.speaks(&format!("[{address}]:18232")))
    };
    published()?;

    borrowed(&host, &address)?;

    host.machine(&["restart", "box"])?.ok()?;
    assert_eq!(host.machine(&["ip", "box"])?.ok()?, address);
    published()?;
    host.machine(&["rm", "-y", "box"])?.ok()?;
    assert!(cloud.world(|project| project.servers.is_empty() && project.keys.is_empty()));
    drop(outside);
    Ok(())
}

/// The same host as one that is somebody's, who has been there before: its engine is used, and none installed.
fn borrowed(host: &Host, address: &str) -> Result<()> {
    let known = fs::read_to_string(host.folder("box").join("ssh_host_ed25519_key.pub"))?;
    let home = host.store().join("home/.ssh");
    fs::create_dir(&home)?;
    fs::write(home.join("known_hosts"), format!("{address} {known}"))?;
    let key = host.folder("box").join("id_ed25519").display().to_string();
    let create = ["create", "-d", "generic", "--generic-ip-address", address, "--generic-ssh-key", &key];
    let refused = host.machine(&[&create[..], &["own"]].concat())?.fails(1)?;
    assert!(refused.contains("The host belongs to another machine"), "{refused}");
    let engine = ["--generic-engine-socket", "/run/machine-engine/engine.sock", "lent"];
    host.machine(&[&create[..], &engine].concat())?.ok()?;
    assert_eq!(host.docker("lent", &["ps", "--format", "{{.Names}}"])?.ok()?, "web");
    host.machine(&["rm", "-y", "lent"])?.ok().map(drop)
}

/// By this name the outside is known there.
const NAME: &str = "outside.test";
const REGISTRY: &str = "outside.test:5000";

/// What is beyond the host: a name server, a web server and a registry. They end with the test.
struct Outside {
    _registry: FakeRegistry,
}

impl Outside {
    fn open(network: &Network) -> Result<Self> {
        let names = network.listen_for_datagrams(&format!("[{ADDRESS6}]:53"))?;
        thread::spawn(move || answer_names(&names));
        let web = network.listen(&format!("[{ADDRESS6}]:80"))?;
        thread::spawn(move || answer_web(&web));
        Ok(Self { _registry: FakeRegistry::start(network, &format!("[{ADDRESS6}]:5000"))? })
    }
}

/// Every name has one address, of IPv6.
fn answer_names(socket: &UdpSocket) -> Result<()> {
    let address: Ipv6Addr = ADDRESS6.parse()?;
    loop {
        let mut query = [0; 512];
        let (length, client) = socket.recv_from(&mut query)?;
        let name = query[12..length].iter().position(|byte| *byte == 0).context("no end of the name")?;
        let question = &query[12..12 + name + 5];
        let is_wanted = question.ends_with(&[0, 28, 0, 1]);
        let mut answer =
            [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_wanted), 0, 0, 0, 0], question].concat();
        if is_wanted {
            answer.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16]);
            answer.extend(address.octets());
        }
        socket.send_to(&answer, client)?;
    }
}

fn answer_web(listener: &TcpListener) -> Result<()> {
    loop {
        let (mut client, _) = listener.accept()?;
        // All of it is there at once.
        let _length = client.read(&mut [0; 1024])?;
        client.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
    }
}
