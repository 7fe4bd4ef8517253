//! The life of a container as `docker` shows it.

use anyhow::Result;
use tests::{NativeEngine, run::eventually};

#[test]
fn run_prints_and_passes_the_exit_code() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let run = engine.docker(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"])?;
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (7, "out\n", "err\n"));
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?, "", "--rm leaves nothing");
    Ok(())
}

#[test]
fn a_missing_command_is_127_and_a_file_without_execute_permission_126() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let missing = engine.docker(&["run", "--rm", "busybox", "nope"])?.fails(127)?;
    assert!(missing.contains(r#"exec: "nope": executable file not found in $PATH"#), "{missing}");
    let denied = engine.docker(&["run", "--rm", "busybox", "/etc/passwd"])?.fails(126)?;
    assert!(denied.contains("permission denied"), "{denied}");
    Ok(())
}

#[test]
fn config_reaches_the_process() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let script = "echo $A-$(pwd)-$(id -u):$(id -g)-$(hostname)";
    let args = ["run", "--rm", "-e", "A=b", "-w", "/tmp", "-u", "12:34", "-h", "box"];
    let output =
        engine.docker(&[&args[..], &["--entrypoint", "sh", "busybox", "-c", script]].concat())?.ok()?;
    assert_eq!(output, "b-/tmp-12:34-box");
    Ok(())
}

#[test]
fn create_start_stop_restart_rm() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let id = engine.docker(&["create", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    assert_eq!(id.len(), 64);
    engine.docker(&["start", "box"])?.ok()?;
    let status = |expected: &str| -> Result<()> {
        let state =
            engine.docker(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box"])?.ok()?;
        assert_eq!(state, expected);
        Ok(())
    };
    status("running 0")?;
    // busybox's sleep as pid 1 ignores SIGTERM: the timeout decides.
    engine.docker(&["stop", "-t", "1", "box"])?.ok()?;
    status("exited 137")?;
    engine.docker(&["restart", "-t", "0", "box"])?.ok()?;
    status("running 0")?;
    let refused = engine.docker(&["rm", "box"])?.fails(1)?;
    assert!(refused.contains("container is running"), "{refused}");
    engine.docker(&["kill", "-s", "KILL", "box"])?.ok()?;
    engine.docker(&["wait", "box"])?.ok()?;
    status("exited 137")?;
    engine.docker(&["rm", "box"])?.ok()?;
    let gone = engine.docker(&["inspect", "box"])?.fails(1)?;
    assert!(gone.to_lowercase().contains("no such object: box"), "{gone}");
    Ok(())
}

#[test]
fn limits_are_the_kernels() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let args = [
        "run",
        "-d",
        "--name",
        "limited",
        "--memory",
        "64m",
        "--pids-limit",
        "50",
        "--cpus",
        "0.5",
        "busybox",
    ];
    engine.docker(&[&args[..], &["sleep", "1000"]].concat())?.ok()?;
    let limit =
        engine.docker(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "limited"])?.ok()?;
    assert!(limit.contains("/ 64MiB"), "{limit}");
    let top = engine.docker(&["top", "limited"])?.ok()?;
    assert!(top.starts_with("UID") && top.contains("sleep 1000"), "{top}");
    // Inside 64 MiB, nobody writes 100 MiB into memory.
    let hog = ["run", "--rm", "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c"];
    let run = engine.docker(&[&hog[..], &["head -c 100m /dev/zero | tail"]].concat())?;
    assert_ne!(run.code, 0, "{run:?}");
    Ok(())
}

#[test]
fn the_default_bridge_connects_containers_and_host_mode_does_not_isolate() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine
        .docker(&[
            "run",
            "-d",
            "--name",
            "web",
            "busybox",
            "sh",
            "-c",
            "while true; do echo hi | nc -l -p 80; done",
        ])?
        .ok()?;
    let address = engine.docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"])?.ok()?;
    assert!(address.starts_with("172."), "{address}");
    eventually("The other container answers", || {
        let run = engine.docker(&["run", "--rm", "busybox", "nc", "-w", "2", &address, "80"])?;
        Ok(run.stdout == "hi\n")
    })?;
    let routes = engine.docker(&["run", "--rm", "busybox", "ip", "route"])?.ok()?;
    assert!(routes.contains("default via 172."), "{routes}");
    let none =
        engine.docker(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"])?.ok()?;
    assert_eq!(none, "lo");
    let host =
        engine.docker(&["run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net"])?.ok()?;
    assert!(host.contains("docker0"), "{host}");
    Ok(())
}

#[test]
fn restart_policy_brings_it_back_until_stopped() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine
        .docker(&["run", "-d", "--name", "again", "--restart", "always", "busybox", "sh", "-c", "sleep 0.2"])?
        .ok()?;
    eventually("It has been restarted twice", || {
        let count = engine.docker(&["inspect", "-f", "{{.RestartCount}}", "again"])?.ok()?;
        Ok(count.parse::<u32>()? >= 2)
    })?;
    engine.docker(&["stop", "-t", "0", "again"])?.ok()?;
    let state = engine.docker(&["inspect", "-f", "{{.State.Status}}", "again"])?.ok()?;
    assert_eq!(state, "exited");
    engine.docker(&["run", "--name", "fails", "--restart", "on-failure:2", "busybox", "false"])?;
    eventually("It gives up after two tries", || {
        let state =
            engine.docker(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "fails"])?.ok()?;
        Ok(state == "exited 2")
    })
}

#[test]
fn logs_are_kept_cut_and_followed() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let script = "for i in 1 2 3; do echo line $i; done; echo bad >&2; sleep 1; echo last";
    engine.docker(&["run", "-d", "--name", "log", "busybox", "sh", "-c", script])?.ok()?;
    let followed = engine.docker(&["logs", "-f", "log"])?;
    assert_eq!(
        (followed.stdout.as_str(), followed.stderr.as_str()),
        ("line 1\nline 2\nline 3\nlast\n", "bad\n")
    );
    let tail = engine.docker(&["logs", "--tail", "1", "log"])?;
    assert_eq!((tail.stdout.as_str(), tail.stderr.as_str()), ("last\n", ""));
    let stamped = engine.docker(&["logs", "-t", "--tail", "1", "log"])?.ok()?;
    assert!(stamped.starts_with("20") && stamped.ends_with("Z last"), "{stamped}");
    Ok(())
}

#[test]
fn a_real_time_signal_ends_a_container_like_any_other() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    // Among the host's processes it is no init, and takes signals that it does not handle.
    engine.docker(&["run", "-d", "--name", "box", "--pid", "host", "busybox", "sleep", "1000"])?.ok()?;
    engine.docker(&["kill", "-s", "RTMIN+6", "box"])?.ok()?;
    assert_eq!(engine.docker(&["wait", "box"])?.ok()?, "168");
    Ok(())
}
