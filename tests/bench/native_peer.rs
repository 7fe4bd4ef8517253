//! Debian's dockerd on this kernel, in a network and with a data root of its own. The recipe stands beside
//! the repository (`../shared/peers`, or `PEER_SCRIPTS`) and says the same names.

use crate::sample::Sample;
use anyhow::{Context, Result};
use std::{path::PathBuf, process::Command};

/// What is compared, of either engine.
#[derive(Debug)]
pub(crate) struct NativePeer {
    /// `docker run --rm busybox true`, milliseconds.
    pub(crate) run_rm: Sample,
    /// `docker exec … true`, milliseconds.
    pub(crate) exec: Sample,
    /// MiB of the idle daemons.
    pub(crate) memory: Sample,
    /// MiB more for each running container.
    pub(crate) container: Sample,
    /// MB/s from a container's stdout into its log, and from there to `docker logs`.
    pub(crate) log_in: Sample,
    pub(crate) log_out: Sample,
}

impl NativePeer {
    /// Its figures, always in the same order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sample> {
        [&self.run_rm, &self.exec, &self.memory, &self.container, &self.log_in, &self.log_out].into_iter()
    }
}

/// Measures dockerd, or says that it is not here.
#[expect(clippy::print_stderr, reason = "progress of a program for people")]
pub(crate) fn measure() -> Result<Option<NativePeer>> {
    let scripts =
        std::env::var_os("PEER_SCRIPTS").map_or_else(|| PathBuf::from("../shared/peers"), PathBuf::from);
    if !scripts.join("native.sh").exists() {
        eprintln!("# {} is not here: no dockerd to compare with", scripts.display());
        return Ok(None);
    }
    let output = Command::new("bash")
        .arg(scripts.join("native.sh"))
        .args(["run", "exec", "mem", "logs"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("Could not run dockerd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| -> Result<f64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next()?.parse().ok())
            .with_context(|| format!("dockerd gave no {name}: {text}"))
    };
    // Another dockerd on this machine would take its part of the program's pages.
    let memory = value("native.mem.idle_fresh.total.rss")?;
    let (idle, twenty) = (value("native.mem.idle_fresh.total.pss")?, value("native.mem.run20.total.pss")?);
    Ok(Some(NativePeer {
        run_rm: Sample::print("dockerd.run_rm_true", "ms", vec![value("native.run_rm_true")?]),
        exec: Sample::print("dockerd.exec_true", "ms", vec![value("native.exec_true")?]),
        memory: Sample::print("dockerd.memory_idle", "MiB", vec![memory]),
        container: Sample::print("dockerd.memory_per_container", "MiB", vec![(twenty - idle) / 20.0]),
        log_in: Sample::print("dockerd.stdout_detached", "MB/s", vec![value("native.stdout_detached")?]),
        log_out: Sample::print("dockerd.logs_read", "MB/s", vec![value("native.logs_read")?]),
    }))
}
