//! An account at DigitalOcean, which keeps its specification.

use super::{
    TOKEN,
    fake::{Answer, Asked, World},
    fleet::{Fleet, Phase, Power, Progress, Refusal, Server},
    hypervisor::{Hypervisor, Order},
    specification::Specification,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::LazyLock};

/// DigitalOcean's own specification.
pub static SPECIFICATION: LazyLock<Specification> =
    LazyLock::new(|| Specification::read("digitalocean.json"));

/// The account.
#[derive(Debug)]
pub struct Account {
    next: u64,
    /// The token that it accepts.
    pub token: String,
    pub droplets: Fleet,
    pub keys: BTreeMap<u64, Value>,
    /// By their UUIDs.
    pub firewalls: BTreeMap<String, Value>,
    /// Every request for a droplet.
    pub orders: Vec<Value>,
}

impl Account {
    pub fn on(hypervisor: Box<dyn Hypervisor>) -> Self {
        Self {
            next: 0,
            token: TOKEN.to_owned(),
            droplets: Fleet::on(hypervisor),
            keys: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            orders: Vec::new(),
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Small pages: whoever reads the first only reads too little.
    fn page<'a>(key: &str, entries: impl IntoIterator<Item = &'a Value>, asked: &Asked) -> Answer {
        let tagged = |entry: &&Value| {
            let tag = asked.query.get("tag_name");
            tag.is_none_or(|tag| entry["tags"].as_array().is_some_and(|tags| tags.contains(&json!(tag))))
        };
        let entries: Vec<&Value> = entries.into_iter().filter(tagged).collect();
        let page: usize = asked.query.get("page").map_or(1, |page| page.parse().unwrap());
        let some: Vec<&Value> = entries.iter().skip((page - 1) * 2).take(2).copied().collect();
        let links = if entries.len() > page * 2 {
            json!({ "pages": { "next": format!("https://elsewhere.example/v2?page={}", page + 1) } })
        } else {
            json!({})
        };
        Answer::json(200, &json!({ key: some, "links": links, "meta": { "total": entries.len() } }))
    }

    fn create(&mut self, body: &Value) -> Answer {
        self.orders.push(body.clone());
        let mut keys = Vec::new();
        for id in body["ssh_keys"].as_array().into_iter().flatten() {
            let Some(key) = id.as_u64().and_then(|id| self.keys.get(&id)) else {
                return self.error(422, "unprocessable_entity");
            };
            keys.push(text(&key["public_key"]));
        }
        let Some(size) = sizes().into_iter().find(|size| size["slug"] == body["size"]) else {
            return self.error(422, "unprocessable_entity");
        };
        let order =
            Order { name: text(&body["name"]), user_data: text(&body["user_data"]), authorized_keys: keys };
        let id = self.id();
        let document = json!({ "id": id, "name": body["name"], "tags": body["tags"], "memory": size["memory"],
            "vcpus": size["vcpus"], "disk": size["disk"], "size_slug": size["slug"], "size": size });
        let droplet = droplet(self.droplets.make(id, &order, document));
        Answer::json(202, &json!({ "droplet": droplet, "links": {} }))
    }

    fn act(&mut self, id: u64, what: &str) -> Answer {
        let power = match what {
            "power_on" => Power::On,
            "shutdown" => Power::Shutdown,
            "power_off" => Power::Off,
            _ => return self.error(422, "unprocessable_entity"),
        };
        match self.droplets.power(id, power) {
            Ok(action) => Answer::json(201, &json!({ "action": shown(action, Progress::UnderWay) })),
            Err(Refusal::Absent) => self.error(404, "not_found"),
            Err(Refusal::Already) => self.error(422, "unprocessable_entity"),
            Err(Refusal::Busy) => Answer::json(
                422,
                &json!({ "id": "unprocessable_entity", "message": "Droplet already has a pending event." }),
            ),
        }
    }
}

impl World for Account {
    fn error(&self, status: u16, code: &str) -> Answer {
        Answer::json(status, &json!({ "id": code, "message": format!("It is {code}"), "request_id": "1" }))
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.headers.get("authorization").is_none_or(|value| *value != format!("Bearer {}", self.token)) {
            return self.error(401, "unauthorized");
        }
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').skip(1).collect();
        let id = parts.iter().find_map(|id| id.parse::<u64>().ok()).unwrap_or(0);
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["regions"]) => Self::page("regions", &regions(), asked),
            ("GET", ["sizes"]) => Self::page("sizes", &sizes(), asked),
            ("GET", ["images"]) => Self::page("images", &images(), asked),
            ("GET", ["images", wanted]) => {
                match own_images().into_iter().find(|image| image["id"] == id || image["slug"] == *wanted) {
                    Some(image) => Answer::json(200, &json!({ "image": image })),
                    None => self.error(404, "not_found"),
                }
            }
            ("GET", ["droplets"]) => {
                let all: Vec<Value> =
                    self.droplets.look_at_all().into_iter().map(|(_, server)| droplet(server)).collect();
                Self::page("droplets", &all, asked)
            }
            ("POST", ["droplets"]) => self.create(&asked.body),
            ("GET", ["droplets", _]) => match self.droplets.look(id) {
                Some(server) => Answer::json(200, &json!({ "droplet": droplet(server) })),
                None => self.error(404, "not_found"),
            },
            ("DELETE", ["droplets", _]) if self.droplets.remove(id) => Answer::json(204, &Value::Null),
            ("POST", ["droplets", _, "actions"]) => self.act(id, &text(&asked.body["type"])),
            ("GET", ["actions", _]) => match self.droplets.progress(id) {
                Some(progress) => Answer::json(200, &json!({ "action": shown(id, progress) })),
                None => self.error(404, "not_found"),
            },
            ("GET", ["account", "keys"]) => Self::page("ssh_keys", self.keys.values(), asked),
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
            ("GET", ["firewalls"]) => Self::page("firewalls", self.firewalls.values(), asked),
            ("POST", ["firewalls"]) => {
                // A tag exists once something bears it.
                let tag = &asked.body["tags"][0];
                let bears = |server: &Server| server.document["tags"].as_array().unwrap().contains(tag);
                if !self.droplets.servers().any(bears) {
                    return self.error(422, "unprocessable_entity");
                }
                let id = format!("{:08x}-0000-4000-8000-000000000000", self.id());
                let mut firewall = asked.body.clone();
                firewall["id"] = id.as_str().into();
                self.firewalls.insert(id, firewall.clone());
                Answer::json(202, &json!({ "firewall": firewall }))
            }
            ("DELETE", ["firewalls", id]) if self.firewalls.remove(*id).is_some() => {
                Answer::json(204, &Value::Null)
            }
            _ => self.error(404, "not_found"),
        }
    }
}

fn droplet(server: &Server) -> Value {
    let mut droplet = server.document.clone();
    let (status, networks) = match server.phase {
        Phase::Making => ("new", json!({ "v4": [], "v6": [] })),
        phase => (
            if matches!(phase, Phase::Off | Phase::Starting) { "off" } else { "active" },
            json!({ "v6": [], "v4": [
                { "ip_address": "10.1.0.2", "type": "private" },
                { "ip_address": server.address, "type": "public" } ] }),
        ),
    };
    droplet["status"] = status.into();
    droplet["networks"] = networks;
    droplet
}

fn shown(action: u64, progress: Progress) -> Value {
    let status = match progress {
        Progress::UnderWay => "in-progress",
        Progress::Done => "completed",
        Progress::Failed => "errored",
    };
    json!({ "id": action, "status": status })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
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

/// Those that are in no listing of distributions.
fn own_images() -> Vec<Value> {
    let one = |id: u64, slug: Value, kind: &str, region: &str| json!({ "id": id, "slug": slug, "distribution": "Ubuntu", "regions": [region], "type": kind, "name": "own" });
    vec![one(4711, Value::Null, "snapshot", "ams3"), one(4712, json!("app-24-04"), "base", "nyc3")]
}
