//! What Linode itself has answered, replayed: the driver must read all of it. Types and images were not
//! recorded; those are our account's.

use super::{account, cloud};
use axum::http::header::AUTHORIZATION;
use machine_drivers::{InstanceState, Silent};
use serde_json::Value;
use std::{sync::LazyLock, time::Duration};
use tests::test_cloud::{
    Answer, Asked, Fake, TOKEN, World,
    linode::{Account, PREFIX},
};

/// The recorded Linode.
const LINODE: &str = "/linode/instances/52557263";
static RECORDED: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("recorded.json")).unwrap());

/// The account of the recordings, in which one Linode lives.
#[derive(Debug)]
struct Recording {
    ours: Account,
    /// What the Linode is next; `None` when it is no more.
    state: Option<&'static str>,
}

/// The recorded answer to `asked` in the recording `file`, the last that `fits`.
fn recorded(file: &str, asked: &str, fits: impl Fn(&Value) -> bool) -> Answer {
    let all = RECORDED["answers"].as_array().unwrap();
    let of = |answer: &&Value| answer["from"] == file && answer["asked"] == asked && fits(&answer["body"]);
    let answer = all.iter().rfind(of).unwrap_or_else(|| panic!("{asked} is not in {file}"));
    Answer::json(u16::try_from(answer["status"].as_u64().unwrap()).unwrap(), &answer["body"])
}

impl World for Recording {
    fn error(&self, _status: u16, _reason: &str) -> Answer {
        recorded("ExampleGetType_missing.yaml", "GET /linode/types/missing-type", |_| true)
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        const LIFE: &str = "TestEventPoller_InstancePower.yaml";
        let call = format!("{} {}", asked.method, asked.path);
        let any = |_: &Value| true;
        match call.as_str() {
            "GET /linode/types" | "GET /images" => self.ours.answer(asked),
            "GET /regions" | "GET /account/settings" => recorded("TestInstance_Get.yaml", &call, any),
            "POST /networking/firewalls" => recorded("TestInstanceFirewalls_List.yaml", &call, any),
            "GET /networking/firewalls" => {
                recorded("TestInstanceFirewalls_List.yaml", "GET /linode/instances/82372496/firewalls", any)
            }
            "POST /linode/instances" => {
                self.state = Some("running");
                recorded(LIFE, &call, any)
            }
            // A listing shows another Linode of the account, which bears no tag of ours.
            "GET /linode/instances" => recorded("TestInstances_List.yaml", &call, any),
            _ if asked.path.starts_with(LINODE) => {
                let Some(state) = self.state else { return self.error(404, "Not found") };
                match call.strip_prefix("POST ").and_then(|path| path.strip_prefix(LINODE)) {
                    Some("/shutdown") => self.state = Some("offline"),
                    Some("/boot") => self.state = Some("running"),
                    _ if asked.method == "DELETE" => self.state = None,
                    _ => {}
                }
                recorded(LIFE, &call, |body| body.get("status").is_none_or(|status| *status == state))
            }
            _ => self.error(404, "Not found"),
        }
    }
}

#[tokio::test]
async fn a_recorded_life_is_read_from_its_making_to_its_end() {
    let fake = Fake::start(Recording { ours: account(), state: None }, PREFIX, None);
    let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &[]);
    let remarks = driver.check(&spec).await.unwrap();
    assert_eq!(remarks, ["Type g6-nanode-1 (1 CPUs, 1024 MB) in us-east, image linode/debian12"]);
    let instance = driver.create(&spec, &Silent).await.unwrap();
    assert_eq!(instance.id, "52557263");
    driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(driver.access(&instance).await.unwrap().ssh.host, "192.0.2.0");
    driver.stop(&instance, Duration::from_secs(1)).await.unwrap();
    assert_eq!(driver.state(&instance).await.unwrap(), InstanceState::Stopped);
    driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(driver.state(&instance).await.unwrap(), InstanceState::Running);
    driver.remove(&instance).await.unwrap();
    driver.remove(&instance).await.unwrap();
    assert!(fake.world(|recording| recording.state.is_none()));
    assert_eq!(fake.count("DELETE"), 1, "nothing of anybody else's");
}

#[tokio::test]
async fn what_ours_answers_has_the_recorded_shape() {
    let fake = Fake::start(account(), PREFIX, None);
    let (driver, spec, _folder) = cloud(&fake.url(PREFIX), &[]);
    driver.create(&spec, &Silent).await.unwrap();
    let ask = |path: &str| {
        let asked = Asked {
            method: "GET".to_owned(),
            target: path.to_owned(),
            path: path.to_owned(),
            query: [].into(),
            headers: [(AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap())].into_iter().collect(),
            body: Value::Null,
            text: String::new(),
        };
        let answer: Value = serde_json::from_str(&fake.world(|account| account.answer(&asked)).body).unwrap();
        answer
    };
    let all = RECORDED["answers"].as_array().unwrap();
    let theirs = |call: &'static str| {
        all.iter().filter(move |answer| answer["asked"] == call).map(|answer| &answer["body"])
    };
    for (path, entry, call) in [
        ("/regions", "", "GET /regions"),
        ("/account/settings", "", "GET /account/settings"),
        ("/networking/firewalls", "", "GET /linode/instances/82372496/firewalls"),
        ("/networking/firewalls", "/data/0", "POST /networking/firewalls"),
        ("/linode/instances", "", "GET /linode/instances"),
        ("/linode/instances", "/data/0", "POST /linode/instances"),
    ] {
        let answer = ask(path);
        let found =
            theirs(call).map(|recorded| same_shape(answer.pointer(entry).unwrap(), recorded, call)).count();
        assert!(found > 0, "{call}");
    }
    let missing: Value = serde_json::from_str(&account().error(404, "Not found").body).unwrap();
    theirs("GET /linode/types/missing-type").for_each(|recorded| same_shape(&missing, recorded, "error"));
}

/// Everything in `ours` is in `theirs`, and of the same kind.
fn same_shape(ours: &Value, theirs: &Value, at: &str) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, value) in ours {
                let other = theirs.get(name).unwrap_or_else(|| panic!("{at} has no {name}"));
                same_shape(value, other, &format!("{at}.{name}"));
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.iter().zip(theirs).for_each(|(ours, theirs)| same_shape(ours, theirs, at));
        }
        // What is not there tells nothing of what it would be.
        (_, Value::Null) => {}
        _ => assert_eq!(
            std::mem::discriminant(ours),
            std::mem::discriminant(theirs),
            "{at}: {ours} is of another kind than {theirs}"
        ),
    }
}
