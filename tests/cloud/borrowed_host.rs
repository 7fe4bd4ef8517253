//! `generic` on a real Debian host without dockerd: from `create` over an upgrade, and one that fails, to a
//! host on which nothing of ours is left.

use anyhow::Result;
use std::{fs, os::unix::fs::PermissionsExt};
use tempfile::TempDir;
use tests::{Host, artifacts, test_cloud::LoneVm};

#[test]
fn is_upgraded_rolled_back_and_left_as_it_was() -> Result<()> {
    let vm = LoneVm::isolated()?;
    let host = Host::in_network(vm.network()?)?;
    vm.await_ssh()?;
    let before = traces(&vm)?;

    host.machine(&[&["create", "-d", "generic"], &vm.options()[..], &["box"]].concat())?.ok()?;
    host.docker("box", &["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    host.docker("box", &["run", "-d", "--name", "svc", "busybox", "sleep", "100000"])?.ok()?;
    let started = || host.docker("box", &["inspect", "-f", "{{.State.StartedAt}}", "svc"])?.ok();
    let first = started()?;

    let folder = TempDir::new()?;
    let upgrade = |name: &str, engine: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, engine)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        tests::run::run(host.machine_command(&["upgrade", "box"])?.env("MACHINE_ENGINE_BINARY", path))
    };
    // A program for this processor that is no engine.
    let error = upgrade("broken", &fs::read("/bin/busybox")?)?.fails(1)?;
    assert!(error.contains("the one that was there before runs again"), "{error}");
    assert_eq!(started()?, first, "the container outlives an upgrade that fails");
    // Another release, as far as anybody can tell.
    upgrade("next", &[fs::read(artifacts::engine()?)?, b"next".to_vec()].concat())?.ok()?;
    assert_eq!(started()?, first, "the container outlives an upgrade");
    assert_eq!(host.docker("box", &["exec", "svc", "echo", "here"])?.ok()?, "here");

    host.machine(&["rm", "-y", "box"])?.ok()?;
    assert_eq!(traces(&vm)?, before, "the host is as it was");
    Ok(())
}

/// Everything on the host that an engine could leave: files, units, links, groups, processes, rules.
fn traces(vm: &LoneVm) -> Result<String> {
    vm.ssh(
        "sudo find /etc /usr/local /opt /srv /var/lib -xdev -maxdepth 3 \
             -not -path '/var/lib/systemd/*' -not -path '/var/lib/sudo/*' -not -name '*-' | sort; \
         systemctl list-unit-files --no-legend | awk '$1 !~ /^cloud-init/ { print $1, $2 }'; \
         ip -o link | awk '{ print $2 }'; cut -d: -f1,4 /etc/group; ls /run; ps -e -o comm= | grep engine; \
         grep -c machine-engine /proc/mounts; true",
    )
}
