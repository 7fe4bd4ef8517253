//! What goes wrong out there, as a user of `machine` meets it. No VM is needed: nobody ever answers SSH.

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    process::{Child, Stdio},
    thread,
    time::Duration,
};
use tests::{
    Host,
    run::{DEADLINE, Run, eventually, run, wait},
    test_cloud::{
        Fake, Fault, Imaginary, TOKEN,
        digitalocean::{Account, SPECIFICATION},
    },
};

/// A user and an account; addresses in it lead nowhere.
struct Cloud {
    host: Host,
    account: Fake<Account>,
}

impl Cloud {
    fn new() -> Result<Self> {
        let account = Account::on(Imaginary::at("203.0.113.9"));
        Ok(Self { host: Host::new()?, account: Fake::start(account, "", Some(&SPECIFICATION)) })
    }

    fn create(&self, more: &[&str]) -> Result<std::process::Command> {
        let url = self.account.url("");
        let create = ["create", "-d", "digitalocean", "--digitalocean-endpoint", &url];
        let mut command = self.host.machine_command(&[&create[..], more, &["ci-1"]].concat())?;
        command.env("DIGITALOCEAN_ACCESS_TOKEN", TOKEN);
        Ok(command)
    }

    /// A `create` that has come as far as `reached` says.
    fn creating(&self, more: &[&str], reached: impl Fn(&Fake<Account>) -> bool) -> Result<Child> {
        let child = self.create(more)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        eventually("the create is that far", || Ok(reached(&self.account)))?;
        Ok(child)
    }

    fn end(&self, mut child: Child, signal: Signal) -> Result<i32> {
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        wait(&mut child, "machine create", DEADLINE)
    }

    /// Neither here nor there.
    fn nothing_is_left(&self) -> Result<()> {
        let left = self.account.world(|account| (account.droplets.len(), account.keys.len()));
        ensure!(left == (0, 0), "droplets and keys left: {left:?}");
        ensure!(!self.host.folder("ci-1").exists(), "the record is left");
        Ok(())
    }
}

fn running(account: &Fake<Account>) -> bool {
    // It has been seen to run and asked for its address; what follows is SSH.
    account.count("GET /v2/droplets/") > 2
}

#[test]
fn ctrl_c_takes_everything_back_at_any_point() -> Result<()> {
    type Point = (&'static str, Option<&'static str>, fn(&Fake<Account>) -> bool);
    let points: [Point; 4] = [
        ("the key is being made", Some("/v2/account/keys"), |a| a.count("POST /v2/account/keys") > 0),
        ("the droplet is being made", Some("/v2/droplets"), |a| a.count("POST /v2/droplets") > 0),
        ("the firewall is being made", Some("/v2/firewalls"), |a| a.count("POST /v2/firewalls") > 0),
        ("SSH is waited for", None, running),
    ];
    let at = |(what, late, reached): Point| -> Result<()> {
        let cloud = Cloud::new()?;
        if let Some(path) = late {
            cloud.account.fail_next("POST", path, Fault::Late(Duration::from_secs(2)));
        }
        let child = cloud.creating(&[], reached)?;
        assert_eq!(cloud.end(child, Signal::SIGINT)?, 130, "{what}");
        // Whatever was ordered has arrived by now.
        thread::sleep(Duration::from_secs(2));
        cloud.nothing_is_left().context(what)
    };
    thread::scope(|scope| {
        let threads = points.map(|point| scope.spawn(move || at(point)));
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })
}

#[test]
fn a_killed_create_is_cleared_by_rm() -> Result<()> {
    let cloud = Cloud::new()?;
    cloud.account.fail_next("POST", "/v2/droplets", Fault::Late(Duration::from_secs(1)));
    let child = cloud.creating(&[], |account| account.count("POST /v2/droplets") > 0)?;
    cloud.end(child, Signal::SIGKILL)?;
    eventually("the droplet is there", || Ok(cloud.account.world(|account| account.droplets.len() == 1)))?;
    cloud.host.machine(&["rm", "-y", "ci-1"])?.ok()?;
    cloud.nothing_is_left()
}

#[test]
fn a_vm_that_dies_ends_the_wait_and_is_removed_or_kept() -> Result<()> {
    let dies = |more: &[&str]| -> Result<(Cloud, Run)> {
        let cloud = Cloud::new()?;
        let mut create = cloud.create(more)?;
        let outcome = thread::scope(|scope| {
            let create = scope.spawn(|| run(&mut create));
            eventually("the droplet runs", || Ok(running(&cloud.account)))?;
            cloud.account.world(|account| {
                account.droplets.ids().into_iter().for_each(|id| account.droplets.crash(id));
            });
            create.join().unwrap()
        })?;
        Ok((cloud, outcome))
    };
    let (cloud, outcome) = dies(&[])?;
    let error = outcome.fails(1)?;
    assert!(error.contains("went off") && error.contains("--keep-on-error"), "{error}");
    cloud.nothing_is_left()?;

    let (cloud, outcome) = dies(&["--keep-on-error"])?;
    let error = outcome.fails(1)?;
    assert!(error.contains("The machine was kept") && error.contains("machine rm ci-1"), "{error}");
    assert_eq!(cloud.account.world(|account| (account.droplets.len(), account.keys.len())), (1, 1));
    assert_eq!(cloud.host.machine(&["status", "ci-1"])?.ok()?, "Stopped");

    // A token expires, a machine does not.
    cloud.account.world(|account| account.token = "the-next".to_owned());
    let error = cloud.host.machine(&["start", "ci-1"])?.fails(1)?;
    assert!(error.contains("machine set --credentials"), "{error}");
    let renew = |token: &str| {
        let mut set = cloud.host.machine_command(&["set", "--credentials", "ci-1"])?;
        run(set.env("DIGITALOCEAN_ACCESS_TOKEN", token))
    };
    renew("nonsense")?.fails(1)?;
    renew("the-next")?.ok()?;
    cloud.host.machine(&["rm", "-y", "ci-1"])?.ok()?;
    cloud.nothing_is_left()
}

#[test]
fn refusals_are_told_and_leave_nothing() -> Result<()> {
    // The exit code says whether anything had been begun.
    for (method, path, status, code, exit, said) in [
        ("GET", "/v2/regions", 401, "unauthorized", 3, "may have expired"),
        ("POST", "/v2/account/keys", 403, "forbidden", 1, "may be read-only"),
        ("POST", "/v2/droplets", 422, "unprocessable_entity", 1, "It is unprocessable_entity"),
    ] {
        let cloud = Cloud::new()?;
        cloud.account.fail_next(method, path, Fault::Refuse(status, code));
        let error = run(&mut cloud.create(&[])?)?.fails(exit)?;
        assert!(error.contains(said), "{error}");
        assert!(!error.contains(TOKEN), "{error}");
        cloud.nothing_is_left()?;
    }
    Ok(())
}

#[test]
fn a_token_that_expired_keeps_the_record_until_the_vm_can_be_removed() -> Result<()> {
    let cloud = Cloud::new()?;
    let child = cloud.creating(&[], running)?;
    cloud.end(child, Signal::SIGKILL)?;
    cloud.account.fail_next("GET", "/v2/droplets", Fault::Refuse(401, "unauthorized"));
    let error = cloud.host.machine(&["rm", "-y", "ci-1"])?.fails(1)?;
    assert!(error.contains("may have expired"), "{error}");
    assert!(cloud.host.folder("ci-1").exists());
    cloud.host.machine(&["rm", "-y", "ci-1"])?.ok()?;
    cloud.nothing_is_left()
}
