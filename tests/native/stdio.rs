//! stdin, terminals and what travels through a hijacked connection.

use anyhow::Result;
use tests::{NativeEngine, host::docker, pty::Terminal};

#[test]
fn stdin_is_carried_with_its_end() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let input: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let run = engine.docker_with_input(&["run", "-i", "--rm", "busybox", "md5sum"], &input)?;
    let local = engine.docker_with_input(&["run", "-i", "--rm", "busybox", "wc", "-c"], &input)?;
    assert_eq!(local.ok()?.trim(), "3000000");
    assert!(run.ok()?.ends_with("  -"));
    Ok(())
}

#[test]
fn a_flood_of_output_arrives_whole_and_in_order() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let run = engine.docker(&["run", "--rm", "busybox", "seq", "1", "300000"])?.ok()?;
    assert!(run.lines().enumerate().all(|(n, line)| line == (n + 1).to_string()));
    assert_eq!(run.lines().count(), 300_000);
    Ok(())
}

#[test]
fn a_terminal_has_its_size_and_job_control() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let mut command = docker(&engine.url(), &["run", "-it", "--rm", "--name", "term", "busybox", "sh"])?;
    let mut terminal = Terminal::start(&mut command, 132, 40)?;
    terminal.expect("# ")?;
    terminal.send("stty size\r")?;
    terminal.expect("40 132")?;
    terminal.send("tty; exit 5\r")?;
    terminal.expect("/dev/pts/")?;
    assert_eq!(terminal.wait()?, 5);
    Ok(())
}

#[test]
fn detach_keys_leave_it_running_and_attach_returns() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let mut command = docker(&engine.url(), &["run", "-it", "--name", "det", "busybox", "sh"])?;
    let mut terminal = Terminal::start(&mut command, 80, 24)?;
    terminal.expect("# ")?;
    terminal.send("\u{10}\u{11}")?;
    terminal.wait()?;
    assert_eq!(engine.docker(&["inspect", "-f", "{{.State.Running}}", "det"])?.ok()?, "true");
    let mut command = docker(&engine.url(), &["attach", "det"])?;
    let mut terminal = Terminal::start(&mut command, 80, 24)?;
    terminal.send("echo back$((1+1)); exit 3\r")?;
    terminal.expect("back2")?;
    assert_eq!(terminal.wait()?, 3);
    Ok(())
}

#[test]
fn a_client_that_still_sends_gets_all_output() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let input = vec![b'y'; 4_000_000];
    let run = engine.docker_with_input(&["run", "-i", "--rm", "busybox", "echo", "last words"], &input)?;
    assert_eq!(run.ok()?, "last words");
    Ok(())
}
