//! Forwarded sockets and `docker system dial-stdio`.

use crate::fixture::{Fixture, end};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A server that answers each connection with what it got, after the client's end of input.
fn echo_after_end(listener: UnixListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                stream.write_all(&got).unwrap();
            });
        }
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// `ssh -N -L` and a connection through it once it listens.
fn forward(fixture: &Fixture, specification: &str, local: &std::path::Path) -> (Killed, UnixStream) {
    let ssh = fixture.ssh().args(["-N", "-L", specification, "root@127.0.0.1"]).spawn().unwrap();
    let ssh = Killed(ssh);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match UnixStream::connect(local) {
            Ok(stream) => return (ssh, stream),
            Err(_) => assert!(Instant::now() < deadline, "ssh does not listen"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_unix_socket_is_reached_and_half_closes() {
    let fixture = Fixture::start();
    echo_after_end(UnixListener::bind(fixture.path("remote.sock")).unwrap());
    let local = fixture.path("local.sock");
    let specification = format!("{}:{}", local.display(), fixture.path("remote.sock").display());
    let (_ssh, mut stream) = forward(&fixture, &specification, &local);
    let sent = vec![b'x'; 4_000_000];
    stream.write_all(&sent).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), sent.len());
}

#[test]
fn a_tcp_port_is_reached() {
    let fixture = Fixture::start();
    let remote = TcpListener::bind("127.0.0.1:0").unwrap();
    let specification =
        format!("{}:127.0.0.1:{}", fixture.path("local.sock").display(), remote.local_addr().unwrap().port());
    std::thread::spawn(move || remote.accept().unwrap().0.write_all(b"hello").unwrap());
    let (_ssh, mut stream) = forward(&fixture, &specification, &fixture.path("local.sock"));
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    assert_eq!(got, "hello");
}

#[test]
fn a_socket_without_a_listener_is_refused_at_once() {
    let fixture = Fixture::start();
    let local = fixture.path("local.sock");
    let specification = format!("{}:{}", local.display(), fixture.path("nobody.sock").display());
    let (_ssh, mut stream) = forward(&fixture, &specification, &local);
    let mut got = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.read_to_end(&mut got).unwrap();
    assert!(got.is_empty());
}

#[test]
fn a_silent_server_is_left_when_the_client_goes() {
    let fixture = Fixture::start();
    let listener = UnixListener::bind(fixture.path("remote.sock")).unwrap();
    let local = fixture.path("local.sock");
    let specification = format!("{}:{}", local.display(), fixture.path("remote.sock").display());
    let (ssh, _stream) = forward(&fixture, &specification, &local);
    let (mut server_side, _) = listener.accept().unwrap();
    drop(ssh);
    server_side.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(server_side.read(&mut [0; 1]).unwrap(), 0);
    // Not only half: whatever is written has nowhere to go.
    let deadline = Instant::now() + Duration::from_secs(10);
    while server_side.write_all(b"event").is_ok() {
        assert!(Instant::now() < deadline, "the connection is still held");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn docker_s_dial_stdio_is_the_engine_s_socket() {
    let fixture = Fixture::start();
    echo_after_end(UnixListener::bind(fixture.path("engine.sock")).unwrap());
    let mut ssh = fixture
        .ssh()
        .args(["-T", "root@127.0.0.1", "docker system dial-stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    ssh.stdin.take().unwrap().write_all(b"GET /_ping HTTP/1.1\r\n\r\n").unwrap();
    let output = ssh.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"GET /_ping HTTP/1.1\r\n\r\n");
}

#[test]
fn a_missing_engine_is_said_so() {
    let fixture = Fixture::start();
    let output = fixture.run("docker system dial-stdio");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("Could not connect to the engine at"));
}
