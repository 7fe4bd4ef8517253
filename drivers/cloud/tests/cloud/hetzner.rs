//! `hetzner` against a project that keeps Hetzner's specification.

use crate::{
    fake::{Answer, Asked, Fake, Fault, World},
    schema::Specification,
    subject::{driver, patient, spec},
};
use machine_drivers::{
    Driver, DriverError, InstanceState, MachineSpec, Silent,
    testing::{Subject, conformance},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};
use tempfile::TempDir;

static SPECIFICATION: LazyLock<Specification> =
    LazyLock::new(|| Specification::parse(include_str!("../specs/hetzner.json")));
const TOKEN: &str = "the-token";
const PREFIX: &str = "/v1";

#[derive(Default)]
struct Project {
    next: u64,
    servers: BTreeMap<u64, Value>,
    keys: BTreeMap<u64, Value>,
    firewalls: BTreeMap<u64, Value>,
    /// Looks until a server that is on its way arrives.
    slow: u32,
    under_way: BTreeMap<u64, (u32, &'static str)>,
}

impl Project {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn page(&self, key: &str, entries: Vec<Value>, asked: &Asked) -> Answer {
        let wanted = |entry: &Value| {
            let label =
                asked.query.get("label_selector").is_none_or(|selector| match selector.split_once('=') {
                    Some((key, value)) => entry["labels"][key] == value,
                    None => entry["labels"].get(selector).is_some(),
                });
            label && asked.query.get("name").is_none_or(|name| entry["name"] == *name)
        };
        let entries: Vec<Value> = entries.into_iter().filter(wanted).collect();
        // Small pages: whoever reads the first only reads too little.
        let page: usize = asked.query.get("page").map_or(1, |page| page.parse().unwrap());
        let size = 2;
        let some: Vec<&Value> = entries.iter().skip((page - 1) * size).take(size).collect();
        let more = entries.len() > page * size;
        let next = if more { json!(page + 1) } else { Value::Null };
        Answer::json(
            200,
            &json!({ key: some, "meta": { "pagination": { "page": page, "per_page": size, "previous_page": null,
                "next_page": next, "last_page": null, "total_entries": null } } }),
        )
    }

    /// A look at a server: what is under way comes nearer.
    fn look(&mut self, id: u64) {
        let Some((left, then)) = self.under_way.get_mut(&id) else { return };
        if *left > 0 {
            *left -= 1;
            return;
        }
        let then = *then;
        self.under_way.remove(&id);
        if then == "gone" {
            self.servers.remove(&id);
        } else if let Some(server) = self.servers.get_mut(&id) {
            server["status"] = then.into();
        }
    }

    fn go(&mut self, id: u64, now: &str, then: &'static str) {
        self.servers.get_mut(&id).unwrap()["status"] = now.into();
        self.under_way.insert(id, (self.slow, then));
    }

    fn create(&mut self, asked: &Asked) -> Answer {
        let body = &asked.body;
        let named = |entry: &Value| entry["name"] == body["name"];
        if self.servers.values().any(named) {
            return self.error(409, "uniqueness_error");
        }
        let known = |ids: &Value, of: &BTreeMap<u64, Value>, inner: Option<&str>| {
            ids.as_array().into_iter().flatten().all(|id| {
                let id = inner.map_or(id, |inner| &id[inner]);
                let number = id.as_u64().or_else(|| id.as_str().and_then(|id| id.parse().ok()));
                number.is_some_and(|id| of.contains_key(&id))
            })
        };
        if !known(&body["ssh_keys"], &self.keys, None)
            || !known(&body["firewalls"], &self.firewalls, Some("firewall"))
        {
            return self.error(422, "invalid_input");
        }
        assert!(body["user_data"].as_str().unwrap().contains("ed25519_private"), "the host key is seeded");
        let id = self.id();
        let net = &body["public_net"];
        let v4 = if net["enable_ipv4"] == true { json!({ "ip": "203.0.113.7" }) } else { Value::Null };
        let v6 = if net["enable_ipv6"] == true { json!({ "ip": "2001:db8:1:2::/64" }) } else { Value::Null };
        let server = json!({ "id": id, "name": body["name"], "status": "initializing", "labels": body["labels"],
            "public_net": { "ipv4": v4, "ipv6": v6 }, "private_net": [] });
        self.servers.insert(id, server.clone());
        self.go(id, "initializing", "running");
        Answer::json(201, &json!({ "server": server, "action": action("create_server"), "next_actions": [] }))
    }

    fn power(&mut self, id: u64, what: &str) -> Answer {
        let Some(status) = self.servers.get(&id).map(|server| server["status"].clone()) else {
            return self.error(404, "not_found");
        };
        self.look(id);
        if self.under_way.contains_key(&id) && status != "stopping" {
            return self.error(423, "locked");
        }
        match (what, status.as_str().unwrap()) {
            ("poweron", "off") => self.go(id, "starting", "running"),
            ("shutdown" | "poweroff", "running") => self.go(id, "stopping", "off"),
            _ => {}
        }
        Answer::json(201, &json!({ "action": action(what) }))
    }
}

fn action(command: &str) -> Value {
    json!({ "id": 1, "command": command, "status": "running", "progress": 0, "error": null, "resources": [] })
}

impl World for Project {
    fn error(&self, status: u16, code: &str) -> Answer {
        Answer::json(
            status,
            &json!({ "error": { "code": code, "message": format!("It is {code}"), "details": null } }),
        )
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.headers.get("authorization").is_none_or(|value| *value != format!("Bearer {TOKEN}")) {
            return self.error(401, "unauthorized");
        }
        let all: Vec<u64> = self.servers.keys().copied().collect();
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        let id = parts.get(1).and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["server_types"]) => self.page("server_types", types(), asked),
            ("GET", ["images"]) => self.page("images", images(), asked),
            ("GET", ["networks"]) => self.page("networks", vec![], asked),
            ("GET", ["servers"]) => {
                all.into_iter().for_each(|id| self.look(id));
                self.page("servers", self.servers.values().cloned().collect(), asked)
            }
            ("POST", ["servers"]) => self.create(asked),
            ("GET", ["servers", _]) => {
                self.look(id);
                match self.servers.get(&id) {
                    Some(server) => Answer::json(200, &json!({ "server": server })),
                    None => self.error(404, "not_found"),
                }
            }
            ("DELETE", ["servers", _]) if self.servers.contains_key(&id) => {
                self.go(id, "deleting", "gone");
                Answer::json(200, &json!({ "action": action("delete_server") }))
            }
            ("POST", ["servers", _, "actions", what]) => self.power(id, what),
            ("GET", ["ssh_keys"]) => self.page("ssh_keys", self.keys.values().cloned().collect(), asked),
            ("POST", ["ssh_keys"]) => {
                if self.keys.values().any(|key| key["name"] == asked.body["name"]) {
                    return self.error(409, "uniqueness_error");
                }
                let id = self.id();
                let mut key = asked.body.clone();
                key["id"] = id.into();
                self.keys.insert(id, key.clone());
                Answer::json(201, &json!({ "ssh_key": key }))
            }
            ("DELETE", ["ssh_keys", _]) if self.keys.remove(&id).is_some() => Answer::json(204, &Value::Null),
            ("GET", ["firewalls"]) => {
                self.page("firewalls", self.firewalls.values().cloned().collect(), asked)
            }
            ("POST", ["firewalls"]) => {
                let id = self.id();
                let mut firewall = asked.body.clone();
                firewall["id"] = id.into();
                self.firewalls.insert(id, firewall.clone());
                Answer::json(201, &json!({ "firewall": firewall, "actions": [] }))
            }
            ("DELETE", ["firewalls", _]) if self.firewalls.remove(&id).is_some() => {
                Answer::json(204, &Value::Null)
            }
            _ => self.error(404, "not_found"),
        }
    }
}

fn types() -> Vec<Value> {
    let one = |name: &str, architecture: &str, memory: f64, price: &str, deprecated: bool| {
        let deprecation =
            json!({ "announced": "2025-01-01T00:00:00Z", "unavailable_after": "2025-06-01T00:00:00Z" });
        let prices: Vec<Value> = [("fsn1", price), ("ash", "99.0")]
            .map(|(location, price)| {
                let amount = json!({ "gross": price, "net": price });
                json!({ "location": location, "price_hourly": amount, "price_monthly": amount,
                    "price_per_tb_traffic": amount, "included_traffic": 1 })
            })
            .to_vec();
        json!({ "id": 1, "name": name, "architecture": architecture, "cores": 2, "memory": memory, "disk": 40,
            "cpu_type": "shared", "deprecated": deprecated, "prices": prices, "locations": [],
            "deprecation": if deprecated { deprecation } else { Value::Null } })
    };
    vec![
        one("cx11", "x86", 2.0, "1.0", true),
        one("cax11", "arm", 4.0, "2.0", false),
        one("cx23", "x86", 4.0, "3.5", false),
        one("cx33", "x86", 8.0, "7.0", false),
    ]
}

fn images() -> Vec<Value> {
    let one = |id: u64, name: &str, flavor: &str, version: &str, deprecated: Value| {
        json!({ "id": id, "name": name, "os_flavor": flavor, "os_version": version, "architecture": "x86",
            "type": "system", "status": "available", "deprecated": deprecated, "description": name })
    };
    vec![
        one(1, "debian-11", "debian", "11", json!("2025-01-01T00:00:00Z")),
        one(2, "debian-12", "debian", "12", Value::Null),
        one(3, "debian-13", "debian", "13", Value::Null),
        one(4, "ubuntu-24.04", "ubuntu", "24.04", Value::Null),
    ]
}

struct Cloud {
    fake: Arc<Fake<Project>>,
    folder: TempDir,
    spec: MachineSpec,
    driver: Arc<dyn Driver>,
}

impl Cloud {
    fn new() -> Self {
        let project = Project { slow: 1, ..Project::default() };
        Self::in_project(Arc::new(Fake::start(project, PREFIX, Some(&SPECIFICATION))), &[])
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

#[tokio::test]
async fn keeps_the_contract() {
    let fake = Arc::new(Fake::start(Project { slow: 1, ..Project::default() }, PREFIX, Some(&SPECIFICATION)));
    conformance(|| {
        let cloud = Cloud::in_project(Arc::clone(&fake), &[]);
        Subject { driver: cloud.driver, spec: cloud.spec, keep: Box::new(cloud.folder) }
    })
    .await;
    assert_eq!(fake.violations(), BTreeSet::new());
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
        ("hetzner-server-location", "moon", "there are ash, fsn1"),
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
        ("GET", "/server_types", Fault::TooMany),
        ("GET", "/server_types", Fault::Refuse(503, "unavailable")),
        ("POST", "/servers", Fault::TooMany),
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
async fn a_refused_create_takes_back_what_it_made() {
    let cloud = Cloud::new();
    cloud.fake.fail_next("POST", "/servers", Fault::Refuse(412, "resource_unavailable"));
    let error = cloud.driver.create(&cloud.spec, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("try another --hetzner-server-location"), "{error}");
    cloud.nothing_is_left();
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
    let kinds: Vec<&str> = found.iter().map(|left| left.kind).collect();
    assert_eq!(kinds, ["VM", "SSH key"]);
    assert!(found.iter().all(|left| left.name.contains(&lost.spec.name)), "{found:?}");
    assert_eq!(fake.world(|project| project.servers.len()), 3, "looking removes nothing");
    gc(true).await.unwrap();
    assert_eq!(gc(false).await.unwrap(), []);
    assert_eq!(fake.world(|project| (project.servers.len(), project.keys.len())), (2, 2));
}
