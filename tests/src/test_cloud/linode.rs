//! An account at Linode, whose answers are of the shape of recorded ones (`linodego`'s fixtures).

use super::{
    TOKEN,
    fake::{Answer, Asked, World},
    fleet::{Fleet, Phase, Power, Refusal, Server},
    hypervisor::{Hypervisor, Order},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where its API begins.
pub const PREFIX: &str = "/v4";

/// The account.
#[derive(Debug)]
pub struct Account {
    next: u64,
    pub linodes: Fleet,
    pub firewalls: BTreeMap<u64, Value>,
    /// How new Linodes are connected; empty where the token may not know.
    pub interfaces: &'static str,
    /// Every request for a Linode.
    pub orders: Vec<Value>,
}

impl Account {
    pub fn on(hypervisor: Box<dyn Hypervisor>) -> Self {
        Self {
            next: 0,
            linodes: Fleet::on(hypervisor),
            firewalls: BTreeMap::new(),
            interfaces: "legacy_config_default_but_linode_allowed",
            orders: Vec::new(),
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn page(&self, entries: &[Value], asked: &Asked) -> Answer {
        let filter = asked.headers.get("x-filter").map(|filter| filter.to_str().unwrap());
        let filter: Value = filter.map_or(Value::Null, |filter| serde_json::from_str(filter).unwrap());
        let fits = |entry: &&Value| {
            let is_tagged = |tag: &str| entry["tags"].as_array().unwrap().contains(&json!(tag));
            filter["tags"].as_str().is_none_or(is_tagged)
                && filter.get("username").is_none_or(|user| entry["username"] == *user)
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

    fn create(&mut self, body: &Value) -> Answer {
        self.orders.push(body.clone());
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
        if self.linodes.servers().any(|other| other.document["label"] == body["label"]) {
            return self.error(400, "Label must be unique among your linodes");
        }
        // The older generation has firewalls of Linodes, the newer one of interfaces.
        let newer = match (self.interfaces, body["interface_generation"].as_str()) {
            ("linode_only", Some("legacy_config")) => return self.error(400, "Not allowed in this account"),
            ("linode_only" | "linode_default_but_legacy_config_allowed", None) | (_, Some("linode")) => true,
            _ => false,
        };
        let firewall = if newer { &body["interfaces"][0]["firewall_id"] } else { &body["firewall_id"] };
        if newer && !body["firewall_id"].is_null() {
            return self.error(400, "Please apply Cloud Firewall to the interfaces of the Linode");
        }
        if !firewall.as_u64().is_some_and(|id| self.firewalls.contains_key(&id)) {
            return self.error(404, "Not found");
        }
        let keys = body["authorized_keys"].as_array().into_iter().flatten();
        let user_data = BASE64_STANDARD.decode(body["metadata"]["user_data"].as_str().unwrap()).unwrap();
        let order = Order {
            name: body["label"].as_str().unwrap().to_owned(),
            user_data: String::from_utf8(user_data).unwrap(),
            authorized_keys: keys.map(|key| key.as_str().unwrap().to_owned()).collect(),
        };
        let id = self.id();
        let document = json!({ "id": id, "label": body["label"], "tags": body["tags"],
            "region": body["region"], "type": body["type"], "image": body["image"],
            "ipv6": "2001:db8::f03c:1/128", "hypervisor": "kvm", "backups": { "enabled": false },
            "specs": { "disk": 25600, "memory": 1024, "vcpus": 1, "gpus": 0, "transfer": 1000 } });
        Answer::json(200, &shown(self.linodes.make(id, &order, document)))
    }

    fn power(&mut self, id: u64, what: &str) -> Answer {
        let power = if what == "boot" { Power::On } else { Power::Shutdown };
        match self.linodes.power(id, power) {
            Ok(_) | Err(Refusal::Already) => Answer::json(200, &json!({})),
            Err(Refusal::Absent) => self.error(404, "Not found"),
            Err(Refusal::Busy) => self.error(400, "Linode busy."),
        }
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
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        let id = parts.iter().find_map(|id| id.parse::<u64>().ok()).unwrap_or(0);
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["regions"]) => self.page(&regions(), asked),
            ("GET", ["linode", "types"]) => self.page(&types(), asked),
            ("GET", ["images"]) => self.page(&images(), asked),
            ("GET", ["account", "settings"]) if self.interfaces.is_empty() => {
                self.error(401, "Your OAuth token is not authorized to use this endpoint.")
            }
            ("GET", ["account", "settings"]) => {
                Answer::json(200, &json!({ "managed": false, "interfaces_for_new_linodes": self.interfaces }))
            }
            ("GET", ["linode", "stackscripts"]) => self.page(&stackscripts(), asked),
            ("GET", ["linode", "stackscripts", _]) => {
                match stackscripts().into_iter().find(|script| script["id"] == id) {
                    Some(script) => Answer::json(200, &script),
                    None => self.error(404, "Not found"),
                }
            }
            ("GET", ["linode", "instances"]) => {
                let all: Vec<Value> =
                    self.linodes.look_at_all().into_iter().map(|(_, server)| shown(server)).collect();
                self.page(&all, asked)
            }
            ("POST", ["linode", "instances"]) => self.create(&asked.body),
            ("GET", ["linode", "instances", _]) => match self.linodes.look(id) {
                Some(server) => Answer::json(200, &shown(server)),
                None => self.error(404, "Not found"),
            },
            ("DELETE", ["linode", "instances", _]) if self.linodes.remove(id) => {
                Answer::json(200, &json!({}))
            }
            ("POST", ["linode", "instances", _, what]) => self.power(id, what),
            ("GET", ["networking", "firewalls"]) => {
                self.page(&self.firewalls.values().cloned().collect::<Vec<_>>(), asked)
            }
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

fn shown(server: &Server) -> Value {
    let mut shown = server.document.clone();
    shown["ipv4"] = json!([server.address]);
    shown["status"] = match server.phase {
        Phase::Making => "provisioning",
        Phase::Starting => "booting",
        Phase::Running => "running",
        Phase::Stopping => "shutting_down",
        Phase::Off => "offline",
        Phase::Deleting => "deleting",
    }
    .into();
    shown
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

fn stackscripts() -> Vec<Value> {
    let one = |id: u64, label: &str, images: &[&str]| json!({ "id": id, "username": "me", "label": label, "images": images, "tags": [] });
    vec![one(21, "old", &["linode/debian9"]), one(22, "swap", &["any/all"]), one(23, "zram", &["any/all"])]
}
