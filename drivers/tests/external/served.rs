//! The in-memory driver behind `serve`, in a process of its own.

use crate::{example, spec};
use machine_drivers::{
    Driver, DriverError, InstanceState, OptionKind, OptionValue, Progress, Silent,
    conformance::{Subject, conformance, examine},
    external::{ExternalDriver, Program},
};
use std::{
    path::Path,
    sync::{Arc, Mutex},
};

fn driver() -> ExternalDriver {
    ExternalDriver::new("memory", example("machine-driver-memory"))
}

#[tokio::test]
async fn keeps_the_contract() {
    conformance(|| {
        let folder = tempfile::tempdir().unwrap();
        Subject { driver: Arc::new(driver()), spec: spec(folder.path()), keep: Box::new(folder) }
    })
    .await;
}

/// The suite finds what is wrong, goes on, and says it in words.
#[tokio::test]
async fn a_broken_rule_is_told_and_the_others_are_tried() {
    let folder = tempfile::tempdir().unwrap();
    let make = || {
        let place = tempfile::tempdir_in(folder.path()).unwrap().keep();
        let mut spec = spec(&place);
        spec.options.insert("memory-fail".to_owned(), OptionValue::List(vec!["kill".to_owned()]));
        Subject { driver: Arc::new(driver()), spec, keep: Box::new(()) }
    };
    let mut broken = Vec::new();
    examine(make, |rule, outcome| broken.extend(outcome.err().map(|why| format!("{rule}: {why}")))).await;
    let wanted = "kill powers off, and start brings it back: first kill: Provider { what: \"The test wanted Kill to fail\" }";
    assert!(broken.iter().any(|line| line == wanted), "{broken:#?}");
    assert!(broken.len() < machine_drivers::conformance::rules() / 2, "{broken:#?}");
}

#[test]
fn says_who_it_is_to_whoever_cannot_await() {
    let driver = driver();
    assert!(driver.capabilities().local && driver.capabilities().resize);
    assert_eq!(driver.capabilities().contents, ["memory-contents"]);
    let ports: Vec<_> = driver.options().iter().filter(|option| option.name == "memory-ssh-port").collect();
    assert_eq!((ports[0].env, ports[0].kind), (Some("MEMORY_SSH_PORT"), OptionKind::Number(Some(1))));
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn step(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[tokio::test]
async fn steps_and_kinds_of_errors_come_through() {
    let folder = tempfile::tempdir().unwrap();
    let (driver, spec, heard) = (driver(), spec(folder.path()), Heard::default());
    let instance = driver.create(&spec, &heard).await.unwrap();
    driver.start(&instance, &heard).await.unwrap();
    assert_eq!(*heard.0.lock().unwrap(), ["Making a pretended VM", "Starting a pretended VM"]);
    assert_eq!(driver.console_tail(&instance, 5).await.unwrap(), ["Booted"]);
    driver.rest();
    assert_eq!(driver.state(&instance).await.unwrap(), InstanceState::Running, "another process");

    let mut impossible = spec.clone();
    impossible.memory_mib = Some(0);
    let error = driver.check(&impossible).await.unwrap_err();
    assert!(matches!(&error, DriverError::InvalidSpec(_)), "{error:?}");
    assert_eq!(error.to_string(), "The memory size must be at least 1");
    driver.stop(&instance, std::time::Duration::from_secs(1)).await.unwrap();
    let error = driver.access(&instance).await.unwrap_err();
    assert!(matches!(&error, DriverError::NotRunning { id } if Path::new(id) == folder.path()), "{error:?}");
    driver.remove(&instance).await.unwrap();
    assert!(matches!(driver.start(&instance, &Silent).await, Err(DriverError::NotFound { .. })));
}
