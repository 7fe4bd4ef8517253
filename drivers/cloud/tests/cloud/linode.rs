//! `linode` against an account whose answers are of the shape of recorded ones (`linodego`'s fixtures).

use crate::subject::{driver, spec};
use machine_drivers::{
    Driver, DriverError, MachineSpec, Silent,
    conformance::{Subject, conformance},
};
use std::sync::Arc;
use tempfile::TempDir;
use tests::test_cloud::{
    Fake, Fault, Imaginary, TOKEN,
    linode::{Account, PREFIX},
};

fn cloud(fake: &Fake<Account>, options: &[(&str, &str)]) -> (Arc<dyn Driver>, MachineSpec, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = fake.url(PREFIX);
    let mut all = vec![("linode-endpoint", url.as_str()), ("linode-token", TOKEN)];
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
        let (driver, spec, folder) = cloud(&fake, &[]);
        Subject { driver, spec, keep: Box::new(folder) }
    })
    .await;
    assert!(fake.world(|account| account.linodes.is_empty() && account.firewalls.len() == 1));
}

#[tokio::test]
async fn only_what_takes_user_data_is_chosen() {
    let fake = Fake::start(account(), PREFIX, None);
    let (driver, spec, _folder) = cloud(&fake, &[]);
    let remarks = driver.check(&spec).await.unwrap();
    assert_eq!(remarks, ["Type g6-nanode-1 (1 CPUs, 1024 MB) in us-east, image linode/debian12"]);
    for (option, value, list) in [
        ("linode-region", "ap-west", "there are eu-central, us-east"),
        ("linode-image", "linode/debian11", "there are linode/debian12, linode/ubuntu24.04"),
        ("linode-instance-type", "g1", "there are g6-nanode-1, g6-standard-1, g6-standard-4"),
    ] {
        let (driver, spec, _folder) = cloud(&fake, &[(option, value)]);
        let error = driver.check(&spec).await.unwrap_err();
        assert!(matches!(&error, DriverError::InvalidSpec(text) if text.ends_with(list)), "{error:?}");
    }
}

#[tokio::test]
async fn lost_answers_and_a_busy_linode_make_one_linode() {
    for fault in [Fault::Lost, Fault::Cut, Fault::TooMany(0), Fault::Refuse(400, "Linode busy.")] {
        let fake = Fake::start(account(), PREFIX, None);
        let (driver, spec, _folder) = cloud(&fake, &[]);
        fake.fail_next("POST", "/linode/instances", fault);
        fake.fail_next("POST", "/networking/firewalls", fault);
        let instance = driver.create(&spec, &Silent).await.unwrap();
        assert_eq!(fake.world(|a| (a.linodes.len(), a.firewalls.len())), (1, 1), "{fault:?}");
        driver.start(&instance, &Silent).await.unwrap();
        driver.remove(&instance).await.unwrap();
        assert_eq!(fake.world(|a| a.linodes.len()), 0);
    }
}
