//! `linode` against an account whose answers are of the shape of recorded ones (`linodego`'s fixtures).

use crate::{
    fake::{Answer, Asked, Fake, Fault, World},
    subject::{driver, spec},
};
use machine_drivers::{
    Driver, DriverError, MachineSpec, Silent,
    testing::{Subject, conformance},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use tempfile::TempDir;

const TOKEN: &str = "the-token";
const PREFIX: &str = "/v4";

#[derive(Default)]
struct Account {
    next: u64,
    linodes: BTreeMap<u64, Value>,
    firewalls: BTreeMap<u64, Value>,
    under_way: BTreeMap<u64, (u32, &'static str)>,
}

impl Account {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn page(&self, entries: &[Value], asked: &Asked) -> Answer {
        let filter = asked.headers.get("x-filter").map(|filter| filter.to_str().unwrap());
        let filter: Value = filter.map_or(Value::Null, |filter| serde_json::from_str(filter).unwrap());
        let fits = |entry: &&Value| {
            filter["tags"].as_str().is_none_or(|tag| entry["tags"].as_array().unwrap().contains(&json!(tag)))
        };
        let entries: Vec<&Value> = entries.iter().filter(fits).collect();
        let page: usize = asked.query.get("page").map_or(1, |page| page.parse().unwrap());
        let size: usize = asked.query.get("page_size").map_or(100, |size| size.parse().unwrap());
        if !(25..=500).contains(&size) {
            return self.error(400, "Must be 25-500");
        }
        // Small pages: whoever reads the first only reads too little.
        let some: Vec<&Value> = entries.iter().skip((page - 1) * 2).take(2).copied().collect();
        let pages = entries.len().div_ceil(2).max(1);
        Answer::json(200, &json!({ "data": some, "page": page, "pages": pages, "results": entries.len() }))
    }

    fn look(&mut self, id: u64) {
        let Some((left, then)) = self.under_way.get_mut(&id) else { return };
        if *left > 0 {
            *left -= 1;
            return;
        }
        let then = *then;
        self.under_way.remove(&id);
        if then == "gone" {
            self.linodes.remove(&id);
        } else if let Some(linode) = self.linodes.get_mut(&id) {
            linode["status"] = then.into();
        }
    }

    fn create(&mut self, asked: &Asked) -> Answer {
        let body = &asked.body;
        for field in ["region", "type", "image", "root_pass", "authorized_keys", "label", "metadata", "tags"]
        {
            if body[field].is_null() {
                return self.error(400, &format!("{field} is required"));
            }
        }
        let tags = body["tags"].as_array().unwrap();
        if tags.iter().any(|tag| !(3..=50).contains(&tag.as_str().unwrap().len())) {
            return self.error(400, "Tags are 3-50 characters");
        }
        if self.linodes.values().any(|other| other["label"] == body["label"]) {
            return self.error(400, "Label must be unique among your linodes");
        }
        if !body["firewall_id"].as_u64().is_some_and(|id| self.firewalls.contains_key(&id)) {
            return self.error(404, "Not found");
        }
        let id = self.id();
        let linode = json!({ "id": id, "label": body["label"], "status": "provisioning", "tags": body["tags"],
            "region": body["region"], "type": body["type"], "image": body["image"],
            "ipv4": ["203.0.113.4"], "ipv6": "2001:db8::f03c:1/128", "hypervisor": "kvm", "backups": { "enabled": false },
            "specs": { "disk": 25600, "memory": 1024, "vcpus": 1, "gpus": 0, "transfer": 1000 } });
        self.linodes.insert(id, linode.clone());
        self.under_way.insert(id, (1, "running"));
        Answer::json(200, &linode)
    }

    fn power(&mut self, id: u64, what: &str) -> Answer {
        let Some(status) = self.linodes.get(&id).map(|linode| linode["status"].clone()) else {
            return self.error(404, "Not found");
        };
        if self.under_way.contains_key(&id) {
            return self.error(400, "Linode busy.");
        }
        let (now, then) = match (what, status.as_str().unwrap()) {
            ("boot", "offline") => ("booting", "running"),
            ("shutdown", "running") => ("shutting_down", "offline"),
            _ => return Answer::json(200, &json!({})),
        };
        self.linodes.get_mut(&id).unwrap()["status"] = now.into();
        self.under_way.insert(id, (1, then));
        Answer::json(200, &json!({}))
    }
}

impl World for Account {
    fn error(&self, status: u16, reason: &str) -> Answer {
        Answer::json(status, &json!({ "errors": [{ "reason": reason }] }))
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.headers.get("authorization").is_none_or(|value| *value != format!("Bearer {TOKEN}")) {
            return self.error(401, "Invalid Token");
        }
        // While it is looked at, time passes.
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        let id = parts.iter().find_map(|id| id.parse::<u64>().ok()).unwrap_or(0);
        let of = |map: &BTreeMap<u64, Value>| map.values().cloned().collect::<Vec<_>>();
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["regions"]) => self.page(&regions(), asked),
            ("GET", ["linode", "types"]) => self.page(&types(), asked),
            ("GET", ["images"]) => self.page(&images(), asked),
            ("GET", ["linode", "instances"]) => {
                let all: Vec<u64> = self.linodes.keys().copied().collect();
                all.into_iter().for_each(|id| self.look(id));
                self.page(&of(&self.linodes), asked)
            }
            ("POST", ["linode", "instances"]) => self.create(asked),
            ("GET", ["linode", "instances", _]) => {
                self.look(id);
                match self.linodes.get(&id) {
                    Some(linode) => Answer::json(200, linode),
                    None => self.error(404, "Not found"),
                }
            }
            ("DELETE", ["linode", "instances", _]) if self.linodes.contains_key(&id) => {
                self.linodes.get_mut(&id).unwrap()["status"] = "deleting".into();
                self.under_way.insert(id, (1, "gone"));
                Answer::json(200, &json!({}))
            }
            ("POST", ["linode", "instances", _, what]) => {
                self.look(id);
                self.power(id, what)
            }
            ("GET", ["networking", "firewalls"]) => self.page(&of(&self.firewalls), asked),
            ("POST", ["networking", "firewalls"]) => {
                let id = self.id();
                let mut firewall = asked.body.clone();
                firewall["id"] = id.into();
                firewall["status"] = "enabled".into();
                self.firewalls.insert(id, firewall.clone());
                Answer::json(200, &firewall)
            }
            ("DELETE", ["networking", "firewalls", _]) if self.firewalls.remove(&id).is_some() => {
                Answer::json(200, &json!({}))
            }
            _ => self.error(404, "Not found"),
        }
    }
}

fn regions() -> Vec<Value> {
    let one =
        |id: &str, capabilities: &[&str]| json!({ "id": id, "status": "ok", "capabilities": capabilities });
    vec![
        one("ap-west", &["Linodes"]),
        one("eu-central", &["Linodes", "Metadata"]),
        one("us-east", &["Linodes", "Metadata"]),
    ]
}

fn types() -> Vec<Value> {
    let one = |id: &str, memory: u64, price: f64| {
        json!({ "id": id, "label": id, "memory": memory, "vcpus": 1, "disk": 25600, "gpus": 0, "class": "nanode",
            "price": { "hourly": 0.0075, "monthly": price } })
    };
    vec![one("g6-standard-1", 2048, 12.0), one("g6-nanode-1", 1024, 5.0), one("g6-standard-4", 8192, 48.0)]
}

fn images() -> Vec<Value> {
    let one = |id: &str, vendor: &str, capabilities: &[&str]| json!({ "id": id, "vendor": vendor, "deprecated": false, "is_public": true, "capabilities": capabilities });
    vec![
        one("linode/debian11", "Debian", &[]),
        one("linode/debian12", "Debian", &["cloud-init"]),
        one("linode/ubuntu24.04", "Ubuntu", &["cloud-init"]),
    ]
}

fn cloud(fake: &Fake<Account>, options: &[(&str, &str)]) -> (Arc<dyn Driver>, MachineSpec, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = fake.url(PREFIX);
    let mut all = vec![("linode-endpoint", url.as_str()), ("linode-token", TOKEN)];
    all.extend(options);
    (driver("linode"), spec(folder.path(), &all), folder)
}

#[tokio::test]
async fn keeps_the_contract() {
    let fake = Fake::start(Account::default(), PREFIX, None);
    conformance(|| {
        let (driver, spec, folder) = cloud(&fake, &[]);
        Subject { driver, spec, keep: Box::new(folder) }
    })
    .await;
    assert!(fake.world(|account| account.linodes.is_empty() && account.firewalls.len() == 1));
}

#[tokio::test]
async fn only_what_takes_user_data_is_chosen() {
    let fake = Fake::start(Account::default(), PREFIX, None);
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
    for fault in [Fault::Lost, Fault::Cut, Fault::TooMany, Fault::Refuse(400, "Linode busy.")] {
        let fake = Fake::start(Account::default(), PREFIX, None);
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
