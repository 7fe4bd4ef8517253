//! `generic` on a real Debian host without dockerd: from `create` over an upgrade, and one that fails, to a
//! host on which nothing of ours is left; with a folder of this computer in a container all the time.

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getuid},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};
use tempfile::TempDir;
use tests::{
    Host, artifacts,
    run::{Run, eventually, pid_of, run},
    test_cloud::{Init, LoneVm},
};

#[test]
fn is_upgraded_rolled_back_and_left_as_it_was() -> Result<()> {
    let vm = LoneVm::isolated(Init::Systemd)?;
    let host = Host::in_network(vm.network()?)?;
    vm.await_ssh()?;
    let before = traces(&vm)?;
    // The host has no such folder.
    let shared = tempfile::Builder::new().prefix("shared").tempdir_in("/var/tmp")?;
    let source = shared.path().join("my src");
    fs::create_dir(&source)?;
    fs::write(source.join("here"), "from here")?;
    let source_text = source.display().to_string();

    let create = [&["create", "-d", "generic", "--mount", &source_text], &vm.options()[..], &["box"]];
    host.machine(&create.concat())?.ok()?;
    host.docker("box", &["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    let bind = format!("{source_text}:/src");
    host.docker("box", &["run", "-d", "--name", "svc", "-v", &bind, "busybox", "sleep", "100000"])?.ok()?;
    let seen = |file: &str| host.docker("box", &["exec", "svc", "cat", &format!("/src/{file}")])?.ok();
    assert_eq!(seen("here")?, "from here");
    // Whoever it is in the container; on the host root alone.
    let write = ["exec", "-u", "1234", "svc", "sh", "-c", "echo from there > /src/there"];
    host.docker("box", &write)?.ok()?;
    assert_eq!(fs::read_to_string(source.join("there"))?, "from there\n");
    assert_eq!(fs::metadata(source.join("there"))?.uid(), getuid().as_raw(), "it is mine");
    let peek = vm.ssh(&format!("cat '{source_text}/here' 2>&1; sudo cat '{source_text}/here'"))?;
    assert!(peek.contains("Permission denied") && peek.ends_with("from here"), "{peek}");
    // Besides root, whoever may log in as the machine's account.
    let sockets =
        "cd /run/machine-engine; sudo stat -c '%U %a' engine.sock folders.sock state/keeper.sock | uniq -c";
    assert_eq!(vm.ssh(sockets)?.trim(), "3 debian 600");
    let started = || host.docker("box", &["inspect", "-f", "{{.State.StartedAt}}", "svc"])?.ok();
    let first = started()?;

    host.docker("box", &["network", "create", "mine"])?.ok()?;
    // What is published there is on this computer's loopback too, if nothing else has that port here.
    let speaker = ["busybox", "sh", "-c", "while true; do echo hi | nc -l -p 80; done"];
    let taken = vm.network()?.listen("127.0.0.1:18231")?;
    host.docker("box", &[&["run", "-d", "--name", "web", "-p", "18231:80"], &speaker[..]].concat())?.ok()?;
    drop(taken);
    host.docker("box", &["restart", "-t", "0", "web"])?.ok()?;
    eventually("The port is here", || vm.network()?.speaks("127.0.0.1:18231"))?;
    host.docker("box", &["rm", "-f", "web"])?.ok()?;

    // The next keeper goes on with it.
    let keeper = pid_of(&[&host.store().display().to_string(), " keeper box"])?.context("no keeper runs")?;
    kill(Pid::from_raw(keeper), Signal::SIGKILL)?;
    fs::write(source.join("here"), "from here, anew")?;
    assert_eq!(seen("here")?, "from here, anew");

    // A program for this processor that is no engine.
    let error = upgrade(&host, &fs::read("/bin/busybox")?)?.fails(1)?;
    assert!(error.contains("the one that was there before runs again"), "{error}");
    assert_eq!(started()?, first, "the container outlives an upgrade that fails");
    // Another release, as far as anybody can tell.
    upgrade(&host, &[fs::read(artifacts::engine()?)?, b"next".to_vec()].concat())?.ok()?;
    assert_eq!(started()?, first, "the container outlives an upgrade");
    let logged = host.machine(&["logs", "--engine", "box"])?.ok()?;
    assert!(logged.contains("The Engine API answers"), "{logged}");
    fs::write(source.join("later"), "after the upgrade")?;
    assert_eq!(seen("later")?, "after the upgrade");

    // What the host has is not covered, and nothing has changed by the attempt.
    let set = host.machine(&["set", "box", "--mount", "/var/tmp"])?;
    assert!(set.stderr.contains("machine provision box"), "{set:?}");
    let error = host.machine(&["provision", "box"])?.fails(1)?;
    assert!(
        error.contains("/var/tmp cannot be shown on the host, which has something of its own"),
        "{error}"
    );
    assert_eq!(vm.ssh(&format!("sudo cat '{source_text}/here'"))?, "from here, anew");
    // The same folder to read only: another mount, for containers from now on.
    host.machine(&["set", "box", "--mount", &format!("{source_text}:ro")])?.ok()?;
    host.machine(&["provision", "box"])?.ok()?;
    let look = "cat /src/later; touch /src/new";
    let said = host.docker("box", &["run", "--rm", "-v", &bind, "busybox", "sh", "-c", look])?;
    assert!(said.stdout == "after the upgrade" && said.stderr.contains("Read-only"), "{said:?}");

    host.machine(&["rm", "-y", "box"])?.ok()?;
    assert_eq!(traces(&vm)?, before, "the host is as it was");
    Ok(())
}

/// `machine upgrade box`, as if this were the release's engine.
pub(crate) fn upgrade(host: &Host, engine: &[u8]) -> Result<Run> {
    let folder = TempDir::new()?;
    let path = folder.path().join("engine");
    fs::write(&path, engine)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    run(host.machine_command(&["upgrade", "box"])?.env("MACHINE_ENGINE_BINARY", path))
}

/// Everything on the host that an engine could leave: files, units, links, groups, processes, rules.
pub(crate) fn traces(vm: &LoneVm) -> Result<String> {
    vm.ssh(
        "sudo find /etc /usr/local /opt /srv /var/lib -xdev -maxdepth 3 \
             -not -path '/var/lib/systemd/*' -not -path '/var/lib/sudo/*' | sort; \
         ls /etc/runlevels/default; systemctl list-unit-files --no-legend | awk '$1 !~ /^cloud-init/ { print $1, $2 }'; \
         ip -o link | awk '{ print $2 }'; cut -d: -f1,4 /etc/group; ls /run; ls -A /var/tmp; \
         ps -e -o comm= | grep engine; cat /sys/module/nft_chain_nat/refcnt 2>/dev/null || echo 0; grep -c -e machine-engine -e fuse.machine /proc/mounts; true",
    )
}
