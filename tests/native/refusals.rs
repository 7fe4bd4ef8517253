//! What cannot be done is said, with dockerd's status, and never hangs.

use anyhow::Result;
use std::os::unix::net::UnixStream;
use tests::{NativeEngine, request::request};

#[test]
fn every_refusal_is_a_status_and_a_message() -> Result<()> {
    let engine = NativeEngine::start()?;
    for (head, body, status, message) in [
        ("GET /v1.45/nonsense", "", 404, "page not found"),
        ("GET /v9.99/info", "", 400, "client version 9.99 is too new. Maximum supported API version is"),
        ("GET /v1.10/info", "", 400, "client version 1.10 is too old. Minimum supported API version is 1.24"),
        ("GET /v1.45/services", "", 503, "This node is not a swarm manager."),
        ("POST /v1.45/containers/create", "{", 400, ""),
        ("POST /v1.45/containers/create", r#"{"Image":"x"} trailing"#, 400, ""),
        ("POST /v1.45/containers/create?name=a/b", r#"{"Image":"x"}"#, 400, "Invalid container name (a/b)"),
        ("POST /v1.45/containers/create", r#"{"Image":"x","Cmd":["y"]}"#, 404, "No such image: x:latest"),
        ("GET /v1.45/containers/nobody/json", "", 404, "No such container: nobody"),
        ("POST /v1.45/containers/nobody/start", "", 404, "No such container: nobody"),
        ("GET /v1.45/images/nothing/json", "", 404, "No such image: nothing"),
        (
            "GET /v1.45/containers/json?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D",
            "",
            400,
            "invalid filter 'bogus'",
        ),
    ] {
        let (got, answer) = request(&engine, head, body)?;
        assert_eq!(got, status, "{head}: {answer}");
        assert!(answer.contains(r#"{"message":""#) && answer.contains(message), "{head}: {answer}");
    }
    Ok(())
}

#[test]
fn what_is_not_honoured_yet_is_refused_by_name() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let ports = engine.docker(&["run", "--rm", "-p", "8080:80/sctp", "busybox", "true"])?;
    assert_ne!(ports.code, 0);
    assert!(ports.stderr.contains("Publishing SCTP ports is not supported"), "{}", ports.stderr);
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?, "", "nothing half-made");
    Ok(())
}

#[test]
fn a_flood_of_idle_connections_does_not_stop_service() -> Result<()> {
    let engine = NativeEngine::start()?;
    let idle: Vec<_> = (0..500).map(|_| UnixStream::connect(engine.socket())).collect::<Result<_, _>>()?;
    assert_eq!(request(&engine, "GET /_ping", "")?, (200, "OK".into()));
    drop(idle);
    Ok(())
}
