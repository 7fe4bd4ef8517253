//! A host on which OpenRC starts the services, and on which nobody but root logs in: from `create` over an
//! upgrade, one that fails and a reboot, to a host on which nothing of ours is left.

use crate::borrowed_host::{traces, upgrade};
use anyhow::{Result, ensure};
use std::fs;
use tests::{
    Host, artifacts,
    run::eventually,
    test_cloud::{Init, LoneVm},
};

#[test]
fn lives_as_one_with_systemd_does() -> Result<()> {
    let vm = LoneVm::isolated(Init::OpenRc)?;
    let host = Host::in_network(vm.network()?)?;
    vm.await_ssh()?;
    // Nothing else there wants cgroups.
    assert_eq!(vm.ssh("grep -c cgroup2 /proc/mounts; true")?, "0");
    let before = traces(&vm)?;

    host.machine(&[&["create", "-d", "generic"], &vm.options()[..], &["box"]].concat())?.ok()?;
    host.docker("box", &["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    for name in ["svc", "other"] {
        let service = ["run", "-d", "--name", name, "--restart", "always", "busybox", "sleep", "100000"];
        host.docker("box", &service)?.ok()?;
    }
    let started = || host.docker("box", &["inspect", "-f", "{{.State.StartedAt}}", "svc"])?.ok();
    let first = started()?;

    let error = upgrade(&host, &fs::read("/bin/busybox")?)?.fails(1)?;
    assert!(error.contains("the one that was there before runs again"), "{error}");
    eventually("the one before answers", || Ok(started().is_ok_and(|since| since == first)))?;
    upgrade(&host, &[fs::read(artifacts::engine()?)?, b"next".to_vec()].concat())?.ok()?;
    assert_eq!(started()?, first, "the container outlives an upgrade");

    vm.ssh("openrc-shutdown --reboot now")?;
    eventually("the host goes down", || Ok(!vm.speaks()?))?;
    eventually("it is back", || vm.speaks())?;
    let up = || host.docker("box", &["ps", "-q", "--filter", "status=running"])?.ok();
    eventually("its containers, too", || Ok(up().is_ok_and(|up| up.lines().count() == 2)))?;
    ensure!(started()? != first, "they were stopped with the host");

    host.machine(&["rm", "-y", "box"])?.ok()?;
    assert_eq!(traces(&vm)?, before, "the host is as it was");
    Ok(())
}
