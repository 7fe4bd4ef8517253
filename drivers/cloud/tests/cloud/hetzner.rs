//! `hetzner` against a project that keeps Hetzner's specification.

use crate::subject::{Told, driver, patient, spec};
use machine_drivers::{
    Driver, DriverError, InstanceState, MachineSpec, Silent,
    conformance::{Subject, conformance},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tempfile::TempDir;
use tests::test_cloud::{
    Fake, Fault, Imaginary, TOKEN,
    hetzner::{PREFIX, Project, SPECIFICATION},
};
use tokio::time::sleep;

struct Cloud {
    fake: Arc<Fake<Project>>,
    folder: TempDir,
    spec: MachineSpec,
    driver: Arc<dyn Driver>,
}

impl Cloud {
    fn new() -> Self {
        Self::in_project(Arc::new(Fake::start(project(), PREFIX, Some(&SPECIFICATION))), &[])
    }

    fn in_project(fake: Arc<Fake<Project>>, options: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = fake.url(PREFIX);
        let mut all = vec![("hetzner-endpoint", url.as_str()), ("hetzner-api-token", TOKEN)];
        all.retain(|(name, _)| !options.iter().any(|(other, _)| other == name));
        all.extend(options);
        let spec = spec(folder.path(), &all);
        Self { fake, folder, spec, driver: driver("hetzner") }
    }

    fn nothing_is_left(&self) {
        let (servers, keys) = self.fake.world(|p| (p.servers.len(), p.keys.len()));
        assert_eq!((servers, keys), (0, 0), "servers and keys left");
        assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 0, "files left");
    }
}

fn project() -> Project {
    Project::on(Imaginary::at("203.0.113.7"))
}

#[tokio::test]
async fn keeps_the_contract() {
    let fake = Arc::new(Fake::start(project(), PREFIX, Some(&SPECIFICATION)));
    conformance(|| {
        let cloud = Cloud::in_project(Arc::clone(&fake), &[]);
        Subject { driver: cloud.driver, spec: cloud.spec, keep: Box::new(cloud.folder) }
    })
    .await;
    assert!(fake.world(|project| project.servers.is_empty() && project.keys.is_empty()));
    assert_eq!(fake.world(|project| project.firewalls.len()), 1, "one firewall for all");
}

#[tokio::test]
async fn what_is_not_asked_for_is_decided_and_told() {
    let cloud = Cloud::new();
    let remarks = cloud.driver.check(&cloud.spec).await.unwrap();
    assert_eq!(remarks, ["Server type cx23 (2 cores, 4 GB) in fsn1, image debian-13"]);
    for (option, value, list) in [
        ("hetzner-server-type", "cx12", "there are cax11, cx11, cx23, cx33"),
        ("hetzner-image", "debian-9", "there are debian-11, debian-12, debian-13, ubuntu-24.04"),
        ("hetzner-server-location", "moon", "there are ash, fsn1, nbg1"),
    ] {
        let other = Cloud::in_project(Arc::clone(&cloud.fake), &[(option, value)]);
        let error = other.driver.check(&other.spec).await.unwrap_err();
        assert!(matches!(&error, DriverError::InvalidSpec(text) if text.ends_with(list)), "{error:?}");
    }
    assert_eq!(cloud.fake.count("POST"), 0, "nothing is made by looking");
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_server() {
    for fault in [Fault::Lost, Fault::Cut] {
        let cloud = Cloud::new();
        cloud.fake.fail_next("POST", "/servers", fault);
        cloud.fake.fail_next("POST", "/ssh_keys", fault);
        cloud.fake.fail_next("POST", "/firewalls", fault);
        let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
        assert_eq!(cloud.fake.world(|p| (p.servers.len(), p.keys.len(), p.firewalls.len())), (1, 1, 1));
        cloud.driver.remove(&instance).await.unwrap();
        cloud.nothing_is_left();
    }
}

#[tokio::test]
async fn limits_and_passing_trouble_are_waited_out() {
    let cloud = Cloud::new();
    for (method, path, fault) in [
        ("GET", "/server_types", Fault::TooMany(0)),
        ("GET", "/server_types", Fault::Refuse(503, "unavailable")),
        ("POST", "/servers", Fault::TooMany(0)),
        ("POST", "/servers", Fault::Refuse(409, "conflict")),
        ("GET", "/servers/", Fault::Refuse(502, "bad_gateway")),
    ] {
        cloud.fake.fail_next(method, path, fault);
    }
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    cloud.driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(cloud.driver.state(&instance).await.unwrap(), InstanceState::Running);
    assert_eq!(cloud.fake.world(|project| project.servers.len()), 1);
}

#[tokio::test]
async fn what_is_sold_out_is_ordered_where_it_costs_the_same() {
    let sold_out = |options: &[(&str, &str)], times: usize| {
        let cloud = Cloud::in_project(Cloud::new().fake, options);
        for _ in 0..times {
            cloud.fake.fail_next("POST", "/servers", Fault::Refuse(412, "resource_unavailable"));
        }
        cloud
    };
    let told = Told::default();
    let cloud = sold_out(&[], 1);
    cloud.driver.create(&cloud.spec, &told).await.unwrap();
    assert_eq!(cloud.fake.world(|project| project.orders[0]["location"].clone()), "nbg1");
    assert_eq!(told.steps(), ["Making a cx23 server in fsn1", "cx23 is sold out in fsn1; trying nbg1"]);

    // Nor where it is dearer, nor where the user did not want it.
    for (options, times) in [(&[][..], 2), (&[("hetzner-server-location", "fsn1")], 1)] {
        let cloud = sold_out(options, times);
        let error = cloud.driver.create(&cloud.spec, &Silent).await.unwrap_err().to_string();
        assert!(error.contains("try another --hetzner-server-location"), "{error}");
        assert!(error.contains("is also sold in ") && error.ends_with("ash"), "{error}");
        assert_eq!(cloud.fake.count("POST /servers"), times);
        cloud.nothing_is_left();
    }
}

#[tokio::test]
async fn a_create_that_was_killed_is_found_again_by_folder_and_id() {
    let cloud = Cloud::new();
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    // As if the process had died before it could note the server's id.
    let journal = cloud.folder.path().join("cloud.json");
    let mut noted: Value = serde_json::from_slice(&std::fs::read(&journal).unwrap()).unwrap();
    noted["vm"] = Value::Null;
    std::fs::write(&journal, noted.to_string()).unwrap();
    let found = driver("hetzner").recover(&cloud.spec.directory, &cloud.spec.machine_id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&instance));
    cloud.driver.remove(&found.unwrap()).await.unwrap();
    cloud.nothing_is_left();
}

#[tokio::test]
async fn a_create_that_is_broken_off_is_answered_all_the_same_and_taken_back() {
    for path in ["/ssh_keys", "/servers"] {
        let cloud = Cloud::new();
        cloud.fake.fail_next("POST", path, Fault::Late(Duration::from_millis(300)));
        let order = format!("POST {path}");
        let ordered = async {
            while cloud.fake.count(&order) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            made = cloud.driver.create(&cloud.spec, &Silent) => panic!("{made:?}"),
            () = ordered => {}
        }
        let found = cloud.driver.recover(&cloud.spec.directory, &cloud.spec.machine_id).await.unwrap();
        cloud.driver.remove(&found.unwrap()).await.unwrap();
        sleep(Duration::from_millis(400)).await;
        cloud.nothing_is_left();
    }
}

#[tokio::test]
async fn an_action_that_fails_is_told_at_once() {
    let cloud = Cloud::new();
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    cloud.driver.start(&instance, &Silent).await.unwrap();
    let fail_next = || cloud.fake.world(|project| project.servers.failing_actions = 1);
    fail_next();
    let error = cloud.driver.stop(&instance, Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().contains("Action failed"), "{error}");
    cloud.driver.stop(&instance, Duration::from_secs(1)).await.unwrap();
    fail_next();
    let error = cloud.driver.start(&instance, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("Action failed"), "{error}");
    cloud.driver.start(&instance, &Silent).await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_is_told_as_that_and_never_shown() {
    let cloud = Cloud::new();
    let url = cloud.fake.url(PREFIX);
    let other = Cloud::in_project(
        Arc::clone(&cloud.fake),
        &[("hetzner-endpoint", &url), ("hetzner-api-token", "expired-secret")],
    );
    let error = other.driver.check(&other.spec).await.unwrap_err();
    assert!(
        matches!(&error, DriverError::Prerequisite { what, .. } if what.contains("credentials")),
        "{error:?}"
    );
    assert!(!format!("{error:?} {:?} {:?}", other.spec, other.driver).contains("expired-secret"));
    assert_eq!(cloud.fake.count("GET"), 1, "a rejected token is not tried again");
}

#[tokio::test]
async fn a_server_with_ipv6_only_is_reached_by_it() {
    let fake = Cloud::new().fake;
    let cloud = Cloud::in_project(fake, &[("hetzner-disable-public-ipv4", "")]);
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    cloud.driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(cloud.driver.access(&instance).await.unwrap().ssh.host, "2001:db8:1:2::1");
}

#[tokio::test]
async fn a_server_in_a_network_is_reached_there_once_it_has_an_address() {
    let listings = |cloud: &Cloud| cloud.fake.count("GET /servers") - cloud.fake.count("GET /servers/");
    let plain = Cloud::new();
    plain.driver.create(&plain.spec, &Silent).await.unwrap();
    let options = [("hetzner-networks", "office"), ("hetzner-use-private-network", "")];
    let cloud = Cloud::in_project(Cloud::new().fake, &options);
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    assert_eq!(listings(&cloud), listings(&plain), "the answer was read, and nothing looked for");
    cloud.driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(cloud.driver.access(&instance).await.unwrap().ssh.host, "10.0.0.2");
}

#[tokio::test]
async fn many_machines_are_one_listing() {
    let fake = Cloud::new().fake;
    let mut clouds: Vec<Cloud> = (0..3).map(|_| Cloud::in_project(Arc::clone(&fake), &[])).collect();
    let driver = patient("hetzner");
    let mut instances = Vec::new();
    for cloud in &mut clouds {
        instances.push(cloud.driver.create(&cloud.spec, &Silent).await.unwrap());
    }
    let before = (fake.count("GET /servers"), fake.count("GET /servers/"));
    let looks = instances.iter().map(|instance| driver.state(instance));
    for state in futures_util::future::join_all(looks).await {
        state.unwrap();
    }
    let pages = fake.count("GET /servers") - before.0;
    assert_eq!((pages, fake.count("GET /servers/") - before.1), (2, 0), "two pages, and nothing else");
}

#[tokio::test]
async fn gc_finds_what_belongs_to_no_machine_and_nothing_else() {
    let fake = Cloud::new().fake;
    let (kept, lost) = (Cloud::in_project(Arc::clone(&fake), &[]), Cloud::in_project(Arc::clone(&fake), &[]));
    let mut foreign = Cloud::in_project(Arc::clone(&fake), &[]);
    "another-store".clone_into(&mut foreign.spec.owner);
    for cloud in [&kept, &lost, &foreign] {
        cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    }
    let alive: BTreeSet<String> = [kept.spec.machine_id.clone()].into();
    let gc = |remove| kept.driver.leftovers(&kept.spec.options, &kept.spec.owner, &alive, remove);
    let found = gc(false).await.unwrap();
    let kinds: Vec<String> = found.iter().map(|left| left.kind.clone()).collect();
    assert_eq!(kinds, ["VM", "SSH key"]);
    assert!(found.iter().all(|left| left.name.contains(&lost.spec.name)), "{found:?}");
    assert_eq!(fake.world(|project| project.servers.len()), 3, "looking removes nothing");
    gc(true).await.unwrap();
    assert_eq!(gc(false).await.unwrap(), []);
    assert_eq!(fake.world(|project| (project.servers.len(), project.keys.len())), (2, 2));
}

#[tokio::test]
async fn everything_asked_for_is_in_the_request() {
    let fake = Cloud::new().fake;
    let extra = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(extra.path(), "#!/bin/sh\necho from a file\n").unwrap();
    fake.world(|project| {
        project.keys.insert(61, json!({ "id": 61, "name": "mine", "public_key": "ssh-rsa M" }))
    });
    let cloud = Cloud::in_project(
        Arc::clone(&fake),
        &[
            ("hetzner-image-id", "2"),
            ("hetzner-networks", "office"),
            ("hetzner-volumes", "cache"),
            ("hetzner-primary-ipv4", "198.51.100.7"),
            ("hetzner-disable-public-6", ""),
            ("hetzner-existing-key-id", "61"),
            ("hetzner-additional-key", "ssh-rsa AAAA me@home"),
            ("hetzner-server-label", "team=ci,machine-id=not-this"),
            ("hetzner-key-label", "team=ci"),
            ("hetzner-auto-spread", ""),
            ("hetzner-user-data", extra.path().to_str().unwrap()),
            ("hetzner-user-data-from-file", ""),
            ("hetzner-existing-key-path", "/root/.ssh/id_rsa"),
        ],
    );
    let remarks = cloud.driver.check(&cloud.spec).await.unwrap();
    assert_eq!(
        remarks,
        [
            "--hetzner-existing-key-path is not used: the machine has a key of its own",
            "Server type cx23 (2 cores, 4 GB) in ash, image debian-12"
        ]
    );
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    let order = fake.world(|project| project.orders[0].clone());
    for (at, value) in [
        ("/image", json!("2")),
        ("/location", json!("ash")),
        ("/networks", json!([71])),
        ("/volumes", json!([81])),
        ("/public_net", json!({ "enable_ipv4": true, "enable_ipv6": false, "ipv4": 91 })),
        ("/ssh_keys/1", json!("61")),
        ("/labels/team", json!("ci")),
        ("/labels/machine-id", json!(cloud.spec.machine_id)),
    ] {
        assert_eq!(order.pointer(at), Some(&value), "{at}");
    }
    let user_data = order["user_data"].as_str().unwrap();
    assert!(user_data.contains("  - ssh-rsa AAAA me@home\n") && user_data.contains("echo from a file"));
    let label =
        |project: &mut Project| project.keys.values().filter(|key| key["labels"]["team"] == "ci").count();
    assert_eq!(fake.world(label), 1);
    assert_eq!(fake.world(|project| project.groups.len()), 1);

    // One placement group for all, which goes when nobody needs it.
    let second = Cloud::in_project(Arc::clone(&fake), &[("hetzner-auto-spread", "")]);
    let other = second.driver.create(&second.spec, &Silent).await.unwrap();
    assert_eq!(fake.world(|project| project.groups.len()), 1);
    cloud.driver.remove(&instance).await.unwrap();
    second.driver.remove(&other).await.unwrap();
    assert!(fake.world(|project| project.keys.contains_key(&61)), "the user's key is not ours to remove");
    let gone = cloud.driver.leftovers(&cloud.spec.options, &cloud.spec.owner, &BTreeSet::new(), true).await;
    let kinds: Vec<String> = gone.unwrap().into_iter().map(|left| left.kind).collect();
    assert_eq!(kinds, ["firewall", "placement group"]);
}

#[tokio::test]
async fn what_there_is_not_is_refused_with_what_there_is() {
    let fake = Cloud::new().fake;
    for (options, sentence) in [
        (vec![("image-id", "77")], "There is no image \"77\" in this project"),
        (vec![("networks", "home")], "There is no network \"home\"; there are office"),
        (vec![("volumes", "80")], "There is no volume \"80\"; there are cache, data, taken"),
        (vec![("volumes", "taken")], "taken is another server's already"),
        (vec![("volumes", "cache,data")], "data is in fsn1, and the server would be in ash"),
        (
            vec![("volumes", "data"), ("server-location", "ash")],
            "data is in fsn1, and the server would be in ash",
        ),
        (vec![("primary-ipv4", "front6")], "Primary IP front6 is no ipv4 address"),
        (vec![("firewalls", "web")], "There is no firewall \"web\"; there are "),
        (vec![("placement-group", "far")], "There is no placement group \"far\"; there are "),
        (vec![("existing-key-id", "5")], "There is no SSH key \"5\"; there are "),
    ] {
        let names: Vec<(String, &str)> =
            options.iter().map(|(name, value)| (format!("hetzner-{name}"), *value)).collect();
        let options: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let cloud = Cloud::in_project(Arc::clone(&fake), &options);
        let error = cloud.driver.check(&cloud.spec).await.unwrap_err();
        assert!(matches!(&error, DriverError::InvalidSpec(text) if text == sentence), "{error:?}");
    }
    assert_eq!(fake.count("POST"), 0, "nothing is made by looking");
}
