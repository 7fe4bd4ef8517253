//! A host on which OpenRC starts the services, and on which nobody but root logs in: from `create` over an
//! upgrade, one that fails and a reboot, to a host on which nothing of ours is left.

use crate::borrowed_host::{traces, upgrade};
use anyhow::{Result, bail, ensure};
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
    let shared = tempfile::Builder::new().prefix("shared").tempdir_in("/var/tmp")?;
    fs::write(shared.path().join("here"), "from here")?;
    let folder = shared.path().display().to_string();

    let create = [&["create", "-d", "generic", "--mount", &folder], &vm.options()[..], &["box"]];
    host.machine(&create.concat())?.ok()?;
    host.docker("box", &["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    for name in ["svc", "other"] {
        let service = ["run", "-d", "--name", name, "--restart", "always", "-v", &format!("{folder}:/src")];
        host.docker("box", &[&service[..], &["busybox", "sleep", "100000"]].concat())?.ok()?;
    }
    let seen = || host.docker("box", &["exec", "svc", "cat", "/src/here"])?.ok();
    assert_eq!(seen()?, "from here");
    let started = || host.docker("box", &["inspect", "-f", "{{.State.StartedAt}}", "svc"])?.ok();
    let first = started()?;

    let error = upgrade(&host, &fs::read("/bin/busybox")?)?.fails(1)?;
    assert!(error.contains("the one that was there before runs again"), "{error}");
    eventually("the one before answers", || Ok(started().is_ok_and(|since| since == first)))?;
    upgrade(&host, &[fs::read(artifacts::engine()?)?, b"next".to_vec()].concat())?.ok()?;
    assert_eq!(started()?, first, "the container outlives an upgrade");
    fs::write(shared.path().join("here"), "from here, later")?;
    assert_eq!(seen()?, "from here, later");
    // The engine bounds it itself.
    let logged = host.machine(&["logs", "--engine", "box"])?.ok()?;
    assert!(logged.contains("The Engine API answers"), "{logged}");
    vm.ssh("head -c 1048576 /dev/zero >> /var/log/machine-engine.log && rc-service machine-engine restart")?;
    let sizes = vm.ssh("wc -c < /var/log/machine-engine.log; wc -c < /var/log/machine-engine.log.1")?;
    let [now, earlier] = sizes.lines().map(str::parse).collect::<Result<Vec<u64>, _>>()?[..] else {
        bail!("{sizes}")
    };
    assert!(now < 10_000 && earlier > 1_048_576, "{sizes}");
    eventually("it answers again", || Ok(started().is_ok_and(|since| since == first)))?;

    vm.ssh("openrc-shutdown --reboot now")?;
    eventually("the host goes down", || Ok(!vm.speaks()?))?;
    eventually("it is back", || vm.speaks())?;
    let up = || host.docker("box", &["ps", "-q", "--filter", "status=running"])?.ok();
    eventually("its containers, too", || Ok(up().is_ok_and(|up| up.lines().count() == 2)))?;
    ensure!(started()? != first, "they were stopped with the host");
    // Theirs are the same files: the folders were there first.
    assert_eq!(seen()?, "from here, later");

    host.machine(&["rm", "-y", "box"])?.ok()?;
    assert_eq!(traces(&vm)?, before, "the host is as it was");
    Ok(())
}
