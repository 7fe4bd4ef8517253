//! A droplet from `create` to `gc`, with a real Debian VM behind the provider's API.

use anyhow::{Context, Result};
use std::{collections::BTreeSet, fs, sync::Arc};
use tests::{
    Host, Network, artifacts,
    run::eventually,
    test_cloud::{
        COMMANDS_OVER_SSH, DebianVms, Fake, Phase, TOKEN,
        digitalocean::{Account, SPECIFICATION},
    },
};

/// Commands that ran over SSH while the machine was made, by sshd's own log: the issue allows six and the
/// upload.
const MOST_ROUND_TRIPS: usize = 7;

#[test]
fn lives_as_a_local_machine_does_and_leaves_nothing() -> Result<()> {
    let network = Arc::new(Network::new()?);
    let vms = Box::new(DebianVms::new(Some(Arc::clone(&network)))?);
    let cloud = Fake::listening(network.listen("127.0.0.1:0")?, Account::on(vms), "", Some(&SPECIFICATION));
    let host = Host::in_network(Arc::clone(&network))?;
    let url = cloud.url("");
    let account = ["--digitalocean-access-token", TOKEN, "--digitalocean-endpoint", &url];

    let shared = tempfile::Builder::new().prefix("shared").tempdir_in("/var/tmp")?;
    let folder = shared.path().display().to_string();

    let create = ["create", "-d", "digitalocean", "--mount", &format!("{folder}:ro")];
    let create = [&create, &account[..], &["ci-1"]].concat();
    host.machine(&create)?.ok()?;
    // The question itself is one.
    let trips = host.machine(&["ssh", "ci-1", COMMANDS_OVER_SSH])?.ok()?.parse::<usize>()? - 1;
    assert!(trips <= MOST_ROUND_TRIPS, "{trips} commands ran over SSH");

    let busybox = artifacts::busybox()?;
    host.docker("ci-1", &["load", "-q", "-i", &busybox.to_string_lossy()])?.ok()?;
    assert_eq!(host.docker("ci-1", &["run", "--rm", "busybox", "echo", "hello"])?.ok()?, "hello");
    let bind = format!("{folder}:/src");
    let service =
        ["run", "-d", "--name", "svc", "--restart", "always", "-v", &bind, "busybox", "sleep", "100000"];
    host.docker("ci-1", &service)?.ok()?;

    let first = boot(&host)?;
    // It hangs up before it can say how it went.
    host.machine(&["ssh", "ci-1", "systemctl --no-block reboot"])?;
    let address = format!("{}:22", host.machine(&["ip", "ci-1"])?.ok()?);
    eventually("the VM goes down by itself", || Ok(!network.speaks(&address)?))?;
    eventually("it is back", || network.speaks(&address))?;
    eventually("and its engine, too", || Ok(boot(&host).is_ok_and(|now| now != first)))?;
    let second = boot(&host)?;
    // The folder, too: for the container that came back with the host.
    fs::write(shared.path().join("file"), "from here")?;
    let cat = "cat /src/file; echo x > /src/file";
    let said = host.docker("ci-1", &["exec", "svc", "sh", "-c", cat])?;
    assert!(said.stdout == "from here" && said.stderr.contains("Read-only"), "{said:?}");

    host.machine(&["stop", "ci-1"])?.ok()?;
    assert_eq!(host.machine(&["status", "ci-1"])?.ok()?, "Stopped");
    assert!(cloud.world(|account| account.droplets.servers().all(|server| server.phase == Phase::Off)));
    host.machine(&["start", "ci-1"])?.ok()?;
    let third = boot(&host)?;
    host.machine(&["restart", "ci-1"])?.ok()?;
    let fourth = boot(&host)?;
    assert_eq!(BTreeSet::from([first, second, third, fourth]).len(), 4, "four boots");

    let listings = cloud.count("GET /v2/droplets");
    assert!(host.machine(&["ls"])?.ok()?.contains("Running"));
    assert_eq!(cloud.count("GET /v2/droplets") - listings, 1, "one call for a listing");

    host.machine(&["rm", "-y", "ci-1"])?.ok()?;
    assert!(cloud.world(|account| account.droplets.is_empty() && account.keys.is_empty()));
    // What all machines share is left to `gc`.
    host.machine(&[&["gc", "-y", "-d", "digitalocean"], &account[..]].concat())?.ok()?;
    assert!(cloud.world(|account| account.firewalls.is_empty()));
    Ok(())
}

/// The kernel's name for the time since it was booted, as the service sees it: it came back with the VM.
fn boot(host: &Host) -> Result<String> {
    let id = host.docker("ci-1", &["exec", "svc", "cat", "/proc/sys/kernel/random/boot_id"])?.ok()?;
    Some(id).filter(|id| !id.is_empty()).context("no boot id")
}
