//! The real plugin, from `GetCreateFlags` to `Remove`.

use crate::{Place, toy};
use driver_plugin::PluginDriver;
use machine_drivers::{
    Driver, DriverError, EngineHome, Instance, InstanceState, OptionKind, OptionValue, Progress, Silent,
    conformance::{Subject, conformance},
    external::{Limits, Program},
};
use serde_json::json;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::timeout;

const GRACE: Duration = Duration::from_secs(20);

fn driver() -> PluginDriver {
    PluginDriver::new("toy", toy().to_owned())
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn step(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    conformance(|| {
        let place = Place::new();
        Subject { driver: Arc::new(driver()), spec: place.spec(), keep: Box::new(place) }
    })
    .await;
}

#[test]
fn its_flags_are_options() {
    let driver = driver();
    let options: Vec<_> = driver.options().iter().map(|o| (o.name, o.env, o.help, o.kind)).collect();
    let text = OptionKind::Text;
    assert_eq!(
        options[..8],
        [
            ("toy-cloud", Some("TOY_CLOUD"), "Folder that is the cloud", text(None)),
            ("toy-region", Some("TOY_REGION"), "Region", text(Some("fra"))),
            ("toy-token", Some("TOY_TOKEN"), "Access token", OptionKind::Secret),
            ("toy-size", None, "Size in cores", OptionKind::Number(Some(2))),
            ("toy-fast", None, "Use the fast kind", OptionKind::Flag),
            ("toy-tag", Some("TOY_TAG"), "Tag of the VM (repeatable)", OptionKind::List),
            ("toy-fail", None, "Step that fails", text(None)),
            ("toy-ssh-port", None, "SSH port", OptionKind::Number(Some(22))),
        ]
    );
    assert_eq!((options[8].0, options[8].3, options.len()), ("toy-ssh-host-key", OptionKind::List, 9));
}

#[tokio::test]
async fn its_state_is_what_docker_machine_stores() {
    let (place, driver, heard) = (Place::new(), driver(), Heard::default());
    let mut spec = place.spec();
    let tags = OptionValue::List(vec!["a".to_owned(), "b".to_owned()]);
    spec.options.extend([("toy-tag".to_owned(), tags), ("toy-fast".to_owned(), OptionValue::Flag)]);
    assert!(driver.check(&spec).await.unwrap()[0].contains("pass --toy-ssh-host-key"));
    let instance = driver.create(&spec, &heard).await.unwrap();
    // What it prints comes another way than its answers.
    let said = loop {
        let said = heard.0.lock().unwrap().join("\n");
        if said.lines().count() >= 2 {
            break said;
        }
        driver.stop(&instance, GRACE).await.unwrap();
        driver.start(&instance, &heard).await.unwrap();
    };
    assert!(said.starts_with("Creating SSH key...\nCreated [31mvm-dev-"), "{said}");

    let state = &instance.data["Driver"];
    let of = |name: &str| state[name].clone();
    assert_eq!(
        (of("MachineName"), of("IPAddress"), of("SSHUser")),
        (json!("dev"), json!("10.9.8.7"), json!("toy"))
    );
    assert_eq!(of("StorePath"), json!(place.folder.path().join("store")));
    assert_eq!(
        (of("Tags"), of("Fast"), of("Size"), of("Region")),
        (json!(["a", "b"]), json!(true), json!(2), json!("fra"))
    );

    let access = driver.access(&instance).await.unwrap();
    assert_eq!(
        (access.ssh.host.as_str(), access.ssh.port, access.ssh.user.as_str()),
        ("10.9.8.7", 22, "toy")
    );
    assert_eq!(access.keys.client, Some(place.machine().join("id_rsa")));
    assert!(access.keys.first_contact && access.keys.host.is_empty());
    assert_eq!(access.engine, EngineHome::Host);

    driver.stop(&instance, GRACE).await.unwrap();
    driver.start(&instance, &Silent).await.unwrap();
    let refreshed = driver.refreshed(&instance).await.unwrap();
    assert_eq!(refreshed.data["Driver"]["IPAddress"], "10.9.8.8", "a start changes it");
    let another = crate::toy::driver();
    assert_eq!(another.access(&instance).await.unwrap().ip, "10.9.8.8", "and another process knows");
    driver.remove(&instance).await.unwrap();
    assert_eq!((place.vms(), place.left()), (0, 0));
}

#[tokio::test]
async fn a_host_key_that_is_given_is_the_only_one() {
    let (place, driver) = (Place::new(), driver());
    let mut spec = place.spec();
    let key = OptionValue::List(vec!["SHA256:abc".to_owned()]);
    spec.options.insert("toy-ssh-host-key".to_owned(), key);
    assert!(driver.check(&spec).await.unwrap().is_empty());
    let instance = driver.create(&spec, &Silent).await.unwrap();
    let keys = driver.access(&instance).await.unwrap().keys;
    assert!(!keys.first_contact && keys.host == ["SHA256:abc"]);
}

#[tokio::test]
async fn what_it_refuses_is_told_in_its_words_and_leaves_nothing() {
    let (place, driver) = (Place::new(), driver());
    let mut without = place.spec();
    without.options.clear();
    let error = driver.check(&without).await.unwrap_err();
    assert!(matches!(&error, DriverError::InvalidSpec(_)), "{error:?}");
    assert_eq!(error.to_string(), "toy driver requires the --toy-cloud option");
    assert_eq!(
        driver.check(&place.failing("check")).await.unwrap_err().to_string(),
        "the cloud refused to check"
    );
    let error = driver.create(&place.failing("create"), &Silent).await.unwrap_err();
    assert_eq!(error.to_string(), "the cloud refused to create");
    assert_eq!((place.vms(), place.left()), (0, 0), "it had made a VM by then");
}

#[tokio::test]
async fn one_that_dies_or_hangs_costs_a_sentence() {
    let (place, driver) = (Place::new(), driver());
    let error = driver.create(&place.failing("create-dies"), &Silent).await.unwrap_err().to_string();
    let wanted = "The driver's program docker-machine-driver-toy did not answer \"Create\": it ended (exit status: \
                  2); it said last: panic: runtime error: out of luck";
    assert_eq!(error, wanted);
    assert_eq!(place.left(), 0, "only the plugin knew what it had made");

    let place = Place::new();
    let limits = Limits { act: Duration::from_millis(300), ..Limits::default() };
    let driver = PluginDriver::with_limits("toy", toy().to_owned(), limits);
    let error = driver.check(&place.failing("check-hangs")).await.unwrap_err().to_string();
    assert!(
        error.contains("docker-machine-driver-toy to answer \"PreCreateCheck\" took longer than"),
        "{error}"
    );
    assert_eq!(place.left(), 0);
}

/// As after a Ctrl-C: what `Create` makes in the end is found, and removed.
#[tokio::test]
async fn a_create_that_is_given_up_is_waited_for_and_undone() {
    let (place, driver) = (Place::new(), driver());
    let spec = place.failing("create-slow");
    driver.check(&spec).await.unwrap();
    let given_up = timeout(Duration::from_millis(500), driver.create(&spec, &Silent)).await;
    assert!(given_up.is_err(), "it takes two seconds");
    let instance = driver.recover(&spec.directory, &spec.machine_id).await.unwrap().unwrap();
    driver.remove(&instance).await.unwrap();
    assert_eq!((place.vms(), place.left()), (0, 0));
}

/// docker-machine's record is all that is known of a machine of its own.
#[tokio::test]
async fn a_machine_of_docker_machines_goes_on() {
    let (place, driver) = (Place::new(), driver());
    let made = driver.create(&place.spec(), &Silent).await.unwrap();
    std::fs::remove_file(place.machine().join("plugin.json")).unwrap();
    driver.rest();
    let data = json!({ "Driver": made.data["Driver"], "Adopted": true });
    let old = Instance { id: made.id.clone(), data };
    assert_eq!(driver.state(&old).await.unwrap(), InstanceState::Running);
    driver.kill(&old).await.unwrap();
    driver.start(&old, &Silent).await.unwrap();
    assert_eq!(driver.refreshed(&old).await.unwrap().data["Driver"]["IPAddress"], "10.9.8.8");
    assert!(!place.machine().join("plugin.json").exists(), "its folder stays as docker-machine had it");
    driver.remove(&old).await.unwrap();
    assert_eq!(place.vms(), 0);
    assert!(matches!(driver.state(&made).await, Err(DriverError::NotFound { .. })));
}

#[tokio::test]
async fn another_version_is_refused() {
    let place = Place::new();
    let driver = PluginDriver::new("toyfuture", place.called(toy(), "toyfuture"));
    let error = driver.introduce().await.unwrap_err().to_string();
    assert!(error.ends_with("speaks version 2 of the protocol, and this machine speaks 1"), "{error}");
}
