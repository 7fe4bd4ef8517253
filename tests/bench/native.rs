//! The engine on this kernel without a VM. dockerd's figures for the same come from
//! `../shared/peers/native.sh`, whose sections print the same names.

use crate::sample::{Sample, out};
use anyhow::{Context, Result};
use tests::NativeEngine;

/// A `kB` field of a process's `smaps_rollup`, in MiB.
fn pss(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).context("smaps_rollup has no Pss")?;
    Ok(line.split_whitespace().nth(1).context("Pss has no number")?.parse::<f64>()? / 1024.0)
}

pub(crate) fn bench() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let run = |args: &[&str]| -> Result<f64> {
        let run = engine.docker(args)?;
        let took = run.took.as_secs_f64() * 1e3;
        run.ok()?;
        Ok(took)
    };
    out(&format!("native.memory_idle {:.1} MiB", pss(engine.pid().context("the engine runs")?)?));
    Sample::take("native.run_rm_true", "ms", 20, || run(&["run", "--rm", "busybox", "true"]))?;
    Sample::take("native.run_rm_true.net_none", "ms", 20, || {
        run(&["run", "--rm", "--network", "none", "busybox", "true"])
    })?;
    run(&["run", "-d", "--name", "xx", "busybox", "sleep", "10000"])?;
    Sample::take("native.exec_true", "ms", 20, || run(&["exec", "xx", "true"]))?;
    Sample::take("native.docker_ps", "ms", 20, || run(&["ps"]))?;
    Ok(())
}
