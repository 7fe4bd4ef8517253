//! A machine from nothing, against a Debian VM with dockerd.

use crate::{
    sample::{Sample, out},
    vm_peer,
};
use anyhow::{Context, Result};
use std::time::Instant;
use tests::{Host, artifacts};

/// `free -m`: the second number of the line `Mem:`.
fn memory_used(host: &Host) -> Result<f64> {
    let free = host.machine(&["ssh", "bench", "free -m"])?.ok()?;
    let line = free.lines().find(|line| line.starts_with("Mem:")).context("free printed no Mem: line")?;
    Ok(line.split_whitespace().nth(2).context("Mem: has no second number")?.parse()?)
}

pub(crate) fn bench() -> Result<()> {
    let mut size = 0;
    for entry in std::fs::read_dir(artifacts::guest_image()?)? {
        size += entry?.metadata()?.len();
    }
    out(&format!("guest_image_size {:.1} MB", size as f64 / 1e6));

    let create = Sample::take("create_to_docker_version", "s", 5, || {
        let host = Host::new()?;
        let started = Instant::now();
        host.machine(&["create", "--memory", "2048", "bench"])?.ok()?;
        let url = host.url("bench")?;
        tests::run::run(&mut tests::host::docker(&url, &["version"])?)?.ok()?;
        Ok(started.elapsed().as_secs_f64())
    })?;

    let host = Host::new()?;
    host.create_with_busybox("bench")?;
    let run = Sample::take("guest.run_rm_true", "s", 10, || {
        Ok(host.docker("bench", &["run", "--rm", "busybox", "true"])?.took.as_secs_f64())
    })?;
    Sample::take("guest.run_rm_true.net_none", "s", 5, || {
        let args = ["run", "--rm", "--network", "none", "busybox", "true"];
        Ok(host.docker("bench", &args)?.took.as_secs_f64())
    })?;
    host.docker("bench", &["run", "-d", "--name", "xx", "busybox", "sleep", "10000"])?.ok()?;
    Sample::take("guest.exec_true", "s", 5, || {
        Ok(host.docker("bench", &["exec", "xx", "true"])?.took.as_secs_f64())
    })?;
    Sample::take("guest.docker_ps", "s", 5, || Ok(host.docker("bench", &["ps"])?.took.as_secs_f64()))?;
    host.docker("bench", &["rm", "-f", "xx"])?.ok()?;
    let memory = Sample::take("guest.memory_used", "MiB", 1, || memory_used(&host))?;
    drop(host);

    if let Some(peer) = vm_peer::measure()? {
        create.against(&peer.api);
        run.against(&peer.run);
        memory.against(&peer.memory);
    }
    Ok(())
}
