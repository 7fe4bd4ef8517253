//! A Debian VM with dockerd in the same emulator: what Lima, Multipass or docker-machine give. The
//! recipe stands beside the repository (`../shared/peers`, or `PEER_SCRIPTS`).

use crate::sample::Sample;
use anyhow::{Context, Result};
use std::{path::PathBuf, process::Command};

/// What the peer took: seconds to an answering API, seconds per run, MiB used when idle.
#[derive(Debug)]
pub(crate) struct VmPeer {
    pub(crate) api: Sample,
    pub(crate) run: Sample,
    pub(crate) memory: Sample,
}

/// Measures the peer, or says that it is not here.
#[expect(clippy::print_stderr, reason = "progress of a program for people")]
pub(crate) fn measure() -> Result<Option<VmPeer>> {
    let scripts =
        std::env::var_os("PEER_SCRIPTS").map_or_else(|| PathBuf::from("../shared/peers"), PathBuf::from);
    if !scripts.join("vm.sh").exists() {
        eprintln!("# {} is not here: no peer VM to compare with", scripts.display());
        return Ok(None);
    }
    let output = Command::new("bash")
        .arg(scripts.join("vm.sh"))
        .args(["grub", "mem", "run"])
        .env("NB", "1")
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("Could not run the peer VM")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| -> Result<f64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next()?.parse().ok())
            .with_context(|| format!("The peer VM gave no {name}: {text}"))
    };
    Ok(Some(VmPeer {
        api: Sample::print("peer.boot_to_docker_version", "s", vec![value("vm.boot_grub.docker_version")?]),
        run: Sample::print("peer.run_rm_true", "s", vec![value("vm.run_rm_true")? / 1000.0]),
        memory: Sample::print("peer.memory_used", "MiB", vec![value("vm.guest.mem_used")?]),
    }))
}
