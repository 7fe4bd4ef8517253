//! Many clients at once, and many containers when the engine dies: nothing is left behind, nothing lost.
//! `MACHINE_TEST_CLIENTS` and `MACHINE_TEST_CONTAINERS` make it harder.

use anyhow::{Context, Result};
use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};
use tests::{NativeEngine, request::request, run::eventually};

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn descriptors(engine: &NativeEngine) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", engine.pid().context("no engine")?))?.count())
}

fn entries(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.path().display().to_string()).collect()
}

/// Everything that belongs to containers of this engine: mounts, files, processes, cgroups.
fn remains(engine: &NativeEngine) -> Result<Vec<String>> {
    let (data, run) = (engine.data_root(), engine.data_root().with_file_name("run"));
    let mut found = Vec::new();
    for folder in [data.join("containers"), run.join("shim"), run.join("libcontainer")] {
        found.extend(entries(&folder));
    }
    let root = run.parent().unwrap_or(&run).display().to_string();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", engine.pid().context("no engine")?))?;
    found.extend(mounts.lines().filter(|line| line.contains(&root)).map(str::to_owned));
    for process in entries(Path::new("/proc")) {
        let command = fs::read(format!("{process}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&root) && command.contains(" shim ") {
            found.push(command);
        }
    }
    Ok(found)
}

#[test]
fn sixteen_clients_at_once_leave_nothing_behind() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["run", "--rm", "busybox", "true"])?.ok()?;
    let (before, idle) = (descriptors(&engine)?, remains(&engine)?);
    let rounds = number("MACHINE_TEST_CONTAINERS", 32).div_ceil(16);
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let engine = &engine;
                scope.spawn(move || -> Result<Vec<String>> {
                    let mut ids = Vec::new();
                    for round in 0..rounds {
                        let word = format!("{client}-{round}");
                        let name = format!("box-{word}");
                        let id =
                            engine.docker(&["create", "--name", &name, "busybox", "echo", &word])?.ok()?;
                        assert_eq!(engine.docker(&["start", "-a", &name])?.ok()?, word);
                        assert_eq!(engine.docker(&["logs", &name])?.ok()?, word);
                        engine.docker(&["rm", &name])?.ok()?;
                        ids.push(id);
                    }
                    Ok(ids)
                })
            })
            .collect();
        for client in clients {
            for id in client.join().map_err(|_| anyhow::anyhow!("a client died"))?? {
                let cgroups = entries(Path::new("/sys/fs/cgroup"));
                let left = cgroups.iter().find(|tree| Path::new(tree).join("docker").join(&id).exists());
                assert_eq!(left, None, "a cgroup of {id}");
            }
        }
        Ok(())
    })?;
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?, "");
    eventually("Nothing is left", || Ok(remains(&engine)? == idle))?;
    // One or two are opened for good by the first use of something.
    eventually("Descriptors are closed", || Ok(descriptors(&engine)? <= before + 2))
}

#[test]
fn half_closed_and_abandoned_connections_leave_no_descriptor() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["run", "-d", "-i", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    request(&engine, "GET /v1.45/containers/json", "")?;
    let before = descriptors(&engine)?;
    let attach = "POST /v1.45/containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1";
    for round in 0..60 {
        let mut stream = UnixStream::connect(engine.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        match round % 4 {
            // Says nothing; half a request; half a body; a hijack that is half closed and then dropped.
            0 => {}
            1 => stream.write_all(b"GET /v1.45/info HTT")?,
            2 => stream.write_all(
                b"POST /v1.45/containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
                  Content-Length: 1000\r\n\r\n{\"Image\":",
            )?,
            _ => {
                let upgrade =
                    "HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(format!("{attach} {upgrade}").as_bytes())?;
                let mut head = [0; 12];
                stream.read_exact(&mut head)?;
                assert_eq!(&head, b"HTTP/1.1 101");
                stream.shutdown(Shutdown::Write)?;
            }
        }
    }
    assert_eq!(request(&engine, "GET /_ping", "")?, (200, "OK".into()));
    eventually("Descriptors are closed", || Ok(descriptors(&engine)? <= before + 2))
}

#[test]
fn every_container_and_every_line_survives_the_engine() -> Result<()> {
    let mut engine = NativeEngine::with_busybox()?;
    let count = number("MACHINE_TEST_SURVIVORS", 10);
    let script = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done";
    let names: Vec<String> = (0..count).map(|number| format!("box-{number}")).collect();
    for name in &names {
        engine.docker(&["run", "-d", "--name", name, "busybox", "sh", "-c", script])?.ok()?;
    }
    for _ in 0..2 {
        engine.crash()?;
        std::thread::sleep(Duration::from_millis(300));
        engine.spawn()?;
    }
    // The second time the file goes from under the processes of the first.
    for _ in 0..2 {
        engine.upgrade()?;
        engine.docker(&["exec", &names[0], "true"])?.ok()?;
    }
    let running = engine.docker(&["ps", "-q"])?.ok()?;
    assert_eq!(running.lines().count(), count);
    for name in &names {
        engine.docker(&["kill", name])?.ok()?;
        let text = engine.docker(&["logs", name])?.ok()?;
        assert!(text.lines().count() > 5, "{name}");
        assert!(text.lines().enumerate().all(|(n, line)| line == (n + 1).to_string()), "{name} lost a line");
    }
    Ok(())
}
