//! `generic`, with a listener that stands for the host.

use driver_cloud::GenericDriver;
use machine_drivers::{
    Driver, DriverError, EngineHome, Identity, InstanceState, MachineSpec, OptionValue, Silent,
    conformance::{Subject, conformance},
};
use std::{fs, net::TcpListener, path::Path, sync::Arc};
use tempfile::TempDir;

const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0tnLFLMfYvAmLBTsYrHHYyKc5pHBQ5YhBKlQr8Vw1C";

struct Host {
    folder: TempDir,
    listener: TcpListener,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["machine", "home/.ssh"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("home/.ssh/id_ed25519"), "a key").unwrap();
        Self { folder, listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    fn home(&self) -> std::path::PathBuf {
        self.folder.path().join("home")
    }

    fn driver(&self) -> GenericDriver {
        GenericDriver::with_home(self.home())
    }

    fn spec(&self) -> MachineSpec {
        let options = [
            ("generic-ip-address".to_owned(), OptionValue::Text("127.0.0.1".to_owned())),
            ("generic-ssh-port".to_owned(), OptionValue::Number(self.port().into())),
        ];
        spec(&self.folder.path().join("machine"), options.into())
    }

    fn is_known(&self) {
        let line = format!("[127.0.0.1]:{} {HOST_KEY}\n", self.port());
        fs::write(self.home().join(".ssh/known_hosts"), line).unwrap();
    }
}

fn spec(directory: &Path, options: machine_drivers::DriverOptions) -> MachineSpec {
    MachineSpec {
        name: "dev".to_owned(),
        machine_id: directory.display().to_string(),
        owner: "store".to_owned(),
        identity: Identity::default(),
        directory: directory.to_owned(),
        cache: directory.join("cache"),
        image: None,
        cpus: None,
        memory_mib: None,
        disk_gib: None,
        options,
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    conformance(|| {
        let host = Host::new();
        host.is_known();
        Subject { driver: Arc::new(host.driver()), spec: host.spec(), keep: Box::new(host) }
    })
    .await;
}

#[tokio::test]
async fn a_host_key_comes_from_known_hosts_or_is_named_and_is_never_guessed() {
    let host = Host::new();
    let (driver, mut spec) = (host.driver(), host.spec());
    let error = driver.check(&spec).await.unwrap_err();
    let DriverError::Prerequisite { what, hint } = &error else { panic!("{error:?}") };
    assert!(what.contains("not trusted unseen") && hint.contains("ssh-keyscan -p "), "{what} {hint}");

    host.is_known();
    driver.check(&spec).await.unwrap();
    let instance = driver.create(&spec, &Silent).await.unwrap();
    driver.start(&instance, &Silent).await.unwrap();
    let access = driver.access(&instance).await.unwrap();
    assert_eq!((access.keys.host, access.engine), (vec![HOST_KEY.to_owned()], EngineHome::Host));
    assert_eq!(access.keys.client, Some(host.home().join(".ssh/id_ed25519")));
    driver.remove(&instance).await.unwrap();

    // However it is written.
    let mut six = spec.clone();
    for (written, port, known) in [("[FD00:0::2]", 22, "fd00::2"), ("fd00::2", 2222, "[fd00::2]:2222")] {
        fs::write(host.home().join(".ssh/known_hosts"), format!("{known} {HOST_KEY}\n")).unwrap();
        six.options.insert("generic-ip-address".to_owned(), OptionValue::Text(written.to_owned()));
        six.options.insert("generic-ssh-port".to_owned(), OptionValue::Number(port));
        let instance = driver.create(&six, &Silent).await.unwrap();
        driver.start(&instance, &Silent).await.unwrap();
        let access = driver.access(&instance).await.unwrap();
        assert_eq!((access.ip.as_str(), access.ssh.host.as_str()), ("fd00::2", "fd00::2"));
        driver.remove(&instance).await.unwrap();
    }

    let named = OptionValue::List(vec!["SHA256:abc".to_owned()]);
    spec.options.insert("generic-ssh-host-key".to_owned(), named);
    spec.options
        .insert("generic-engine-socket".to_owned(), OptionValue::Text("/var/run/docker.sock".to_owned()));
    let instance = driver.create(&spec, &Silent).await.unwrap();
    driver.start(&instance, &Silent).await.unwrap();
    let access = driver.access(&instance).await.unwrap();
    assert_eq!(access.keys.host, ["SHA256:abc"]);
    assert_eq!(access.engine, EngineHome::Existing("/var/run/docker.sock".to_owned()));
    let found = driver.recover(&spec.directory, &spec.machine_id).await.unwrap();
    assert_eq!(found, Some(instance));
}

#[tokio::test]
async fn a_host_that_went_away_is_no_running_one() {
    let host = Host::new();
    host.is_known();
    let (driver, spec) = (host.driver(), host.spec());
    let instance = driver.create(&spec, &Silent).await.unwrap();
    driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(driver.state(&instance).await.unwrap(), InstanceState::Running);
    let Host { folder, listener } = host;
    drop(listener);
    assert_eq!(driver.state(&instance).await.unwrap(), InstanceState::Error);
    assert!(driver.check(&spec).await.is_err());
    drop(folder);
}
