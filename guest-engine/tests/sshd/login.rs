//! Who gets in and who does not.

use crate::fixture::Fixture;

#[test]
fn the_authorized_key_gets_in_and_another_does_not() {
    let fixture = Fixture::start();
    assert!(fixture.run("true").status.success());
    let refused = fixture.ssh_with_key("stranger_key").args(["root@127.0.0.1", "true"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Permission denied (publickey)"));
}

#[test]
fn only_root_exists() {
    let fixture = Fixture::start();
    let refused = fixture.ssh().args(["alice@127.0.0.1", "true"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(255));
}

#[test]
fn keys_are_read_for_each_connection() {
    let fixture = Fixture::start();
    std::fs::write(fixture.path("authorized_keys"), "").unwrap();
    assert_eq!(fixture.run("true").status.code(), Some(255));
}

#[test]
fn a_client_that_says_nothing_is_sent_away() {
    use std::io::Read;
    let fixture = Fixture::start();
    let started = std::time::Instant::now();
    let mut silent = std::net::TcpStream::connect(fixture.address()).unwrap();
    silent.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut banner = Vec::new();
    silent.read_to_end(&mut banner).unwrap();
    assert!(banner.starts_with(b"SSH-2.0-machine_"));
    assert!(started.elapsed() >= std::time::Duration::from_secs(9));
}
