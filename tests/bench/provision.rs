//! A Debian host that lets us in becomes one whose engine answers; against Debian's own `docker.io` from
//! its mirror on the same host.

use crate::sample::{Sample, out};
use anyhow::Result;
use std::time::{Duration, Instant};
use tests::{
    Host,
    test_cloud::{COMMANDS_OVER_SSH, LoneVm},
};

pub(crate) fn bench() -> Result<()> {
    let vm = LoneVm::connected()?;
    vm.await_ssh()?;
    let commands = || -> Result<u32> { Ok(vm.ssh(COMMANDS_OVER_SSH)?.parse()?) };
    let mut trips = 0;
    let ours = Sample::take("provision.create_to_api", "s", 3, || {
        let host = Host::new()?;
        let create = [&["create", "-d", "generic"], &vm.options()[..], &["box"]].concat();
        let before = commands()?;
        let started = Instant::now();
        host.machine(&create)?.ok()?;
        host.docker("box", &["version"])?.ok()?;
        let took = started.elapsed().as_secs_f64();
        // The question itself is one.
        trips = commands()? - before - 1;
        host.machine(&["rm", "-y", "box"])?.ok()?;
        Ok(took)
    })?;
    out(&format!("provision.ssh_round_trips {trips}, with the upload"));
    let install = "export DEBIAN_FRONTEND=noninteractive; sudo -E apt-get update -qq && \
         sudo -E apt-get install -y -qq --no-install-recommends docker.io >/dev/null && sudo docker version";
    let started = Instant::now();
    vm.ssh_within(install, Duration::from_secs(3600))?;
    let theirs = Sample::print("peer.install_docker_io", "s", vec![started.elapsed().as_secs_f64()]);
    ours.against(&theirs);
    Ok(())
}
