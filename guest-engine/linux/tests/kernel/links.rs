//! Bridges, sandboxes and translation, each test in a network namespace of its own.

use engine::ports::{BridgeSpec, EndpointSpec, LinkLayer, MacvlanMode, Plug};
use engine_linux::NetlinkLinks;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, netdevice, sendto, socket_with, sockopt,
};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddrV6, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Runs `test` on a thread with its own network; helpers it starts are born into the same one.
fn isolated(test: impl AsyncFnOnce(NetlinkLinks) + Send + 'static) {
    let worker = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let folder = tempfile::Builder::new().prefix("engine-linux-").tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(NetlinkLinks::new(folder.path())));
    });
    if let Err(panic) = worker.join() {
        std::panic::resume_unwind(panic);
    }
}

fn inside<T: Send + 'static>(path: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = path.to_owned();
    let worker = thread::spawn(move || {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    worker.join().unwrap()
}

fn bridge(name: &str, third: u8, masquerade: bool) -> BridgeSpec {
    BridgeSpec {
        name: name.to_owned(),
        addresses: vec![(Ipv4Addr::new(10, 99, third, 1).into(), 24)],
        masquerade,
        internal: false,
        mtu: None,
    }
}

fn endpoint(bridge: &str, third: u8, last: u8) -> EndpointSpec {
    EndpointSpec {
        plug: Plug::Bridge { name: bridge.to_owned(), isolated: false },
        interface: "eth0".to_owned(),
        addresses: vec![(Ipv4Addr::new(10, 99, third, last).into(), 24)],
        gateways: vec![Ipv4Addr::new(10, 99, third, 1).into()],
        mac: [0x02, 0x42, 10, 99, third, last],
    }
}

/// Whom a datagram from one sandbox to the other seems to come from.
fn seen_source(from: &Path, to: &Path, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = inside(to, move || {
        let socket = UdpSocket::bind((address, 5000)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket
    });
    inside(from, move || {
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        sender.send_to(b"hello", (address, 5000)).unwrap();
    });
    let (_, peer) = socket.recv_from(&mut [0; 16]).ok()?;
    match peer.ip() {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    }
}

async fn two_containers(links: &NetlinkLinks) -> (PathBuf, PathBuf) {
    links.ensure_bridge(&bridge("br-a", 1, true)).await.unwrap();
    links.ensure_bridge(&bridge("br-b", 2, false)).await.unwrap();
    let a = links.create_sandbox("aaa").await.unwrap();
    let b = links.create_sandbox("bbb").await.unwrap();
    links.join("aaa", &endpoint("br-a", 1, 2)).await.unwrap();
    links.join("bbb", &endpoint("br-b", 2, 2)).await.unwrap();
    (a, b)
}

/// An interface that is none of the engine's: the world outside.
fn outside(address: Ipv4Addr) -> PathBuf {
    let ip = |args: &str| {
        let status = std::process::Command::new("ip").args(args.split(' ')).status().unwrap();
        assert!(status.success(), "ip {args}");
    };
    let [a, b, c, _] = address.octets();
    ip("link add out0 type veth peer name out1");
    ip(&format!("addr add {a}.{b}.{c}.1/24 dev out0"));
    ip("link set out0 up");
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        sender.send(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid())).unwrap();
        // Lives as long as the test's process.
        thread::park();
    });
    let path = PathBuf::from(receiver.recv().unwrap());
    ip(&format!(
        "link set out1 netns {}",
        path.parent().unwrap().parent().unwrap().file_name().unwrap().display()
    ));
    inside(&path, move || {
        let ip = |args: &str| {
            assert!(
                std::process::Command::new("ip").args(args.split(' ')).status().unwrap().success(),
                "{args}"
            );
        };
        ip(&format!("addr add {address}/24 dev out1"));
        ip("link set out1 up");
        ip(&format!("route add default via {a}.{b}.{c}.1"));
    });
    path
}

#[test]
fn containers_reach_the_world_masqueraded_and_only_where_asked() {
    isolated(async |links| {
        let (a, b) = two_containers(&links).await;
        let world = Ipv4Addr::new(10, 99, 9, 9);
        let outside = outside(world);
        assert_eq!(seen_source(&a, &outside, world), Some(Ipv4Addr::new(10, 99, 9, 1)));
        assert_eq!(seen_source(&b, &outside, world), Some(Ipv4Addr::new(10, 99, 2, 2)));
        // Changed in place, and repeated.
        for _ in 0..2 {
            links.ensure_bridge(&bridge("br-a", 1, false)).await.unwrap();
        }
        assert_eq!(seen_source(&a, &outside, world), Some(Ipv4Addr::new(10, 99, 1, 2)));
        // Networks do not see each other, and nobody sees what is not published.
        assert_eq!(seen_source(&a, &b, Ipv4Addr::new(10, 99, 2, 2)), None);
        assert_eq!(seen_source(&outside, &b, Ipv4Addr::new(10, 99, 2, 2)), None);
        // Loopback is up.
        inside(&a, || UdpSocket::bind("127.0.0.1:0").unwrap().connect("127.0.0.1:9").unwrap());
        let routes = links.host_routes().await.unwrap();
        assert!(routes.contains(&(Ipv4Addr::new(10, 99, 1, 0), 24)), "{routes:?}");
        for id in ["aaa", "bbb"] {
            links.remove_sandbox(id).await.unwrap();
            links.remove_sandbox(id).await.unwrap();
        }
        assert!(links.sandbox_ids().await.unwrap().is_empty());
        for name in ["br-a", "br-b"] {
            links.remove_bridge(name).await.unwrap();
            links.remove_bridge(name).await.unwrap();
        }
        assert!(!interfaces().iter().any(|name| name.starts_with("br-")));
    });
}

#[test]
fn a_macvlan_is_on_the_parents_network() {
    isolated(async |links| {
        let world = Ipv4Addr::new(10, 99, 9, 9);
        let outside = outside(world);
        let sandbox = links.create_sandbox("aaa").await.unwrap();
        let plug = Plug::Macvlan { parent: "out0".to_owned(), mode: MacvlanMode::Bridge };
        let endpoint = EndpointSpec { plug, ..endpoint("", 9, 7) };
        links.join("aaa", &endpoint).await.unwrap();
        assert_eq!(seen_source(&sandbox, &outside, world), Some(Ipv4Addr::new(10, 99, 9, 7)));
        links.unplug("aaa", "eth0").await.unwrap();
        links.unplug("aaa", "eth0").await.unwrap();
        assert!(links.has_interface("out0").await.unwrap() && !links.has_interface("nope").await.unwrap());
        links.remove_sandbox("aaa").await.unwrap();
    });
}

/// What a router says to everybody by this interface: it is the way out.
fn announce(interface: &str) {
    let socket =
        socket_with(AddressFamily::INET6, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::ICMPV6));
    let socket = socket.unwrap();
    // Nobody listens to what may have come from farther away.
    sockopt::set_ipv6_multicast_hops(&socket, 255).unwrap();
    let index = netdevice::name_to_index(&socket, interface).unwrap();
    let everybody = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    let lifetime = 1800_u16.to_be_bytes();
    let message = [&[134, 0, 0, 0, 64, 0], &lifetime[..], &[0; 8]].concat();
    // Until its own address is one.
    let _not_yet = sendto(&socket, &message, SendFlags::empty(), &everybody);
}

#[test]
fn a_host_that_follows_a_router_does_so_still() {
    isolated(async |links| {
        let outside = outside(Ipv4Addr::new(10, 99, 9, 9));
        let switch = |name: &str| PathBuf::from("/proc/sys/net/ipv6/conf").join(name);
        fs::write(switch("all/forwarding"), "0").unwrap();
        fs::write(switch("out0/accept_ra"), "1").unwrap();
        assert!(!links.is_ipv6_only().await);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !links.is_ipv6_only().await {
            assert!(Instant::now() < deadline, "nobody follows the router");
            inside(&outside, || announce("out1"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut bridge = bridge("br-a", 1, true);
        bridge.addresses.push(("fd99::1".parse().unwrap(), 64));
        links.ensure_bridge(&bridge).await.unwrap();
        assert_eq!(fs::read_to_string(switch("all/forwarding")).unwrap().trim(), "1");
        assert!(links.is_ipv6_only().await, "the way out is lost");
    });
}

#[test]
fn a_sandbox_has_what_was_specified_and_leaves_nothing() {
    isolated(async |links| {
        let (a, _) = two_containers(&links).await;
        assert_eq!(links.create_sandbox("aaa").await.unwrap(), a);
        let mut ids = links.sandbox_ids().await.unwrap();
        ids.sort();
        assert_eq!(ids, ["aaa", "bbb"]);
        assert!(interfaces().iter().filter(|name| name.starts_with("veth")).count() == 2);
        // A second run of the same container while the first one's cable is still there.
        links.remove_sandbox("aaa").await.unwrap();
        let a = links.create_sandbox("aaa").await.unwrap();
        links.join("aaa", &endpoint("br-a", 1, 3)).await.unwrap();
        let routes = inside(&a, || fs::read_to_string("/proc/thread-self/net/route").unwrap());
        assert!(routes.lines().any(|line| line.starts_with("eth0\t00000000\t0101630A")), "{routes}");
        links.remove_sandbox("aaa").await.unwrap();
        links.remove_sandbox("bbb").await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while interfaces().iter().any(|name| name.starts_with("veth")) {
            assert!(Instant::now() < deadline, "the cables stay");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(links.join("aaa", &endpoint("br-a", 1, 2)).await.is_err());
        assert!(links.create_sandbox("../x").await.is_err());
    });
}

/// The figure for the record; natively the goal is 5 ms.
#[test]
fn plugging_in_takes_milliseconds() {
    isolated(async |links| {
        links.ensure_bridge(&bridge("br-a", 1, true)).await.unwrap();
        let mut times = Vec::new();
        for number in 0..11 {
            let id = format!("c{number}");
            let begun = Instant::now();
            links.create_sandbox(&id).await.unwrap();
            links.join(&id, &endpoint("br-a", 1, 10 + number)).await.unwrap();
            times.push(begun.elapsed());
            links.remove_sandbox(&id).await.unwrap();
        }
        times.sort();
        println!("sandbox and join: median {:?}, best {:?}", times[5], times[0]);
    });
}

fn interfaces() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}
