//! `digitalocean` against an account that keeps DigitalOcean's specification.

use crate::{
    fake::{Answer, Asked, Fake, Fault, World},
    schema::Specification,
    subject::{driver, spec},
};
use machine_drivers::{
    Driver, DriverError, MachineSpec, Silent,
    testing::{Subject, conformance},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};
use tempfile::TempDir;

static SPECIFICATION: LazyLock<Specification> =
    LazyLock::new(|| Specification::parse(include_str!("../specs/digitalocean.json")));
const TOKEN: &str = "the-token";

#[derive(Default)]
struct Account {
    next: u64,
    droplets: BTreeMap<u64, Value>,
    keys: BTreeMap<u64, Value>,
    firewalls: BTreeMap<u64, Value>,
    under_way: BTreeMap<u64, (u32, &'static str)>,
}

impl Account {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Small pages: whoever reads the first only reads too little.
    fn page(&self, key: &str, entries: &[Value], asked: &Asked) -> Answer {
        let tagged = |entry: &&Value| {
            let tag = asked.query.get("tag_name");
            tag.is_none_or(|tag| entry["tags"].as_array().is_some_and(|tags| tags.contains(&json!(tag))))
        };
        let entries: Vec<&Value> = entries.iter().filter(tagged).collect();
        let page: usize = asked.query.get("page").map_or(1, |page| page.parse().unwrap());
        let some: Vec<&Value> = entries.iter().skip((page - 1) * 2).take(2).copied().collect();
        let links = if entries.len() > page * 2 {
            json!({ "pages": { "next": format!("https://elsewhere.example/v2?page={}", page + 1) } })
        } else {
            json!({})
        };
        Answer::json(200, &json!({ key: some, "links": links, "meta": { "total": entries.len() } }))
    }

    fn look(&mut self, id: u64) {
        let Some((left, then)) = self.under_way.get_mut(&id) else { return };
        if *left > 0 {
            *left -= 1;
            return;
        }
        let then = *then;
        self.under_way.remove(&id);
        if let Some(droplet) = self.droplets.get_mut(&id) {
            if droplet["status"] == "new" {
                droplet["networks"] = json!({
                    "v4": [{ "ip_address": "10.1.0.2", "type": "private" }, { "ip_address": "203.0.113.9", "type": "public" }],
                    "v6": [] });
            }
            droplet["status"] = then.into();
        }
    }

    fn act(&mut self, id: u64, what: &str) -> Answer {
        let Some(status) = self.droplets.get(&id).map(|droplet| droplet["status"].clone()) else {
            return self.error(404, "not_found");
        };
        self.look(id);
        if self.under_way.contains_key(&id) {
            let mut answer = self.error(422, "unprocessable_entity");
            answer.body =
                json!({ "id": "unprocessable_entity", "message": "Droplet already has a pending event." })
                    .to_string();
            return answer;
        }
        match (what, status.as_str().unwrap()) {
            ("power_on", "off") => _ = self.under_way.insert(id, (1, "active")),
            ("shutdown" | "power_off", "active") => _ = self.under_way.insert(id, (1, "off")),
            _ => return self.error(422, "unprocessable_entity"),
        }
        Answer::json(201, &json!({ "action": { "id": 1, "status": "in-progress", "type": what } }))
    }
}

impl World for Account {
    fn error(&self, status: u16, code: &str) -> Answer {
        Answer::json(status, &json!({ "id": code, "message": format!("It is {code}"), "request_id": "1" }))
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.headers.get("authorization").is_none_or(|value| *value != format!("Bearer {TOKEN}")) {
            return self.error(401, "unauthorized");
        }
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').skip(1).collect();
        let id = parts.iter().find_map(|id| id.parse::<u64>().ok()).unwrap_or(0);
        let of = |map: &BTreeMap<u64, Value>| map.values().cloned().collect::<Vec<_>>();
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["regions"]) => self.page("regions", &regions(), asked),
            ("GET", ["sizes"]) => self.page("sizes", &sizes(), asked),
            ("GET", ["images"]) => self.page("images", &images(), asked),
            ("GET", ["droplets"]) => {
                let all: Vec<u64> = self.droplets.keys().copied().collect();
                all.into_iter().for_each(|id| self.look(id));
                self.page("droplets", &of(&self.droplets), asked)
            }
            ("POST", ["droplets"]) => {
                let known = asked.body["ssh_keys"].as_array().is_some_and(|ids| {
                    ids.iter().all(|id| id.as_u64().is_some_and(|id| self.keys.contains_key(&id)))
                });
                if !known {
                    return self.error(422, "unprocessable_entity");
                }
                let id = self.id();
                let droplet = json!({ "id": id, "name": asked.body["name"], "status": "new", "tags": asked.body["tags"],
                    "networks": { "v4": [], "v6": [] } });
                self.droplets.insert(id, droplet.clone());
                self.under_way.insert(id, (1, "active"));
                Answer::json(202, &json!({ "droplet": droplet, "links": {} }))
            }
            ("GET", ["droplets", _]) => {
                self.look(id);
                match self.droplets.get(&id) {
                    Some(droplet) => Answer::json(200, &json!({ "droplet": droplet })),
                    None => self.error(404, "not_found"),
                }
            }
            ("DELETE", ["droplets", _]) if self.droplets.remove(&id).is_some() => {
                Answer::json(204, &Value::Null)
            }
            ("POST", ["droplets", _, "actions"]) => {
                let what = asked.body["type"].as_str().unwrap().to_owned();
                self.act(id, &what)
            }
            ("GET", ["account", "keys"]) => self.page("ssh_keys", &of(&self.keys), asked),
            ("POST", ["account", "keys"]) => {
                let id = self.id();
                let mut key = asked.body.clone();
                key["id"] = id.into();
                self.keys.insert(id, key.clone());
                Answer::json(201, &json!({ "ssh_key": key }))
            }
            ("DELETE", ["account", "keys", _]) if self.keys.remove(&id).is_some() => {
                Answer::json(204, &Value::Null)
            }
            ("GET", ["firewalls"]) => self.page("firewalls", &of(&self.firewalls), asked),
            ("POST", ["firewalls"]) => {
                // A tag exists once something bears it.
                let tag = &asked.body["tags"][0];
                if !self.droplets.values().any(|droplet| droplet["tags"].as_array().unwrap().contains(tag)) {
                    return self.error(422, "unprocessable_entity");
                }
                let id = self.id();
                let mut firewall = asked.body.clone();
                firewall["id"] = id.to_string().into();
                self.firewalls.insert(id, firewall.clone());
                Answer::json(202, &json!({ "firewall": firewall }))
            }
            ("DELETE", ["firewalls", _]) if self.firewalls.remove(&id).is_some() => {
                Answer::json(204, &Value::Null)
            }
            _ => self.error(404, "not_found"),
        }
    }
}

fn regions() -> Vec<Value> {
    let one = |slug: &str, available: bool| json!({ "slug": slug, "name": slug, "available": available, "features": [], "sizes": [] });
    vec![one("ams3", true), one("nyc1", false), one("nyc3", true)]
}

fn sizes() -> Vec<Value> {
    let one = |slug: &str, memory: u64, price: f64, regions: &[&str]| {
        json!({ "slug": slug, "memory": memory, "vcpus": 1, "disk": 25, "price_monthly": price, "price_hourly": 0.01,
            "available": true, "regions": regions, "transfer": 1.0, "description": "Basic" })
    };
    vec![
        one("s-1vcpu-512mb", 512, 4.0, &["nyc3", "ams3"]),
        one("s-1vcpu-2gb", 2048, 12.0, &["nyc3", "ams3"]),
        one("s-1vcpu-1gb", 1024, 6.0, &["ams3", "nyc3"]),
    ]
}

fn images() -> Vec<Value> {
    let one = |slug: &str, distribution: &str| {
        json!({ "id": 1, "slug": slug, "distribution": distribution, "regions": ["nyc3", "ams3"], "type": "base",
            "name": slug, "public": true, "status": "available" })
    };
    vec![one("ubuntu-24-04-x64", "Ubuntu"), one("debian-13-x64", "Debian"), one("debian-12-x64", "Debian")]
}

struct Cloud {
    fake: Arc<Fake<Account>>,
    folder: TempDir,
    spec: MachineSpec,
    driver: Arc<dyn Driver>,
}

impl Cloud {
    fn new() -> Self {
        Self::in_account(Arc::new(Fake::start(Account::default(), "", Some(&SPECIFICATION))), &[])
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
    let fake = Arc::new(Fake::start(Account::default(), "", Some(&SPECIFICATION)));
    conformance(|| {
        let cloud = Cloud::in_account(Arc::clone(&fake), &[]);
        Subject { driver: cloud.driver, spec: cloud.spec, keep: Box::new(cloud.folder) }
    })
    .await;
    assert_eq!(fake.violations(), BTreeSet::new());
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
    for fault in [Fault::Lost, Fault::Cut, Fault::TooMany] {
        let cloud = Cloud::new();
        for path in ["/v2/droplets", "/v2/account/keys", "/v2/firewalls"] {
            cloud.fake.fail_next("POST", path, fault);
        }
        let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
        assert_eq!(cloud.fake.world(|a| (a.droplets.len(), a.keys.len())), (1, 1), "{fault:?}");
        cloud.driver.start(&instance, &Silent).await.unwrap();
        assert_eq!(cloud.driver.access(&instance).await.unwrap().ip, "203.0.113.9");
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
    let left: Vec<&str> = gc(BTreeSet::new(), true).await.iter().map(|left| left.kind).collect();
    assert_eq!(left, ["firewall"]);
    assert!(cloud.fake.world(|account| account.firewalls.is_empty()));
}
