//! What goes wrong between us and EC2.

use super::{Cloud, Told, violations};
use crate::subject::polling;
use machine_drivers::{DriverError, InstanceState, Silent};
use std::{collections::BTreeSet, time::Duration};
use tests::test_cloud::{Fault, ec2::ACCESS_KEY};

#[tokio::test]
async fn a_lost_answer_makes_no_second_instance() {
    for fault in [Fault::Lost, Fault::Cut] {
        let cloud = Cloud::new(&[]);
        for action in [
            "/RunInstances",
            "/ImportKeyPair",
            "/CreateSecurityGroup",
            "/AuthorizeSecurityGroupIngress",
            "/TerminateInstances",
        ] {
            cloud.fake.fail_next("POST", action, fault);
        }
        let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
        assert_eq!(cloud.fake.world(|r| (r.instances.len(), r.keys.len(), r.groups.len())), (1, 1, 2));
        assert_eq!(cloud.fake.count("POST /RunInstances"), 2, "asked again with the same token");
        cloud.driver.remove(&instance).await.unwrap();
        cloud.nothing_is_left();
        assert_eq!(violations(&cloud.fake), BTreeSet::new());
    }
}

#[tokio::test]
async fn throttling_is_waited_out() {
    let cloud = Cloud::new(&[]);
    for action in
        ["/DescribeImages", "/RunInstances", "/RunInstances", "/DescribeInstances", "/TerminateInstances"]
    {
        cloud.fake.fail_next("POST", action, Fault::Refuse(503, "RequestLimitExceeded"));
    }
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    cloud.driver.start(&instance, &Silent).await.unwrap();
    cloud.driver.remove(&instance).await.unwrap();
    cloud.nothing_is_left();
}

#[tokio::test]
async fn a_zone_without_capacity_is_followed_by_the_next() {
    let cloud = Cloud::new(&[]);
    cloud.fake.fail_next("POST", "/RunInstances", Fault::Refuse(500, "InsufficientInstanceCapacity"));
    let told = Told::default();
    let instance = cloud.driver.create(&cloud.spec, &told).await.unwrap();
    assert_eq!(
        *told.0.lock().unwrap(),
        ["Making a t3.micro instance in eu-test-1a", "Making a t3.micro instance in eu-test-1b"]
    );
    cloud.driver.remove(&instance).await.unwrap();

    let asked = Cloud::in_region(&cloud.fake, &[("amazonec2-zone", "a")]);
    cloud.fake.fail_next("POST", "/RunInstances", Fault::Refuse(500, "InsufficientInstanceCapacity"));
    let error = asked.driver.create(&asked.spec, &Silent).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "AWS: RunInstances failed: there is no capacity for t3.micro in eu-test-1a now; try another \
         --amazonec2-instance-type or --amazonec2-region"
    );
    asked.nothing_is_left();
}

#[tokio::test]
async fn a_refused_create_takes_back_what_it_made_and_names_the_permission() {
    let cloud = Cloud::new(&[]);
    cloud.fake.fail_next("POST", "/RunInstances", Fault::Refuse(403, "UnauthorizedOperation"));
    let error = cloud.driver.create(&cloud.spec, &Silent).await.unwrap_err();
    assert!(
        matches!(&error, DriverError::Prerequisite { what, .. }
            if what.starts_with("AWS does not allow that: the permission ec2:RunInstances is missing")),
        "{error:?}"
    );
    cloud.nothing_is_left();
}

#[tokio::test]
async fn wrong_and_expired_keys_are_told_and_never_shown() {
    let fake = Cloud::new(&[]).fake;
    for options in [
        vec![("amazonec2-access-key", "AKIAWRONG"), ("amazonec2-secret-key", "the-secret")],
        vec![("amazonec2-secret-key", "the-secret"), ("amazonec2-session-token", "expired-token")],
    ] {
        let cloud = Cloud::in_region(&fake, &options);
        let before = fake.count("POST");
        let error = cloud.driver.check(&cloud.spec).await.unwrap_err();
        assert!(
            matches!(&error, DriverError::Prerequisite { what, hint }
                if what.contains("AWS does not accept the credentials") && hint.contains("expired")),
            "{error:?}"
        );
        let shown = format!("{error:?} {:?} {:?}", cloud.spec, cloud.driver);
        assert!(!shown.contains("the-secret") && !shown.contains("expired-token"), "{shown}");
        assert!(fake.count("POST") - before <= 3, "what is rejected is not tried again");
    }
}

#[tokio::test]
async fn a_wrong_clock_is_worked_around() {
    let cloud = Cloud::new(&[]);
    cloud.fake.world(|region| region.clock_ahead = 3600);
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    cloud.driver.remove(&instance).await.unwrap();
    cloud.nothing_is_left();
}

#[tokio::test]
async fn what_was_just_made_and_is_not_seen_yet_is_waited_for() {
    let cloud = Cloud::new(&[]);
    // Slow enough for ten looks under any load.
    let driver = polling("amazonec2", Duration::from_millis(200));
    cloud.fake.world(|region| region.blind = 2);
    let instance = driver.create(&cloud.spec, &Silent).await.unwrap();
    driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(driver.state(&instance).await.unwrap(), InstanceState::Running);
    driver.remove(&instance).await.unwrap();
    cloud.nothing_is_left();

    cloud.fake.world(|region| region.blind = 2);
    let instance = driver.create(&cloud.spec, &Silent).await.unwrap();
    driver.remove(&instance).await.unwrap();
    cloud.nothing_is_left();
}

#[tokio::test]
async fn a_group_that_goes_while_an_instance_is_made_is_made_again() {
    let cloud = Cloud::new(&[]);
    cloud.fake.fail_next("POST", "/RunInstances", Fault::Refuse(400, "InvalidGroup.NotFound"));
    cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    assert_eq!(cloud.fake.world(|region| region.instances.len()), 1);
}

#[tokio::test]
async fn a_create_that_was_killed_is_found_again() {
    let cloud = Cloud::new(&[]);
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    let journal = cloud.folder.path().join("cloud.json");
    let noted = std::fs::read_to_string(&journal).unwrap();
    assert!(noted.contains(ACCESS_KEY));
    let mut noted: serde_json::Value = serde_json::from_str(&noted).unwrap();
    noted["vm"] = serde_json::Value::Null;
    std::fs::write(&journal, noted.to_string()).unwrap();
    let found = cloud.driver.recover(&cloud.spec.directory, &cloud.spec.machine_id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&instance));
    cloud.driver.remove(&found.unwrap()).await.unwrap();
    cloud.nothing_is_left();
}
