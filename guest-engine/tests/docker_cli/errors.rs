//! What is unknown, unsupported, malformed or abusive.

use crate::support::Fixture;

#[tokio::test]
async fn what_docker_has_and_we_have_not_is_named() {
    let fixture = Fixture::start().await;
    let nodes = fixture.run(&["node", "ls"]).await;
    assert!(nodes.stderr.contains("This node is not a swarm manager."), "{}", nodes.stderr);
}

#[tokio::test]
async fn statuses_and_messages_are_dockerds() {
    let fixture = Fixture::start().await;
    for (request, status, message) in [
        ("GET /v1.45/nonsense", "404", "page not found"),
        ("PUT /version", "404", "page not found"),
        ("HEAD /version", "404", ""),
        (
            "GET /v1.99/version",
            "400",
            "client version 1.99 is too new. Maximum supported API version is 1.45",
        ),
        ("GET /v1.10/version", "400", "client version 1.10 is too old."),
        ("GET /images/json?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D", "400", "invalid filter 'bogus'"),
        ("GET /images/a/b/c/json", "404", "No such image: a/b/c:latest"),
        ("PUT /volumes/x", "501", "Cluster volumes are not supported by this engine"),
        ("GET /events?since=x", "400", "failed to parse"),
        ("GET /plugins", "200", "[]"),
    ] {
        let answer = fixture
            .raw(&format!("{request} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains(message), "{request}: {answer}");
        assert!(answer.contains("api-version: 1.45"), "{request}: {answer}");
    }
}

#[tokio::test]
async fn garbage_does_not_hurt_others() {
    let fixture = Fixture::start().await;
    assert!(fixture.raw("\0\0\0 what is this\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    drop(tokio::time::timeout(std::time::Duration::from_secs(5), fixture.raw(&endless)).await);
    assert_eq!(fixture.ok(&["images", "-q"]).await, "");
}
