//! The engine on this kernel without a VM, and dockerd beside it in the same run.

use crate::{
    native_peer::{self, NativePeer},
    sample::Sample,
};
use anyhow::{Context, Result, ensure};
use std::{process::Stdio, time::Instant};
use tests::{NativeEngine, host::docker};

/// Containers that run while memory is measured, and bytes that go through a log.
const CONTAINERS: u32 = 20;
const LOGGED: f64 = 200e6;

/// The proportional share of a process in the machine's memory, in MiB.
fn pss(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).context("smaps_rollup has no Pss")?;
    Ok(line.split_whitespace().nth(1).context("Pss has no number")?.parse::<f64>()? / 1024.0)
}

fn parent(pid: u32) -> Result<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("PPid:")).context("status has no PPid")?;
    Ok(line.trim().parse()?)
}

/// Runs the client with its output thrown away; milliseconds.
fn timed(engine: &NativeEngine, args: &[&str]) -> Result<f64> {
    let mut command = docker(&engine.url(), args)?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let started = Instant::now();
    ensure!(command.status()?.success(), "docker {} failed", args.join(" "));
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

pub(crate) fn bench() -> Result<()> {
    let ours = measure()?;
    let Some(theirs) = native_peer::measure()? else { return Ok(()) };
    for (ours, theirs) in ours.iter().zip(theirs.iter()) {
        ours.against(theirs);
    }
    Ok(())
}

fn measure() -> Result<NativePeer> {
    let engine = NativeEngine::with_busybox()?;
    let run = |args: &[&str]| timed(&engine, args);
    let pid = engine.pid().context("the engine runs")?;
    // What loading the image took is given back after a while.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let idle = pss(pid)?;
    let memory = Sample::print("native.memory_idle", "MiB", vec![idle]);
    let run_rm = Sample::take("native.run_rm_true", "ms", 20, || run(&["run", "--rm", "busybox", "true"]))?;
    Sample::take("native.run_rm_true.net_none", "ms", 20, || {
        run(&["run", "--rm", "--network", "none", "busybox", "true"])
    })?;
    run(&["run", "-d", "--name", "xx", "busybox", "sleep", "10000"])?;
    let exec = Sample::take("native.exec_true", "ms", 20, || run(&["exec", "xx", "true"]))?;
    Sample::take("native.docker_ps", "ms", 20, || run(&["ps"]))?;
    run(&["rm", "-f", "xx"])?;
    let container = containers(&engine, pid)?;
    let (log_in, log_out) = logs(&engine)?;
    Ok(NativePeer { run_rm, exec, memory, container, log_in, log_out })
}

fn containers(engine: &NativeEngine, pid: u32) -> Result<Sample> {
    let before = pss(pid)?;
    for _ in 0..CONTAINERS {
        engine.docker(&["run", "-d", "busybox", "sleep", "600"])?.ok()?;
    }
    let mut after = pss(pid)?;
    let ids = engine.docker(&["ps", "-q"])?.ok()?;
    for id in ids.lines() {
        let inside: u32 = engine.docker(&["inspect", "-f", "{{.State.Pid}}", id])?.ok()?.parse()?;
        after += pss(parent(inside)?)?;
    }
    let each = (after - before) / f64::from(CONTAINERS);
    let arguments: Vec<&str> = ["rm", "-f"].into_iter().chain(ids.lines()).collect();
    engine.docker(&arguments)?.ok()?;
    Ok(Sample::print("native.memory_per_container", "MiB", vec![each]))
}

/// Megabytes a second into the JSON log and out of it.
fn logs(engine: &NativeEngine) -> Result<(Sample, Sample)> {
    let line = "0123456789".repeat(10);
    let script = format!("yes {line} 2>/dev/null | head -c {LOGGED}");
    let rate = |milliseconds: f64| LOGGED / 1e6 / (milliseconds / 1e3);
    let (mut written, mut read) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        engine
            .docker(&["run", "-d", "--name", "ll", "--network", "none", "busybox", "sh", "-c", &script])?
            .ok()?;
        written.push(rate(timed(engine, &["wait", "ll"])?));
        read.push(rate(timed(engine, &["logs", "ll"])?));
        engine.docker(&["rm", "ll"])?.ok()?;
    }
    Ok((
        Sample::print("native.stdout_detached", "MB/s", written),
        Sample::print("native.logs_read", "MB/s", read),
    ))
}
