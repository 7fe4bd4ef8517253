//! Every log driver: what arrives, what `docker logs` reads back, and what a dead server stalls.

use anyhow::{Context, Result};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    path::Path,
    time::Duration,
};
use tests::{
    NativeEngine,
    run::{command, eventually, run},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn log(engine: &NativeEngine, options: &[&str], script: &str) -> Result<()> {
    engine.docker(&[&["run", "--name", "box"], options, &["busybox", "sh", "-c", script]].concat())?.ok()?;
    Ok(())
}

/// Sockets of the file system reach through network namespaces, and the engine has one of its own.
fn datagrams(path: &Path) -> Result<UnixDatagram> {
    let socket = UnixDatagram::bind(path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[test]
fn json_files_rotate_compress_and_carry_attributes() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let rotation = ["--log-opt", "max-size=20k", "--log-opt", "max-file=4", "--log-opt", "compress=true"];
    let attributes = ["--log-opt", "labels=team", "--log-opt", "tag={{.Name}}", "--label", "team=a b"];
    let script = "seq 1 600; sleep 1; seq 601 1000; echo bad >&2";
    engine
        .docker(
            &[&["run", "-d", "--name", "box"], &rotation[..], &attributes, &["busybox", "sh", "-c", script]]
                .concat(),
        )?
        .ok()?;
    // Followed across every rotation, from the first line on.
    let followed = engine.docker(&["logs", "-f", "box"])?;
    let numbers = |text: &str| text.lines().map(str::parse).collect::<Result<Vec<u32>, _>>();
    let lines = numbers(&followed.stdout)?;
    assert_eq!(lines.last(), Some(&1000));
    assert!(lines.windows(2).all(|pair| pair[1] == pair[0] + 1), "no line is missing: {lines:?}");
    assert_eq!(followed.stderr, "bad\n");
    let path = engine.docker(&["inspect", "-f", "{{.LogPath}}", "box"])?.ok()?;
    assert!(Path::new(&format!("{path}.1.gz")).exists() && !Path::new(&format!("{path}.1")).exists());
    // Afterwards what is still there: the newest lines, out of compressed files as well.
    let kept = numbers(&engine.docker(&["logs", "box"])?.stdout)?;
    assert!(kept.len() > 300 && kept.last() == Some(&1000), "{kept:?}");
    let tail = numbers(&engine.docker(&["logs", "--tail", "301", "box"])?.stdout)?;
    assert_eq!((tail.len(), tail[0]), (300, 701));
    let detailed = engine.docker(&["logs", "--details", "--tail", "2", "box"])?.stdout;
    assert_eq!(detailed, "tag=box,team=a+b 1000\n");
    Ok(())
}

#[test]
fn local_files_are_read_back_in_every_way() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let options = ["--log-driver", "local", "--log-opt", "max-size=4k", "--log-opt", "max-file=3"];
    // One line of 20000 characters is stored in two pieces and comes back as one.
    let script = "head -c 20000 /dev/zero | tr '\\0' x; echo; for i in $(seq 1 150); do echo line $i; done; echo bad >&2";
    log(&engine, &options, script)?;
    assert_eq!(engine.docker(&["inspect", "-f", "{{.LogPath}}", "box"])?.ok()?, "");
    let tail = engine.docker(&["logs", "--tail", "3", "box"])?;
    assert_eq!((tail.stdout.as_str(), tail.stderr.as_str()), ("line 149\nline 150\n", "bad\n"));
    let stamped = engine.docker(&["logs", "-t", "--tail", "2", "box"])?.stdout;
    assert!(stamped.starts_with("20") && stamped.ends_with("Z line 150\n"), "{stamped}");
    let moment = stamped.split(' ').next().unwrap_or_default();
    let since = engine.docker(&["logs", "--since", moment, "box"])?.stdout;
    assert!(since.ends_with("line 150\n") && since.lines().count() <= 151, "{since}");
    assert_eq!(engine.docker(&["logs", "--until", "2001-01-01T00:00:00Z", "box"])?.stdout, "");
    let whole = NativeEngine::docker(
        &engine,
        &[
            "run",
            "--log-driver",
            "local",
            "--name",
            "long",
            "busybox",
            "sh",
            "-c",
            "head -c 20000 /dev/zero | tr '\\0' x; echo",
        ],
    )?;
    assert_eq!(whole.ok()?.len(), 20_000);
    assert_eq!(engine.docker(&["logs", "long"])?.ok()?.len(), 20_000);
    Ok(())
}

#[test]
fn none_cannot_be_read_and_bad_options_are_refused() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    log(&engine, &["--log-driver", "none"], "echo gone")?;
    let refused = engine.docker(&["logs", "box"])?.fails(1)?;
    assert!(refused.contains("configured logging driver does not support reading"), "{refused}");
    let path = engine.data_root().join("absent");
    let absent = format!("syslog-address=unixgram://{}", path.display());
    for (options, sentence) in [
        (
            vec!["--log-driver", "splunk"],
            r#"error looking up logging plugin splunk: plugin "splunk" not found"#,
        ),
        (vec!["--log-opt", "colour=red"], "unknown log opt 'colour' for json-file log driver"),
        (vec!["--log-opt", "mode=maybe"], "logger: logging mode not supported: maybe"),
        (vec!["--log-driver", "syslog", "--log-opt", &absent], "no such file or directory"),
        (
            vec!["--log-driver", "fluentd", "--log-opt", "fluentd-address=unix:///absent"],
            "failed to initialize logging driver: dial unix /absent: connect: no such file or directory",
        ),
    ] {
        let run = engine.docker(&[&["run", "--rm"], &options[..], &["busybox", "true"]].concat())?;
        assert!(run.code >= 125 && run.stderr.contains(sentence), "{options:?}: {run:?}");
    }
    Ok(())
}

#[test]
fn syslog_arrives_in_its_format_and_is_cached_for_reading() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let server = datagrams(&path)?;
    let address = format!("syslog-address=unixgram://{}", path.display());
    let options =
        ["--log-driver", "syslog", "--log-opt", &address, "--log-opt", "syslog-format=rfc5424micro"];
    let more = ["--log-opt", "tag={{.Name}}-{{.ImageName}}", "--log-opt", "syslog-facility=local0"];
    log(&engine, &[&options[..], &more].concat(), "echo hello; echo bad >&2")?;
    let mut buffer = [0; 2048];
    let mut heard = Vec::new();
    for _ in 0..2 {
        let length = server.recv(&mut buffer)?;
        heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    heard.sort();
    assert!(heard[0].starts_with("<131>1 20") && heard[0].ends_with(" box-busybox - bad\n"), "{heard:?}");
    assert!(heard[1].starts_with("<134>1 20") && heard[1].ends_with(" box-busybox - hello\n"), "{heard:?}");
    assert_eq!(engine.docker(&["logs", "box"])?.stdout, "hello\n", "read from the cache");
    engine.docker(&["rm", "box"])?.ok()?;
    log(&engine, &[&options[..], &["--log-opt", "cache-disabled=true"]].concat(), "echo hello")?;
    let refused = engine.docker(&["logs", "box"])?.fails(1)?;
    assert!(refused.contains("configured logging driver does not support reading"), "{refused}");
    Ok(())
}

#[test]
fn fluentd_gets_records_acknowledges_and_may_come_late() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("fluentd");
    let address = format!("fluentd-address=unix://{}", path.display());
    let options = ["--log-driver", "fluentd", "--log-opt", &address, "--log-opt", "fluentd-async=true"];
    let more = ["--log-opt", "fluentd-retry-wait=100ms", "--log-opt", "env=WHO", "-e", "WHO=me"];
    // Nobody listens yet: the container starts, and what it says waits.
    let script = "echo early; sleep 3; echo late";
    engine
        .docker(
            &[&["run", "-d", "--name", "box"], &options[..], &more, &["busybox", "sh", "-c", script]]
                .concat(),
        )?
        .ok()?;
    let listener = UnixListener::bind(&path)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    let has = |heard: &[u8], text: &[u8]| heard.windows(text.len()).any(|window| window == text);
    while !has(&heard, b"\xa3log\xa4late") {
        let length = stream.read(&mut buffer)?;
        heard.extend_from_slice(&buffer[..length]);
        assert!(length > 0, "ended after {}", String::from_utf8_lossy(&heard));
    }
    for text in [&b"\xa3log\xa5early"[..], b"\xa3WHO\xa2me", b"container_name\xa4/box", b"source\xa6stdout"] {
        assert!(has(&heard, text), "{}", String::from_utf8_lossy(&heard));
    }
    Ok(())
}

/// Sockets on the engine's own loopback: whoever makes one joins its network namespace for good.
fn in_the_engines_network<T: Send + 'static>(
    engine: &NativeEngine,
    make: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let namespace = File::open(format!("/proc/{}/ns/net", engine.pid().context("no engine")?))?;
    let made = std::thread::spawn(move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        run(&mut command(Path::new("busybox"), ["ip", "link", "set", "lo", "up"]))?.ok()?;
        make()
    });
    made.join().map_err(|_| anyhow::anyhow!("the thread died"))?
}

#[test]
fn gelf_arrives_over_udp_and_tcp() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let (udp, tcp) = in_the_engines_network(&engine, || {
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        udp.set_read_timeout(Some(PATIENCE))?;
        Ok((udp, TcpListener::bind("127.0.0.1:0")?))
    })?;
    let gelf = |address: &str, more: &[&str], script: &str| {
        let address = format!("gelf-address={address}");
        log(&engine, &[&["--rm", "--log-driver", "gelf", "--log-opt", &address], more].concat(), script)
    };
    let plain = ["--log-opt", "gelf-compression-type=none"];
    gelf(&format!("udp://{}", udp.local_addr()?), &plain, "echo one")?;
    let mut buffer = vec![0; 64 * 1024];
    let length = udp.recv(&mut buffer)?;
    let message = String::from_utf8_lossy(&buffer[..length]);
    for part in [
        r#""short_message":"one""#,
        r#""level":6"#,
        r#""_container_name":"box""#,
        r#""_image_name":"busybox""#,
    ] {
        assert!(message.contains(part), "{message}");
    }
    gelf(&format!("tcp://{}", tcp.local_addr()?), &[], "echo two >&2")?;
    let (mut stream, _) = tcp.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut message = String::new();
    stream.read_to_string(&mut message)?;
    assert!(message.contains(r#""short_message":"two""#) && message.ends_with("}\0"), "{message}");
    Ok(())
}

/// A server that accepts and never reads.
#[test]
fn a_dead_server_holds_a_blocking_container_back_and_no_other() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let listener = UnixListener::bind(&path)?;
    let address = format!("syslog-address=unix://{}", path.display());
    let options = ["--log-driver", "syslog", "--log-opt", &address];
    // 8 MiB: more than every buffer on the way.
    let script = "dd if=/dev/zero bs=1k count=8192 2>/dev/null | tr '\\0' '\\n' >&1; touch /done; sleep 1000";
    let begin = |name: &str, mode: &[&str]| {
        engine
            .docker(
                &[&["run", "-d", "--name", name], &options[..], mode, &["busybox", "sh", "-c", script]]
                    .concat(),
            )?
            .ok()
    };
    begin("patient", &[])?;
    begin("careless", &["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=64k"])?;
    eventually("The one that may lose lines goes on", || {
        Ok(engine.docker(&["exec", "careless", "ls", "/done"])?.code == 0)
    })?;
    assert_ne!(engine.docker(&["exec", "patient", "ls", "/done"])?.code, 0, "the other one waits");
    // It can be stopped all the same, and does not wait for the server then.
    engine.docker(&["stop", "-t", "0", "patient"])?.ok()?;
    drop(listener);
    Ok(())
}

#[test]
fn a_blocking_container_loses_nothing_while_its_server_is_slow() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let listener = UnixListener::bind(&path)?;
    let address = format!("syslog-address=unix://{}", path.display());
    let reader = std::thread::spawn(move || -> Result<usize> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut lines, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(lines),
                Ok(length) => lines += buffer[..length].iter().filter(|byte| **byte == b'\n').count(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the stream did not end"),
            }
        }
    });
    log(&engine, &["--log-driver", "syslog", "--log-opt", &address], "seq 1 30000")?;
    assert_eq!(reader.join().unwrap()?, 30_000);
    assert_eq!(engine.docker(&["logs", "box"])?.stdout.lines().count(), 30_000);
    Ok(())
}
