//! What no client would send: the status and the words of dockerd where they are known (each was measured
//! against its 26.1.5), no crash, and nothing left behind.

use anyhow::{Context, Result};
use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::Duration,
};
use tests::{NativeEngine, request::request, run::eventually};

/// Sends bytes as they are, ends its side, and gives whatever comes back.
fn raw(engine: &NativeEngine, bytes: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(engine.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // An answer may come, and the connection go, before all of it is sent.
    let _refused_early = stream.write_all(bytes);
    let _gone_already = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn descriptors(engine: &NativeEngine) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", engine.pid().context("no engine")?))?.count())
}

fn mounts(engine: &NativeEngine) -> Result<usize> {
    Ok(fs::read_to_string(format!("/proc/{}/mountinfo", engine.pid().context("no engine")?))?.lines().count())
}

#[test]
fn bad_requests_get_dockerds_answers() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    let long = "a".repeat(300);
    let host = |field: &str| format!(r#"{{"Image":"busybox","HostConfig":{{{field}}}}}"#);
    let create = |body: &str| ("POST /containers/create?name=bad".to_owned(), body.to_owned());
    for ((head, body), status, message) in [
        (create(r#"{"Image":"busybox"} x"#), 400, "unexpected content after JSON"),
        (create("{\"Image\":"), 400, "invalid JSON: "),
        (create("[]"), 400, "invalid JSON: "),
        (create(&"[".repeat(100_000)), 400, "invalid JSON: "),
        (create(&"{\"HostConfig\":".repeat(20_000)), 400, "invalid JSON: "),
        (create(r#"{"Image":""}"#), 400, "no command specified"),
        (create(&host(r#""Memory":1e400"#)), 400, "invalid JSON: "),
        (create(&host(r#""Memory":99999999999999999999"#)), 400, "invalid JSON: "),
        (create(&host(r#""Memory":1"#)), 400, "Minimum memory limit allowed is 6MB"),
        (create(&host(r#""NanoCpus":999000000000"#)), 400, "Range of CPUs is from 0.01 to "),
        (create(&host(r#""ShmSize":-1"#)), 400, "SHM size can not be less than 0"),
        (
            create(&host(r#""OomScoreAdj":2000"#)),
            400,
            "Invalid value 2000, range for oom score adj is [-1000, 1000]",
        ),
        (
            create(&host(r#""RestartPolicy":{"Name":"bogus"}"#)),
            400,
            "invalid restart policy: unknown policy 'bogus'",
        ),
        (create(&host(r#""CgroupnsMode":"bogus""#)), 400, "invalid cgroup namespace mode: bogus"),
        (create(&host(r#""PidMode":"bogus""#)), 400, "invalid PID mode: bogus"),
        (create(&host(r#""Binds":["../x:/y"]"#)), 400, "includes invalid characters for a local volume name"),
        (create(&host(r#""Binds":["/tmp:/"]"#)), 400, "destination can't be '/'"),
        (create(&host(r#""Binds":["/tmp:/x","/tmp:/x"]"#)), 400, "Duplicate mount point: /x"),
        (create(&host(r#""PortBindings":{"bogus":[{}]}"#)), 400, "invalid port specification: \\\"bogus\\\""),
        (create(&host(r#""LogConfig":{"Type":"bogus"}"#)), 400, "error looking up logging plugin bogus"),
        (
            create(&host(r#""CapAdd":["BOGUS"]"#)),
            400,
            "invalid CapAdd: unknown capability: \\\"CAP_BOGUS\\\"",
        ),
        (("POST /containers/create?name=a/b".into(), host("")), 400, "Invalid container name (a/b)"),
        (("POST /containers/create?name=x".into(), host("")), 400, "Invalid container name (x)"),
        ((format!("GET /containers/{long}/json"), String::new()), 404, "No such container: aaa"),
        (("GET /containers/..%2f..%2fetc/json".into(), String::new()), 404, "No such container: ../../etc"),
        (("GET /images/BUSYBOX/json".into(), String::new()), 400, "must be lowercase"),
        (("GET /images/..%2f..%2fetc/json".into(), String::new()), 400, "invalid reference format"),
        (("POST /images/busybox/tag?repo=sha256&tag=x".into(), String::new()), 400, "ambiguous tag"),
        (("POST /images/busybox/tag?repo=x&tag=a%20b".into(), String::new()), 400, "invalid tag format"),
        (
            ("POST /volumes/create".into(), r#"{"Name":"../../etc"}"#.into()),
            400,
            "includes invalid characters",
        ),
        (("GET /volumes/..%2f..%2fetc".into(), String::new()), 404, "get ../../etc: no such volume"),
        (("POST /networks/create".into(), r#"{"Name":""}"#.into()), 400, "invalid name: "),
        (("DELETE /containers/box?link=1".into(), String::new()), 500, "cannot remove the default link name"),
        (("DELETE /containers/nobody?link=1".into(), String::new()), 404, "No such container: nobody"),
        (
            ("DELETE /containers/box".into(), String::new()),
            409,
            "stop the container before removing or force remove",
        ),
        (("POST /containers/box/kill?signal=BOGUS".into(), String::new()), 400, "invalid signal: BOGUS"),
        (
            ("POST /containers/box/rename".into(), String::new()),
            400,
            "Neither old nor new names may be empty",
        ),
        (("POST /containers/nobody/exec".into(), "{}".into()), 400, "No exec command specified"),
        (("POST /containers/nobody/update".into(), r#"{"Memory":1}"#.into()), 400, "Minimum memory limit"),
        (
            ("GET /containers/box/archive?path=../../../../nosuch".into(), String::new()),
            404,
            "Could not find the file",
        ),
        (
            ("GET /containers/json?filters=%7B%22health%22%3A%5B%22x%22%5D%7D".into(), String::new()),
            400,
            "unrecognized filter value for health: x",
        ),
        (
            ("POST /networks/bridge/disconnect".into(), r#"{"Container":"nobody","Force":true}"#.into()),
            404,
            "endpoint nobody not found",
        ),
        (("GET /v99/info".into(), String::new()), 400, "client version 99 is too new"),
        (("GET /v1/info".into(), String::new()), 400, "client version 1 is too old"),
        (("TRACE /info".into(), String::new()), 404, "page not found"),
    ] {
        let (got, answer) = request(&engine, &head, &body)?;
        let body: String = body.chars().take(100).collect();
        assert_eq!(got, status, "{head} {body}: {answer}");
        assert!(answer.contains(message), "{head} {body}: {answer}");
    }
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?.lines().count(), 1);
    Ok(())
}

#[test]
fn nonsense_on_the_wire_leaves_nothing_behind() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    request(&engine, "GET /containers/json", "")?;
    let (files, mounted) = (descriptors(&engine)?, mounts(&engine)?);
    let head = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: d\r\n{more}\r\n").into_bytes();
    let many = format!("X: {}\r\n", "y".repeat(2_000_000));
    let counted = "X: y\r\n".repeat(100_000);
    let json = "Content-Type: application/json\r\n";
    for bytes in [
        b"\0\x01\x02\xff\xfe\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /info HTTP/9.9\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0\x01\0".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        head("GET /info", &many),
        head("GET /info", &counted),
        head(&format!("GET /{}", "x".repeat(1_000_000)), ""),
        head("GET /%zz%00/json", ""),
        head("GET /containers/%00/json", ""),
        head("GET http://[::1/info", ""),
        head("POST /containers/create", "Content-Length: -1\r\n"),
        head("POST /containers/create", "Content-Length: 99999999999999999999\r\n"),
        head("POST /containers/create", &format!("{json}Content-Length: 18446744073709551615\r\n")),
        head("POST /containers/create", &format!("{json}Content-Length: 5\r\nContent-Length: 6\r\n")),
        [
            head("POST /containers/create", &format!("{json}Transfer-Encoding: chunked\r\n")),
            b"zz\r\n".to_vec(),
        ]
        .concat(),
        [
            head("POST /containers/create", &format!("{json}Transfer-Encoding: chunked\r\n")),
            b"ffffffffffffffff\r\nx".to_vec(),
        ]
        .concat(),
        [head("PUT /containers/box/archive?path=/tmp", "Content-Length: 4096\r\n"), vec![0xff; 700]].concat(),
        [head("POST /images/load", "Content-Length: 4096\r\n"), vec![0x1f, 0x8b, 8, 0, 1, 2, 3]].concat(),
        [head("POST /build", "Content-Length: 4096\r\n"), b"x".repeat(1000)].concat(),
        head(
            "POST /containers/box/attach?stream=1&stdin=1&stdout=1",
            "Upgrade: tcp\r\nConnection: Upgrade\r\n",
        ),
        head("POST /session", "Upgrade: h2c\r\nConnection: Upgrade\r\n"),
        head("POST /grpc", "Upgrade: h2c\r\nConnection: Upgrade\r\n"),
        head("GET /events", "Connection: close\r\n")[..20].to_vec(),
    ] {
        let answer = if bytes.starts_with(b"POST /containers/box/attach") {
            // Stays open as long as the container runs: gone without a word.
            UnixStream::connect(engine.socket())?.write_all(&bytes)?;
            String::new()
        } else {
            raw(&engine, &bytes)?
        };
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        // What streams its progress has said 200 before it knows better.
        let done = answer.starts_with("HTTP/1.1 20") && !answer.contains("\"error\":");
        assert!(!done, "{start}: {answer}");
        assert_eq!(request(&engine, "GET /_ping", "")?, (200, "OK".into()), "after {start}");
    }
    eventually("Descriptors are closed", || Ok(descriptors(&engine)? <= files + 2))?;
    assert_eq!(mounts(&engine)?, mounted);
    assert_eq!(engine.docker(&["ps", "-q"])?.ok()?.lines().count(), 1);
    assert_eq!(engine.docker(&["exec", "box", "echo", "fine"])?.ok()?, "fine");
    let log = fs::read_to_string(engine.log())?;
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}
