//! The example in Python, `machine-driver-inventory`: it keeps the contract, and no two machines share a host.

use crate::spec;
use machine_drivers::{
    Driver, DriverError, EngineHome, InstanceState, MachineSpec, OptionValue, Silent,
    conformance::{Subject, conformance},
    external::ExternalDriver,
};
use serde_json::json;
use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, sync::Arc};
use tempfile::TempDir;

struct Pool {
    folder: TempDir,
    hosts: Vec<TcpListener>,
}

impl Pool {
    fn of(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hosts: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let list: Vec<_> = (hosts.iter().enumerate())
            .map(|(at, listener)| {
                json!({ "name": format!("lab-{at}"), "host": "127.0.0.1", "user": "lab",
                    "port": listener.local_addr().unwrap().port(), "key": "/keys/lab",
                    "host_keys": ["SHA256:abc"], "tags": if at == 0 { vec!["gpu"] } else { vec![] } })
            })
            .collect();
        fs::write(folder.path().join("hosts.json"), json!(list).to_string()).unwrap();
        Self { folder, hosts }
    }

    fn spec(&self, name: &str) -> MachineSpec {
        let directory = self.folder.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        let file = self.folder.path().join("hosts.json").display().to_string();
        let options = [("inventory-file".to_owned(), OptionValue::Text(file))].into();
        MachineSpec { options, ..spec(&directory) }
    }

    fn taken(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("hosts.json.taken")) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn driver() -> ExternalDriver {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/machine-driver-inventory");
    ExternalDriver::new("inventory", program)
}

#[tokio::test]
async fn keeps_the_contract() {
    conformance(|| {
        let pool = Pool::of(2);
        Subject { driver: Arc::new(driver()), spec: pool.spec("dev"), keep: Box::new(pool) }
    })
    .await;
}

#[tokio::test]
async fn a_host_belongs_to_one_machine() {
    let (pool, driver) = (Pool::of(2), driver());
    let (a, b, c) = (pool.spec("a"), pool.spec("b"), pool.spec("c"));
    let remarks = driver.check(&a).await.unwrap();
    assert_eq!(remarks, ["2 of 2 hosts are free"]);
    let (first, second) = tokio::join!(driver.create(&a, &Silent), driver.create(&b, &Silent));
    let (first, second) = (first.unwrap(), second.unwrap());
    let error = driver.check(&c).await.unwrap_err();
    assert!(
        matches!(&error, DriverError::Prerequisite { hint, .. } if hint == "Remove a machine"),
        "{error:?}"
    );
    assert!(driver.create(&c, &Silent).await.is_err());
    assert_eq!(fs::read_dir(&c.directory).unwrap().count(), 0, "nothing is left of it");

    driver.start(&first, &Silent).await.unwrap();
    driver.start(&second, &Silent).await.unwrap();
    let (one, other) = (driver.access(&first).await.unwrap(), driver.access(&second).await.unwrap());
    assert_ne!(one.ssh.port, other.ssh.port);
    assert_eq!((one.ssh.user.as_str(), one.engine), ("lab", EngineHome::Host));
    assert_eq!((one.keys.client, one.keys.host), (Some("/keys/lab".into()), vec!["SHA256:abc".to_owned()]));
    let port = one.ssh.port;
    let Pool { folder, hosts } = pool;
    drop(hosts.into_iter().find(|host| host.local_addr().unwrap().port() == port));
    assert_eq!(driver.state(&first).await.unwrap(), InstanceState::Error, "nobody answers there");
    drop(folder);
}

#[tokio::test]
async fn tags_choose_and_leftovers_are_found() {
    let (pool, driver) = (Pool::of(2), driver());
    let mut spec = pool.spec("dev");
    spec.options.insert("inventory-tag".to_owned(), OptionValue::List(vec!["gpu".to_owned()]));
    let instance = driver.create(&spec, &Silent).await.unwrap();
    assert_eq!(pool.taken(), ["lab-0"]);
    let found = driver.recover(&spec.directory, &spec.machine_id).await.unwrap();
    assert_eq!(found, Some(instance));

    let alive = BTreeSet::from([spec.machine_id.clone()]);
    let left = |alive: &BTreeSet<String>, owner: &'static str| {
        let (alive, options, driver) = (alive.clone(), spec.options.clone(), &driver);
        async move { driver.leftovers(&options, owner, &alive, true).await.unwrap() }
    };
    assert!(left(&alive, "store").await.is_empty() && left(&BTreeSet::new(), "another").await.is_empty());
    assert_eq!(left(&BTreeSet::new(), "store").await[0].id, "lab-0");
    assert!(pool.taken().is_empty());
    spec.options.insert("inventory-tag".to_owned(), OptionValue::List(vec!["none".to_owned()]));
    assert!(matches!(driver.check(&spec).await, Err(DriverError::InvalidSpec(_))));
}
