//! `kill -9` of any of our processes, and Ctrl-C, at any moment: the next command works.

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::time::Duration;
use tests::{
    Host,
    run::{self, eventually, pid_of},
};

fn kill_pid(pid: i32) -> Result<()> {
    Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
}

#[test]
fn keeper_qemu_and_engine_may_die() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("k")?;
    host.docker("k", &["run", "-d", "--name", "con", "busybox", "sleep", "1000"])?.ok()?;
    let pid = host.docker("k", &["inspect", "-f", "{{.State.Pid}}", "con"])?.ok()?;

    // The keeper: the VM and its containers go on, the next command brings a new one.
    let store = host.store().to_string_lossy().into_owned();
    let keeper = pid_of(&[&store, " keeper k"])?.expect("a keeper runs");
    kill_pid(keeper)?;
    assert_eq!(
        host.docker("k", &["inspect", "-f", "{{.State.Pid}}", "con"])?.ok()?,
        pid,
        "`machine url` revived it"
    );

    // The engine inside: PID 1 restarts it, the container is the same; whatever signal it was, a real-time one too.
    for signal in [9, 36] {
        let kill_engine = format!("kill -{signal} $(ps | awk '/[m]achine-engine serve/{{print $1}}')");
        host.machine(&["ssh", "k", &kill_engine])?.ok()?;
        eventually("The engine is back with its container", || {
            let run = host.docker("k", &["inspect", "-f", "{{.State.Pid}}", "con"])?;
            Ok(run.code == 0 && run.stdout.trim() == pid)
        })?;
    }

    // QEMU: the machine is known to have crashed, starts again, and what was written is there.
    host.docker("k", &["tag", "busybox", "kept:1"])?.ok()?;
    kill_pid(host.pid("k", "qemu.pid")?)?;
    eventually("The crash is seen", || Ok(host.machine(&["status", "k"])?.ok()? != "Running"))?;
    host.machine(&["start", "k"])?.ok()?;
    assert!(!host.docker("k", &["images", "-q", "kept:1"])?.ok()?.is_empty());
    assert_eq!(host.docker("k", &["run", "--rm", "kept:1", "echo", "alive"])?.ok()?, "alive");
    Ok(())
}

#[test]
fn a_killed_create_can_be_removed_or_repeated() -> Result<()> {
    let host = Host::new()?;
    for milliseconds in [5, 40, 120, 300, 900, 2000] {
        let mut create = host.machine_command(&["create", "--memory", "512", "half"])?;
        let mut child =
            create.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill()?;
        child.wait()?;
        host.machine(&["ls"])?.ok()?;
        if host.folder("half").exists() {
            host.machine(&["rm", "-f", "half"])?.ok()?;
        }
        assert!(!host.folder("half").exists(), "after {milliseconds} ms");
    }
    host.create("half")?;
    assert_eq!(host.machine(&["status", "half"])?.ok()?, "Running");
    Ok(())
}

#[test]
fn ctrl_c_in_create_rolls_back() -> Result<()> {
    let host = Host::new()?;
    let mut create = host.machine_command(&["create", "--memory", "512", "never"])?;
    let mut child = create.stderr(std::process::Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_millis(900));
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    assert_eq!(run::wait(&mut child, "machine create", run::DEADLINE)?, 130);
    assert!(!host.folder("never").exists());
    assert_eq!(host.machine(&["ls", "-q"])?.ok()?, "");
    let store = host.store().to_string_lossy().into_owned();
    assert_eq!(pid_of(&[&store, "qemu"])?, None, "no VM is left");
    Ok(())
}
