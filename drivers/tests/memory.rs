//! The strict in-memory driver keeps the contract, and fails exactly when told to.

use machine_drivers::{
    Driver, DriverError, Identity, InstanceState, MachineSpec, OptionValue, Silent,
    conformance::{Subject, conformance},
    testing::{MemoryDriver, Step},
};
use std::{path::Path, sync::Arc, time::Duration};

fn spec(root: &Path) -> MachineSpec {
    MachineSpec {
        name: "dev".to_owned(),
        machine_id: root.display().to_string(),
        owner: "store".to_owned(),
        identity: Identity::default(),
        directory: root.to_owned(),
        cache: root.join("cache"),
        image: None,
        cpus: None,
        memory_mib: None,
        disk_gib: None,
        options: [].into(),
    }
}

fn subject(driver: MemoryDriver) -> Subject {
    let folder = tempfile::tempdir().expect("temporary folder");
    Subject { driver: Arc::new(driver), spec: spec(folder.path()), keep: Box::new(folder) }
}

#[tokio::test]
async fn keeps_the_contract() {
    conformance(|| subject(MemoryDriver::new())).await;
    conformance(|| subject(MemoryDriver::new().with_seed_channel())).await;
}

#[tokio::test]
async fn fails_once_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let driver = MemoryDriver::new();
    let instance = driver.create(&spec(folder.path()), &Silent).await.unwrap();
    let limit = Duration::from_secs(3);
    driver.start(&instance, &Silent).await.unwrap();
    driver.fail_next(Step::Stop, DriverError::Timeout { what: "Powering off".to_owned(), limit });
    let error = driver.stop(&instance, limit).await.unwrap_err();
    assert_eq!(error.to_string(), "Powering off took longer than 3 s");
    assert_eq!(driver.state(&instance).await.unwrap(), InstanceState::Running);
    driver.stop(&instance, limit).await.unwrap();
    assert_eq!(driver.calls(), [Step::Create, Step::Start, Step::Stop, Step::State, Step::Stop]);
}

#[tokio::test]
async fn a_failure_asked_for_at_create_reaches_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path());
    spec.options.insert("memory-fail".to_owned(), OptionValue::List(vec!["start".to_owned()]));
    let instance = MemoryDriver::new().create(&spec, &Silent).await.unwrap();
    let other = MemoryDriver::new();
    let error = other.start(&instance, &Silent).await.unwrap_err();
    assert_eq!(error.to_string(), "The test wanted Start to fail");
    other.start(&instance, &Silent).await.unwrap();
}

#[tokio::test]
async fn a_crash_is_seen_and_another_machines_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let driver = MemoryDriver::new();
    let mut spec = spec(folder.path());
    let instance = driver.create(&spec, &Silent).await.unwrap();
    assert!(matches!(driver.crash(&instance), Err(DriverError::NotRunning { .. })));
    driver.start(&instance, &Silent).await.unwrap();
    driver.crash(&instance).unwrap();
    assert_eq!(driver.state(&instance).await.unwrap(), InstanceState::Error);
    "someone-else".clone_into(&mut spec.machine_id);
    assert!(matches!(driver.create(&spec, &Silent).await, Err(DriverError::Provider { .. })));
}
