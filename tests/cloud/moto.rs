//! `amazonec2` against an EC2 that others wrote: moto, which checks every signature and permission. Ours, in
//! `test_cloud`, has the faults; this one has no interest in our being right.

use anyhow::{Context, Result};
use machine_drivers::{
    Driver, DriverError, DriverOptions, Identity, InstanceState, MachineSpec, OptionValue, Silent,
    conformance::{Subject, conformance},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tests::{artifacts, run};

/// The server; ends with its stdin.
struct Moto {
    server: Child,
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    account: Value,
    made: AtomicU32,
}

impl Moto {
    fn start() -> Result<Self> {
        let mut python = run::command(&artifacts::python()?, [artifacts::file("cloud/moto_server.py")]);
        let mut server = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = server.stdin.take();
        let mut answers = BufReader::new(server.stdout.take().context("stdout")?).lines();
        let account = serde_json::from_str(&answers.next().context("moto did not start")??)?;
        Ok(Self { server, questions, answers, account, made: AtomicU32::new(1) })
    }

    /// What there is in the account: instances, keys, security groups, disks.
    fn left(&mut self) -> Result<Value> {
        writeln!(self.questions.as_mut().context("stdin")?)?;
        Ok(serde_json::from_str(&self.answers.next().context("moto ended")??)?)
    }

    /// A machine of its own, made by `user` with that secret.
    fn subject(&self, user: &str, secret: Option<&str>) -> Subject {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let folder = TempDir::with_prefix("ec2-").expect("a temporary folder");
        let options: DriverOptions = [
            ("endpoint", text(&self.account["url"])),
            ("access-key", text(&self.account[user][0])),
            ("secret-key", secret.map_or_else(|| text(&self.account[user][1]), str::to_owned)),
            ("region", "eu-central-1".to_owned()),
        ]
        .map(|(name, value)| (format!("amazonec2-{name}"), OptionValue::Text(value)))
        .into();
        let spec = MachineSpec {
            name: format!("ci-{number}"),
            machine_id: format!("{number:032x}"),
            owner: "0123456789abcdef0123456789abcdef".to_owned(),
            identity: Identity {
                authorized_key:
                    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0tnLFLMfYvAmLBTsYrHHYyKc5pHBQ5YhBKlQr8Vw1C machine"
                        .to_owned(),
                host_public: "ssh-ed25519 BBBB machine-host".to_owned(),
                host_private: "-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned(),
            },
            directory: folder.path().to_owned(),
            cache: folder.path().join("cache"),
            image: None,
            cpus: None,
            memory_mib: None,
            disk_gib: None,
            options,
        };
        Subject { driver: driver(), spec, keep: Box::new(folder) }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.questions.take());
        drop(self.server.wait());
    }
}

fn driver() -> Arc<dyn Driver> {
    let drivers = driver_cloud::providers(Duration::from_millis(20));
    drivers.into_iter().find(|driver| driver.name() == "amazonec2").expect("it is one of them")
}

/// How many there are of each.
fn counts(left: &Value) -> [usize; 4] {
    ["instances", "keys", "groups", "disks"].map(|kind| left[kind].as_array().map_or(0, Vec::len))
}

#[tokio::test]
async fn keeps_the_contract() -> Result<()> {
    let mut moto = Moto::start()?;
    conformance(|| moto.subject("owner", None)).await;
    assert_eq!(counts(&moto.left()?), [0; 4], "{}", moto.left()?);
    Ok(())
}

#[tokio::test]
async fn makes_what_was_decided_for_whom_may_and_removes_it() -> Result<()> {
    let mut moto = Moto::start()?;
    let Subject { driver, spec, keep: _keep } = moto.subject("owner", None);
    let remarks = driver.check(&spec).await?;
    assert!(
        remarks[0].contains("image debian-13-amd64-20251117-2299 (ami-00000002), account admin"),
        "{remarks:?}"
    );
    let instance = driver.create(&spec, &Silent).await?;
    driver.start(&instance, &Silent).await?;
    assert_eq!(driver.state(&instance).await?, InstanceState::Running);

    let left = moto.left()?;
    assert_eq!(counts(&left), [1; 4], "{left}");
    let made = &left["instances"][0];
    assert_eq!(
        driver.access(&instance).await?.ssh.host,
        made["PublicIpAddress"].as_str().unwrap_or_default()
    );
    assert_eq!(made["MetadataOptions"]["HttpTokens"], "required", "{made}");
    for thing in [made, &left["keys"][0], &left["disks"][0], &left["groups"][0]] {
        let owner = serde_json::json!({ "Key": "machine-owner", "Value": spec.owner });
        assert!(thing["Tags"].as_array().is_some_and(|tags| tags.contains(&owner)), "{thing}");
    }
    let rules = left["groups"][0]["IpPermissions"].as_array().context("rules")?;
    let open: BTreeSet<String> =
        rules.iter().map(|r| format!("{} {}", r["IpProtocol"], r["FromPort"])).collect();
    let expected = ["\"tcp\" 22", "\"icmp\" 8", "\"icmpv6\" -1"];
    assert_eq!(open, expected.map(str::to_owned).into(), "SSH and ping, and nothing else");

    // Nobody remembers it: gc does.
    let gone = driver.leftovers(&spec.options, &spec.owner, &BTreeSet::new(), true).await?;
    let kinds: Vec<String> = gone.into_iter().map(|left| left.kind).collect();
    assert_eq!(kinds[0], "VM");
    assert_eq!(driver.leftovers(&spec.options, &spec.owner, &BTreeSet::new(), true).await?, []);
    assert_eq!(counts(&moto.left()?), [0; 4]);
    Ok(())
}

#[tokio::test]
async fn a_wrong_secret_and_a_missing_permission_are_told_apart() -> Result<()> {
    let mut moto = Moto::start()?;
    let wrong = moto.subject("owner", Some("wrong"));
    let error = wrong.driver.check(&wrong.spec).await.expect_err("a signature nobody can make");
    assert!(
        matches!(&error, DriverError::Prerequisite { what, .. } if what.contains("does not accept the credentials")),
        "{error:?}"
    );
    let reader = moto.subject("reader", None);
    reader.driver.check(&reader.spec).await?;
    let error = reader.driver.create(&reader.spec, &Silent).await.expect_err("it may only look");
    assert!(
        matches!(&error, DriverError::Prerequisite { what, .. } if what.contains("the permission ec2:")),
        "{error:?}"
    );
    assert_eq!(counts(&moto.left()?), [0; 4]);
    Ok(())
}
