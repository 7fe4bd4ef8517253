//! `digitalocean` against an account that keeps DigitalOcean's specification.

use crate::subject::{driver, spec};
use machine_drivers::{
    Driver, DriverError, MachineSpec, Silent,
    conformance::{Subject, conformance},
};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};
use tempfile::TempDir;
use tests::test_cloud::{
    Fake, Fault, Imaginary, TOKEN,
    digitalocean::{Account, SPECIFICATION},
};

const ADDRESS: &str = "203.0.113.9";

struct Cloud {
    fake: Arc<Fake<Account>>,
    folder: TempDir,
    spec: MachineSpec,
    driver: Arc<dyn Driver>,
}

impl Cloud {
    fn new() -> Self {
        Self::in_account(
            Arc::new(Fake::start(Account::on(Imaginary::at(ADDRESS)), "", Some(&SPECIFICATION))),
            &[],
        )
    }

    fn in_account(fake: Arc<Fake<Account>>, options: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = fake.url("");
        let mut all = vec![("digitalocean-endpoint", url.as_str()), ("digitalocean-access-token", TOKEN)];
        all.extend(options);
        let spec = spec(folder.path(), &all);
        Self { fake, folder, spec, driver: driver("digitalocean") }
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let fake = Arc::new(Fake::start(Account::on(Imaginary::at(ADDRESS)), "", Some(&SPECIFICATION)));
    conformance(|| {
        let cloud = Cloud::in_account(Arc::clone(&fake), &[]);
        Subject { driver: cloud.driver, spec: cloud.spec, keep: Box::new(cloud.folder) }
    })
    .await;
    assert!(fake.world(|account| account.droplets.is_empty() && account.keys.is_empty()));
    assert_eq!(fake.world(|account| account.firewalls.len()), 1, "one firewall for all");
}

#[tokio::test]
async fn what_is_not_asked_for_is_decided_and_told() {
    let cloud = Cloud::new();
    let remarks = cloud.driver.check(&cloud.spec).await.unwrap();
    assert_eq!(remarks, ["Size s-1vcpu-1gb (1 CPUs, 1024 MB) in nyc3, image debian-13-x64"]);
    for (option, value, list) in [
        ("digitalocean-size", "huge", "there are s-1vcpu-1gb, s-1vcpu-2gb, s-1vcpu-512mb"),
        (
            "digitalocean-image",
            "ubuntu-16-04-x64",
            "there are debian-12-x64, debian-13-x64, ubuntu-24-04-x64",
        ),
        ("digitalocean-region", "nyc1", "there are ams3, nyc3"),
    ] {
        let other = Cloud::in_account(Arc::clone(&cloud.fake), &[(option, value)]);
        let error = other.driver.check(&other.spec).await.unwrap_err();
        assert!(matches!(&error, DriverError::InvalidSpec(text) if text.ends_with(list)), "{error:?}");
    }
}

#[tokio::test]
async fn lost_answers_and_limits_make_one_droplet() {
    for fault in [Fault::Lost, Fault::Cut, Fault::TooMany(0)] {
        let cloud = Cloud::new();
        for path in ["/v2/droplets", "/v2/account/keys", "/v2/firewalls"] {
            cloud.fake.fail_next("POST", path, fault);
        }
        let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
        assert_eq!(cloud.fake.world(|a| (a.droplets.len(), a.keys.len())), (1, 1), "{fault:?}");
        cloud.driver.start(&instance, &Silent).await.unwrap();
        assert_eq!(cloud.driver.access(&instance).await.unwrap().ip, ADDRESS);
        cloud.driver.remove(&instance).await.unwrap();
        assert_eq!(cloud.fake.world(|a| (a.droplets.len(), a.keys.len())), (0, 0));
    }
}

#[tokio::test]
async fn gc_takes_the_firewall_last() {
    let cloud = Cloud::new();
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    let gc = |alive: BTreeSet<String>, remove| {
        let (driver, spec) = (&cloud.driver, &cloud.spec);
        async move { driver.leftovers(&spec.options, &spec.owner, &alive, remove).await.unwrap() }
    };
    assert_eq!(gc([cloud.spec.machine_id.clone()].into(), true).await, []);
    cloud.driver.remove(&instance).await.unwrap();
    let left: Vec<String> = gc(BTreeSet::new(), true).await.iter().map(|left| left.kind.clone()).collect();
    assert_eq!(left, ["firewall"]);
    assert!(cloud.fake.world(|account| account.firewalls.is_empty()));
}

#[tokio::test]
async fn an_action_that_fails_is_told_at_once() {
    let cloud = Cloud::new();
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    cloud.driver.start(&instance, &Silent).await.unwrap();
    cloud.fake.world(|account| account.droplets.failing_actions = 1);
    let error = cloud.driver.kill(&instance).await.unwrap_err();
    assert!(error.to_string().contains("errored"), "{error}");
    cloud.driver.kill(&instance).await.unwrap();
}

#[tokio::test]
async fn a_new_token_is_taken_if_it_shows_the_droplet() {
    let cloud = Cloud::new();
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    cloud.fake.world(|account| account.token = "the-next".to_owned());
    let renew = |token: &str| {
        // The endpoint stays that of the machine, whatever the environment says meanwhile.
        let url = cloud.fake.url("/elsewhere");
        let given = [("digitalocean-endpoint", url.as_str()), ("digitalocean-access-token", token)];
        let options = spec(cloud.folder.path(), &given).options;
        let (driver, instance) = (&cloud.driver, &instance);
        async move { driver.reauthorize(instance, &options).await }
    };
    assert!(matches!(renew("nonsense").await, Err(DriverError::Prerequisite { .. })));
    // Another account's token is as good as any, and sees no such droplet.
    cloud.fake.fail_next("GET", "/v2/droplets/", Fault::Refuse(404, "not_found"));
    let error = renew("the-next").await.unwrap_err();
    assert!(
        matches!(&error, DriverError::InvalidSpec(text) if text.contains("nothing was changed")),
        "{error:?}"
    );
    assert!(cloud.driver.state(&instance).await.is_err());
    renew("the-next").await.unwrap();
    cloud.driver.state(&instance).await.unwrap();
    cloud.driver.remove(&instance).await.unwrap();
}

#[tokio::test]
async fn keys_and_images_of_the_users_own_are_taken() {
    let cloud = Cloud::new();
    let key = json!({ "id": 61, "name": "mine", "public_key": "ssh-rsa M", "fingerprint": "aa:bb" });
    cloud.fake.world(|account| account.keys.insert(61, key));
    let with = |options: &[(&str, &str)]| Cloud::in_account(Arc::clone(&cloud.fake), options);
    let mine = with(&[
        ("digitalocean-ssh-key-fingerprint", "aa:bb"),
        ("digitalocean-ssh-key-path", "/root/.ssh/id_rsa"),
        ("digitalocean-image", "4711"),
        ("digitalocean-region", "ams3"),
    ]);
    assert_eq!(
        mine.driver.check(&mine.spec).await.unwrap(),
        [
            "--digitalocean-ssh-key-path is not used: the machine has a key of its own",
            "Size s-1vcpu-1gb (1 CPUs, 1024 MB) in ams3, image 4711"
        ]
    );
    let instance = mine.driver.create(&mine.spec, &Silent).await.unwrap();
    let order = cloud.fake.world(|account| account.orders[0].clone());
    assert_eq!((&order["image"], &order["ssh_keys"][1]), (&json!(4711), &json!(61)));
    mine.driver.remove(&instance).await.unwrap();
    assert!(cloud.fake.world(|account| account.keys.contains_key(&61)), "it is not ours to remove");
    let app = with(&[("digitalocean-image", "app-24-04")]);
    app.driver.check(&app.spec).await.unwrap();
    for (option, value, sentence) in [
        ("digitalocean-ssh-key-fingerprint", "cc", "There is no SSH key \"cc\"; there are aa:bb"),
        ("digitalocean-image", "4711", "Image 4711 is not in nyc3; it is in ams3"),
    ] {
        let other = with(&[(option, value)]);
        let error = other.driver.check(&other.spec).await.unwrap_err();
        assert!(matches!(&error, DriverError::InvalidSpec(text) if text == sentence), "{error:?}");
    }
}
