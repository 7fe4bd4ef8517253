//! `docker exec`.

use anyhow::Result;
use tests::{NativeEngine, host::docker, pty::Terminal};

#[test]
fn exec_runs_inside_with_its_own_settings_and_exit_code() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine
        .docker(&["run", "-d", "--name", "inside", "-e", "A=container", "busybox", "sleep", "1000"])?
        .ok()?;
    let run = engine.docker(&[
        "exec",
        "-e",
        "B=exec",
        "-w",
        "/tmp",
        "inside",
        "sh",
        "-c",
        "echo $A $B $PWD; exit 9",
    ])?;
    assert_eq!((run.code, run.stdout.as_str()), (9, "container exec /tmp\n"));
    let run = engine.docker_with_input(&["exec", "-i", "inside", "cat"], b"through\n")?;
    assert_eq!(run.ok()?, "through");
    engine.docker(&["exec", "inside", "nope"])?.fails(126)?;
    let mut command = docker(&engine.url(), &["exec", "-it", "inside", "sh"])?;
    let mut terminal = Terminal::start(&mut command, 100, 30)?;
    terminal.expect("# ")?;
    terminal.send("stty size; exit 4\r")?;
    terminal.expect("30 100")?;
    assert_eq!(terminal.wait()?, 4);
    engine.docker(&["stop", "-t", "0", "inside"])?.ok()?;
    let stopped = engine.docker(&["exec", "inside", "true"])?.fails(1)?;
    assert!(stopped.contains("is not running"), "{stopped}");
    Ok(())
}
