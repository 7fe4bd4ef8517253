//! A project at Hetzner, which keeps its specification.

use super::{
    TOKEN,
    fake::{Answer, Asked, World},
    fleet::{Fleet, Phase, Power, Progress, Refusal, Server},
    hypervisor::{Hypervisor, Order},
    specification::Specification,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::LazyLock};

/// Hetzner's own specification.
pub static SPECIFICATION: LazyLock<Specification> = LazyLock::new(|| Specification::read("hetzner.json"));
/// Where its API begins.
pub const PREFIX: &str = "/v1";

/// The project.
#[derive(Debug)]
pub struct Project {
    next: u64,
    pub servers: Fleet,
    pub keys: BTreeMap<u64, Value>,
    pub firewalls: BTreeMap<u64, Value>,
    pub groups: BTreeMap<u64, Value>,
    /// Every request for a server.
    pub orders: Vec<Value>,
}

impl Project {
    pub fn on(hypervisor: Box<dyn Hypervisor>) -> Self {
        Self {
            next: 0,
            servers: Fleet::on(hypervisor),
            keys: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            groups: BTreeMap::new(),
            orders: Vec::new(),
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn page(key: &str, entries: Vec<Value>, asked: &Asked) -> Answer {
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

    fn create(&mut self, body: &Value) -> Answer {
        self.orders.push(body.clone());
        if self.servers.servers().any(|server| server.document["name"] == body["name"]) {
            return self.error(409, "uniqueness_error");
        }
        let number =
            |id: &Value| id.as_u64().or_else(|| id.as_str().and_then(|id| id.parse().ok())).unwrap_or(0);
        let mut keys = Vec::new();
        for id in body["ssh_keys"].as_array().into_iter().flatten() {
            let Some(key) = self.keys.get(&number(id)) else { return self.error(422, "invalid_input") };
            keys.push(text(&key["public_key"]));
        }
        let mut walls = body["firewalls"].as_array().into_iter().flatten();
        if !walls.all(|wall| self.firewalls.contains_key(&number(&wall["firewall"]))) {
            return self.error(422, "invalid_input");
        }
        let order =
            Order { name: text(&body["name"]), user_data: text(&body["user_data"]), authorized_keys: keys };
        let id = self.id();
        let document = json!({ "id": id, "name": body["name"], "labels": body["labels"],
            "networks": body["networks"], "public_net": body["public_net"] });
        let server = shown(self.servers.make(id, &order, document));
        let action = action(1, "create_server", Progress::UnderWay);
        Answer::json(201, &json!({ "server": server, "action": action, "next_actions": [] }))
    }

    fn power(&mut self, id: u64, what: &str) -> Answer {
        let power = match what {
            "poweron" => Power::On,
            "shutdown" => Power::Shutdown,
            _ => Power::Off,
        };
        let begun =
            |number, progress| Answer::json(201, &json!({ "action": action(number, what, progress) }));
        match self.servers.power(id, power) {
            Ok(number) => begun(number, Progress::UnderWay),
            Err(Refusal::Already) => begun(0, Progress::Done),
            Err(Refusal::Absent) => self.error(404, "not_found"),
            Err(Refusal::Busy) => self.error(423, "locked"),
        }
    }
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
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        let id = parts.get(1).and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["server_types"]) => Self::page("server_types", types(), asked),
            ("GET", ["images"]) => Self::page("images", images(), asked),
            ("GET", ["images", _]) => match images().into_iter().find(|image| image["id"] == id) {
                Some(image) => Answer::json(200, &json!({ "image": image })),
                None => self.error(404, "not_found"),
            },
            ("GET", ["networks"]) => {
                Self::page("networks", vec![json!({ "id": 71, "name": "office" })], asked)
            }
            ("GET", ["volumes"]) => Self::page("volumes", volumes(), asked),
            ("GET", ["primary_ips"]) => Self::page("primary_ips", addresses(), asked),
            ("GET", ["placement_groups"]) => {
                Self::page("placement_groups", self.groups.values().cloned().collect(), asked)
            }
            ("POST", ["placement_groups"]) => {
                let id = self.id();
                let mut group = asked.body.clone();
                group["id"] = id.into();
                self.groups.insert(id, group.clone());
                Answer::json(201, &json!({ "placement_group": group }))
            }
            ("DELETE", ["placement_groups", _]) if self.groups.remove(&id).is_some() => {
                Answer::json(204, &Value::Null)
            }
            ("GET", ["servers"]) => {
                let all = self.servers.look_at_all().into_iter().map(|(_, server)| shown(server)).collect();
                Self::page("servers", all, asked)
            }
            ("POST", ["servers"]) => self.create(&asked.body),
            ("GET", ["servers", _]) => match self.servers.look(id) {
                Some(server) => Answer::json(200, &json!({ "server": shown(server) })),
                None => self.error(404, "not_found"),
            },
            ("DELETE", ["servers", _]) if self.servers.remove(id) => {
                Answer::json(200, &json!({ "action": action(1, "delete_server", Progress::UnderWay) }))
            }
            ("POST", ["servers", _, "actions", what]) => self.power(id, what),
            ("GET", ["actions", _]) => match self.servers.progress(id) {
                Some(progress) => Answer::json(200, &json!({ "action": action(id, "power", progress) })),
                None => self.error(404, "not_found"),
            },
            ("GET", ["ssh_keys"]) => Self::page("ssh_keys", self.keys.values().cloned().collect(), asked),
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
                Self::page("firewalls", self.firewalls.values().cloned().collect(), asked)
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

fn shown(server: &Server) -> Value {
    let mut shown = server.document.clone();
    // It is in a network before it has an address in it.
    let networks = server.document["networks"].as_array().into_iter().flatten();
    shown["private_net"] = networks
        .map(|network| match server.phase {
            Phase::Making => json!({ "network": network }),
            _ => json!({ "network": network, "ip": "10.0.0.2", "mac_address": "86:00:ff:2a:7d:e1" }),
        })
        .collect();
    shown.as_object_mut().unwrap().remove("networks");
    let net = &server.document["public_net"];
    let when = |enabled: &str, there: Value| if net[enabled] == true { there } else { Value::Null };
    let v4 = when("enable_ipv4", json!({ "ip": server.address }));
    // The whole network, of which the server has the first address.
    let v6 = server.address.strip_suffix("::1").unwrap_or("2001:db8:1:2");
    let v6 = when("enable_ipv6", json!({ "ip": format!("{v6}::/64") }));
    shown["public_net"] = json!({ "ipv4": v4, "ipv6": v6 });
    shown["status"] = match server.phase {
        Phase::Making => "initializing",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Stopping => "stopping",
        Phase::Off => "off",
        Phase::Deleting => "deleting",
    }
    .into();
    shown
}

fn action(number: u64, command: &str, progress: Progress) -> Value {
    let (status, error) = match progress {
        Progress::UnderWay => ("running", Value::Null),
        Progress::Done => ("success", Value::Null),
        Progress::Failed => ("error", json!({ "code": "action_failed", "message": "Action failed" })),
    };
    json!({ "id": number, "command": command, "status": status, "progress": 0, "error": error, "resources": [] })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn types() -> Vec<Value> {
    let one = |name: &str, architecture: &str, memory: f64, price: &str, deprecated: bool| {
        let deprecation =
            json!({ "announced": "2025-01-01T00:00:00Z", "unavailable_after": "2025-06-01T00:00:00Z" });
        let prices: Vec<Value> = [("fsn1", price), ("nbg1", price), ("ash", "99.0")]
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

fn volumes() -> Vec<Value> {
    let one = |id: u64, name: &str, location: &str, server: Value| json!({ "id": id, "name": name, "server": server, "size": 10, "location": { "name": location } });
    vec![
        one(81, "cache", "ash", Value::Null),
        one(82, "data", "fsn1", Value::Null),
        one(83, "taken", "fsn1", json!(1)),
    ]
}

fn addresses() -> Vec<Value> {
    let one = |id: u64, name: &str, kind: &str, ip: &str| json!({ "id": id, "name": name, "type": kind, "ip": ip, "location": { "name": "ash" } });
    vec![one(91, "front", "ipv4", "198.51.100.7"), one(92, "front6", "ipv6", "2001:db8:7::/64")]
}
