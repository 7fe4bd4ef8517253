//! Published ports, seen from the machine's own loopback, from other containers and from outside.

use anyhow::Result;
use std::{fs::File, net::UdpSocket, time::Duration};
use tests::{NativeEngine, run::eventually};

/// A web server whose port 80 is published, once it listens.
fn serve(engine: &NativeEngine, name: &str, options: &[&str]) -> Result<()> {
    let script = format!("mkdir /w; echo {name} > /w/index.html; exec httpd -f -p 80 -h /w");
    let args = [&["run", "-d", "--name", name], options, &["busybox", "sh", "-c", &script]].concat();
    engine.docker(&args)?.ok()?;
    let local = ["exec", name, "wget", "-T", "2", "-qO-", "http://127.0.0.1/"];
    eventually("The server listens", || Ok(engine.docker(&local)?.code == 0))
}

#[test]
fn the_machine_its_containers_and_ipv6_reach_a_published_port() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.in_its_network(&["ip", "link", "set", "lo", "up"])?;
    serve(&engine, "web", &["-p", "8080:80", "-p", "127.0.0.1:8081:80"])?;
    for url in
        ["http://127.0.0.1:8080/", "http://172.17.0.1:8080/", "http://[::1]:8080/", "http://127.0.0.1:8081/"]
    {
        eventually(url, || Ok(engine.in_its_network(&["wget", "-T", "2", "-qO-", url])? == "web"))?;
    }
    // Another network's containers go by the host; a binding to the loopback is not for them.
    engine.docker(&["network", "create", "other"])?.ok()?;
    let other = ["run", "--rm", "--network", "other", "busybox", "wget", "-T", "2", "-qO-"];
    let fetch = |url: &str| engine.docker(&[&other[..], &[url]].concat());
    assert_eq!(fetch("http://172.18.0.1:8080/")?.ok()?, "web");
    assert_ne!(fetch("http://172.18.0.1:8081/")?.code, 0);
    assert_ne!(fetch("http://172.17.0.2:80/")?.code, 0, "only what is published");
    let shown = engine.docker(&["ps", "--format", "{{.Ports}}"])?.ok()?;
    assert_eq!(shown, "0.0.0.0:8080->80/tcp, 127.0.0.1:8081->80/tcp, [::]:8080->80/tcp");
    engine.docker(&["rm", "-f", "web"])?.ok()?;
    assert_eq!(engine.in_its_network(&["wget", "-T", "2", "-qO-", "http://127.0.0.1:8080/"])?, "");
    Ok(())
}

/// Does `work` in the network namespace at `path`.
fn within<T: Send>(path: &str, work: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| -> Result<T> {
            nix::sched::setns(File::open(path)?, nix::sched::CloneFlags::CLONE_NEWNET)?;
            Ok(work()?)
        });
        worker.join().map_err(|_| anyhow::anyhow!("The thread inside {path} panicked"))?
    })
}

/// busybox has no server for datagrams: the test is one, inside the container.
fn serve_datagrams(engine: &NativeEngine, container: &str) -> Result<()> {
    let pid = engine.docker(&["inspect", "-f", "{{.State.Pid}}", container])?.ok()?;
    let server = within(&format!("/proc/{pid}/ns/net"), || UdpSocket::bind("0.0.0.0:9"))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        // A socket would keep the container's network alive.
        while let Ok((length, client)) = server.recv_from(&mut buffer)
            && &buffer[..length] != b"end"
        {
            drop(server.send_to(&buffer[..length], client));
        }
    });
    Ok(())
}

#[test]
fn datagrams_ranges_random_ports_and_all_exposed_ones() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.in_its_network(&["ip", "link", "set", "lo", "up"])?;
    engine.docker(&["run", "-d", "--name", "echo", "-p", "9000:9/udp", "busybox", "sleep", "1000"])?.ok()?;
    serve_datagrams(&engine, "echo")?;
    let own = format!("/proc/{}/ns/net", engine.pid().unwrap_or_default());
    for (local, address) in [("127.0.0.1:0", "127.0.0.1:9000"), ("[::1]:0", "[::1]:9000")] {
        let client = within(&own, || UdpSocket::bind(local))?;
        client.set_read_timeout(Some(Duration::from_secs(1)))?;
        client.connect(address)?;
        eventually(address, || {
            client.send(b"ping")?;
            let mut answer = [0; 8];
            Ok(client.recv(&mut answer).is_ok_and(|length| &answer[..length] == b"ping"))
        })?;
    }
    // Another container at another address takes over, from a client that never pauses.
    let client = within(&own, || UdpSocket::bind("127.0.0.1:0"))?;
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    client.connect("127.0.0.1:9000")?;
    let answers = || -> Result<bool> {
        client.send(b"ping")?;
        Ok(client.recv(&mut [0; 8]).is_ok())
    };
    eventually("The first container answers", answers)?;
    client.send(b"end")?;
    engine.docker(&["rm", "-f", "echo"])?.ok()?;
    assert!(!answers()?, "nobody is there");
    engine.docker(&["run", "-d", "--name", "filler", "busybox", "sleep", "1000"])?.ok()?;
    engine.docker(&["run", "-d", "--name", "other", "-p", "9000:9/udp", "busybox", "sleep", "1000"])?.ok()?;
    serve_datagrams(&engine, "other")?;
    eventually("The second container answers", answers)?;
    serve(&engine, "range", &["-p", "7000-7001:80-81", "-p", "127.0.0.1::82/udp"])?;
    let ports = engine.docker(&["port", "range"])?.ok()?;
    for expected in ["80/tcp -> 0.0.0.0:7000", "81/tcp -> [::]:7001", "82/udp -> 127.0.0.1:"] {
        assert!(ports.contains(expected), "{ports}");
    }
    serve(&engine, "all", &["-P", "--expose", "80", "--expose", "53/udp"])?;
    let ports = engine.docker(&["port", "all"])?.ok()?;
    assert!(ports.contains("80/tcp -> 0.0.0.0:") && ports.contains("53/udp -> [::]:"), "{ports}");
    let first = engine.docker(&["port", "all", "80"])?.ok()?;
    let url = format!("http://{}/", first.lines().next().unwrap_or_default());
    eventually("The random port answers", || Ok(engine.in_its_network(&["wget", "-qO-", &url])? == "all"))
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_stays_behind() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.in_its_network(&["ip", "link", "set", "lo", "up"])?;
    serve(&engine, "first", &["-p", "8080:80"])?;
    let taken =
        engine.docker(&["run", "--name", "second", "-p", "9999:1", "-p", "8080:80", "busybox", "true"])?;
    let taken = taken.fails(125)?;
    assert!(
        taken.contains("driver failed programming external connectivity on endpoint second (")
            && taken.contains("): Bind for 0.0.0.0:8080 failed: port is already allocated"),
        "{taken}"
    );
    // Another program of the machine has this one.
    let squatter =
        ["run", "-d", "--name", "squatter", "--network", "host", "busybox", "nc", "-l", "-p", "8090"];
    engine.docker(&squatter)?.ok()?;
    eventually("The port is named as taken", || {
        let run = engine.docker(&["run", "--rm", "-p", "8090:80", "busybox", "true"])?;
        let text = "listen tcp4 0.0.0.0:8090: bind: address already in use";
        Ok(run.code == 125 && run.stderr.contains(text))
    })?;
    engine.docker(&["rm", "-f", "first"])?.ok()?;
    engine.docker(&["start", "second"])?.ok()?;
    engine.docker(&["wait", "second"])?.ok()?;
    engine.docker(&["run", "--rm", "-p", "9999:1", "busybox", "true"])?.ok()?;
    Ok(())
}

#[test]
fn a_thousand_ports_are_published_and_closed() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    for _ in 0..2 {
        serve(&engine, "many", &["-p", "20000-20998:20000-20998", "-p", "20999:80"])?;
        assert_eq!(engine.docker(&["port", "many"])?.ok()?.lines().count(), 2000, "of both families");
        let page = engine.in_its_network(&["wget", "-T", "5", "-qO-", "http://172.17.0.1:20999/"])?;
        assert_eq!(page, "many");
        engine.docker(&["rm", "-f", "many"])?.ok()?;
    }
    Ok(())
}
