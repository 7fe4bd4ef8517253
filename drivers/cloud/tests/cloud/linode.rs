//! `linode` against an account whose answers are of the shape of recorded ones.

mod recorded;

use crate::subject::{driver, spec};
use machine_drivers::{
    Driver, DriverError, MachineSpec, Silent,
    conformance::{Subject, conformance},
};
use serde_json::json;
use std::sync::Arc;
use tempfile::TempDir;
use tests::test_cloud::{
    Fake, Fault, Imaginary, TOKEN,
    linode::{Account, PREFIX},
};

fn cloud(url: &str, options: &[(&str, &str)]) -> (Arc<dyn Driver>, MachineSpec, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec![("linode-endpoint", url), ("linode-token", TOKEN)];
    all.extend(options);
    (driver("linode"), spec(folder.path(), &all), folder)
}

fn account() -> Account {
    Account::on(Imaginary::at("203.0.113.4"))
}

#[tokio::test]
async fn keeps_the_contract() {
    let fake = Fake::start(account(), PREFIX, None);
    conformance(|| {
        let (driver, spec, folder) = cloud(&fake.url(PREFIX), &[]);
        Subject { driver, spec, keep: Box::new(folder) }
    })
    .await;
    assert!(fake.world(|account| account.linodes.is_empty() && account.firewalls.len() == 1));
}

#[tokio::test]
async fn only_what_takes_user_data_is_chosen() {
    let fake = Fake::start(account(), PREFIX, None);
    let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &[]);
    let remarks = driver.check(&spec).await.unwrap();
    assert_eq!(remarks, ["Type g6-nanode-1 (1 CPUs, 1024 MB) in us-east, image linode/debian12"]);
    for (option, value, list) in [
        ("linode-region", "ap-west", "there are eu-central, us-east"),
        ("linode-image", "linode/debian11", "there are linode/debian12, linode/ubuntu24.04"),
        ("linode-instance-type", "g1", "there are g6-nanode-1, g6-standard-1, g6-standard-4"),
    ] {
        let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &[(option, value)]);
        let error = driver.check(&spec).await.unwrap_err();
        assert!(matches!(&error, DriverError::InvalidSpec(text) if text.ends_with(list)), "{error:?}");
    }
}

#[tokio::test]
async fn lost_answers_and_a_busy_linode_make_one_linode() {
    for fault in [Fault::Lost, Fault::Cut, Fault::TooMany(0), Fault::Refuse(400, "Linode busy.")] {
        let fake = Fake::start(account(), PREFIX, None);
        let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &[]);
        fake.fail_next("POST", "/linode/instances", fault);
        fake.fail_next("POST", "/networking/firewalls", fault);
        let instance = driver.create(&spec, &Silent).await.unwrap();
        assert_eq!(fake.world(|a| (a.linodes.len(), a.firewalls.len())), (1, 1), "{fault:?}");
        driver.start(&instance, &Silent).await.unwrap();
        driver.remove(&instance).await.unwrap();
        assert_eq!(fake.world(|a| a.linodes.len()), 0);
    }
}

#[tokio::test]
async fn a_firewall_holds_in_accounts_of_either_generation() {
    for (interfaces, asked_for) in [
        ("legacy_config_only", json!(null)),
        ("linode_default_but_legacy_config_allowed", json!("legacy_config")),
        ("linode_only", json!("linode")),
        // A token that may not know.
        ("", json!(null)),
    ] {
        let fake = Fake::start(account(), PREFIX, None);
        fake.world(|account| account.interfaces = interfaces);
        let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &[]);
        let instance = driver.create(&spec, &Silent).await.unwrap();
        assert_eq!(fake.world(|account| account.orders[0]["interface_generation"].clone()), asked_for);
        driver.remove(&instance).await.unwrap();
        let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &[("linode-create-private-ip", "")]);
        assert_eq!(driver.check(&spec).await.is_err(), interfaces == "linode_only");
    }
}

#[tokio::test]
async fn a_token_that_may_not_is_no_wrong_token() {
    let fake = Fake::start(account(), PREFIX, None);
    let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &[]);
    let reason = "Your OAuth token is not authorized to use this endpoint.";
    fake.fail_next("POST", "/linode/instances", Fault::Refuse(401, reason));
    let error = driver.create(&spec, &Silent).await.unwrap_err();
    assert!(
        matches!(&error, DriverError::Prerequisite { what, .. } if what.starts_with("Linode does not allow that")),
        "{error:?}"
    );
}

#[tokio::test]
async fn stackscripts_are_looked_up() {
    let fake = Fake::start(account(), PREFIX, None);
    let data = r#"{"size": "1G"}"#;
    let asked =
        [("linode-stackscript", "me/zram"), ("linode-stackscript-data", data), ("linode-ua-prefix", "x/1")];
    let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &asked);
    let remarks = driver.check(&spec).await.unwrap();
    assert_eq!(remarks[0], "--linode-ua-prefix is not used: calls say who makes them");
    driver.create(&spec, &Silent).await.unwrap();
    let order = fake.world(|account| account.orders[0].clone());
    assert_eq!(
        (&order["stackscript_id"], &order["stackscript_data"]),
        (&json!(23), &json!({ "size": "1G" }))
    );
    for (script, data, sentence) in [
        ("me/nope", "{}", "There is no StackScript of me \"nope\"; there are old, swap, zram"),
        ("24", "{}", "There is no StackScript \"24\"; name one by number or USER/LABEL"),
        ("21", "{}", "StackScript 21 is not for linode/debian12; it is for linode/debian9"),
        ("22", "[]", "--linode-stackscript-data takes a JSON object"),
    ] {
        let asked = [("linode-stackscript", script), ("linode-stackscript-data", data)];
        let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &asked);
        let error = driver.check(&spec).await.unwrap_err();
        assert!(matches!(&error, DriverError::InvalidSpec(text) if text == sentence), "{error:?}");
    }
}
