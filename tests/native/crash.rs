//! The engine dies at any moment and nothing that was acknowledged is lost.

use anyhow::Result;
use tests::{NativeEngine, run::eventually};

#[test]
fn running_containers_survive_the_engine() -> Result<()> {
    let mut engine = NativeEngine::with_busybox()?;
    let script = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done";
    engine.docker(&["run", "-d", "--name", "counter", "busybox", "sh", "-c", script])?.ok()?;
    engine.docker(&["run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 1; exit 42"])?.ok()?;
    let pid = engine.docker(&["inspect", "-f", "{{.State.Pid}}", "counter"])?.ok()?;
    engine.crash()?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    engine.spawn()?;
    assert_eq!(
        engine.docker(&["inspect", "-f", "{{.State.Pid}}", "counter"])?.ok()?,
        pid,
        "the same process"
    );
    let ended = engine.docker(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "ends"])?.ok()?;
    assert_eq!(ended, "exited 42", "the shim kept the exit code");
    engine.docker(&["exec", "counter", "true"])?.ok()?;
    engine.docker(&["stop", "-t", "0", "counter"])?.ok()?;
    let logs = engine.docker(&["logs", "counter"])?.ok()?;
    assert!(logs.lines().count() > 30);
    assert!(logs.lines().enumerate().all(|(n, line)| line == (n + 1).to_string()), "no line is lost");
    Ok(())
}

#[test]
fn a_killed_shim_ends_its_container_and_only_that() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"])?.ok()?;
    engine.docker(&["run", "-d", "--name", "two", "busybox", "sleep", "1000"])?.ok()?;
    let pid = engine.docker(&["inspect", "-f", "{{.State.Pid}}", "one"])?.ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let shim: i32 =
        stat.rsplit(") ").next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().parse()?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL)?;
    eventually("The container is known to have ended", || {
        Ok(engine.docker(&["inspect", "-f", "{{.State.Status}}", "one"])?.ok()? == "exited")
    })?;
    assert_eq!(engine.docker(&["inspect", "-f", "{{.State.Status}}", "two"])?.ok()?, "running");
    engine.docker(&["start", "one"])?.ok()?;
    Ok(())
}

#[test]
fn killed_again_and_again_it_always_starts() -> Result<()> {
    let mut engine = NativeEngine::with_busybox()?;
    for round in 0..5u64 {
        let url = engine.url();
        let busy = std::thread::spawn(move || -> Result<()> {
            for _ in 0..4 {
                // Most of these fail half-way: that is the point.
                drop(tests::run::run(&mut tests::host::docker(&url, &["run", "--rm", "busybox", "true"])?)?);
            }
            Ok(())
        });
        std::thread::sleep(std::time::Duration::from_millis(40 * (round + 1)));
        engine.crash()?;
        busy.join().unwrap()?;
        engine.spawn()?;
    }
    assert_eq!(engine.docker(&["run", "--rm", "busybox", "echo", "fine"])?.ok()?, "fine");
    Ok(())
}
