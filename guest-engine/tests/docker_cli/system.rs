//! What the engine says about itself.

use crate::support::Fixture;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test]
async fn version_and_info_are_understood() {
    let fixture = Fixture::start().await;
    let api = fixture.ok(&["version", "--format", "{{.Server.APIVersion}} {{.Server.MinAPIVersion}}"]).await;
    assert_eq!(api.trim(), "1.45 1.24");
    let info = fixture.ok(&["info"]).await;
    for expected in
        ["Storage Driver: overlay2", "Docker Root Dir:", "provider=memory", "Swarm: inactive", "Images: 0"]
    {
        assert!(info.contains(expected), "{expected} is missing in\n{info}");
    }
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]).await, "");
    assert_eq!(fixture.ok(&["ps", "-a", "-q"]).await, "");
    assert!(fixture.ok(&["network", "ls"]).await.contains("bridge"));
    fixture.ok(&["system", "df"]).await;
}

#[tokio::test]
async fn ping_has_dockerds_headers() {
    let fixture = Fixture::start().await;
    let answer = fixture.raw("GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nOK"), "{answer}");
    for header in [
        "api-version: 1.45",
        "ostype: linux",
        "server: Docker/",
        "docker-experimental: false",
        "swarm: inactive",
    ] {
        assert!(answer.contains(header), "{header} is missing in\n{answer}");
    }
    let head = fixture.raw("HEAD /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 0") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn events_arrive_as_they_happen_and_end_at_until() {
    let fixture = Fixture::start().await;
    let mut child = fixture
        .docker(&["events", "--filter", "type=image", "--format", "{{.Action}} {{.Actor.ID}}"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The subscription exists when the headers have left; the client does not say when it has them.
    tokio::time::sleep(Duration::from_millis(500)).await;
    fixture.load(&["busybox:latest"]).await;
    let line =
        tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.starts_with("load sha256:"), "{line}");
    child.kill().await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let until = (now + 1).to_string();
    let past = fixture
        .ok(&[
            "events",
            "--since",
            "1m",
            "--until",
            &until,
            "--format",
            "{{.Action}}",
            "--filter",
            "type=image",
        ])
        .await;
    assert_eq!(past, "load\n");
}
