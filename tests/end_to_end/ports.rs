//! Published ports of a machine on the user's own loopback.

use anyhow::Result;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};
use tests::{Host, run::eventually};

/// A port of this host that nobody has at the moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn fetch(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.lines().last()?.to_owned())
}

#[test]
fn published_ports_are_on_the_users_loopback_while_the_container_runs() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("p")?;
    let tcp = free_port()?;
    let web = "mkdir /w; echo hello > /w/index.html; exec httpd -f -p 80 -h /w";
    let publish = format!("{tcp}:80");
    host.docker("p", &["run", "-d", "--name", "web", "-p", &publish, "busybox", "sh", "-c", web])?.ok()?;
    // Open before `docker run` returns; only the server inside may need a moment.
    drop(TcpStream::connect(("127.0.0.1", tcp))?);
    eventually("The web server answers", || Ok(fetch(tcp).as_deref() == Some("hello")))?;

    // Taken on this host: an error of the start, and nothing is left of it.
    let squatter = TcpListener::bind("127.0.0.1:0")?;
    let taken = squatter.local_addr()?.port();
    let publish = format!("{taken}:80");
    let refused = host.docker("p", &["run", "--rm", "-p", &publish, "busybox", "true"])?.fails(125)?;
    let expected = format!("listen tcp4 127.0.0.1:{taken}: bind: address already in use");
    assert!(refused.contains("Ports are not available") && refused.contains(&expected), "{refused}");
    drop(squatter);
    host.docker("p", &["run", "--rm", "-p", &publish, "busybox", "true"])?.ok()?;

    host.docker("p", &["rm", "-f", "web"])?.ok()?;
    assert!(TcpStream::connect(("127.0.0.1", tcp)).is_err(), "gone with the container");
    Ok(())
}
