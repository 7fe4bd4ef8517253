//! `hetzner`: servers of Hetzner Cloud.
//!
//! Servers, the key, the firewall and the placement group bear the labels `machine-id`, `machine-owner` and
//! `machine-name`. The last two are shared by all machines of an owner.

mod given;
mod options;
mod order;
mod wire;

use crate::{
    bearer::{self, Account},
    http::{Api, CloudError},
    provider::{Belonging, Plan, Power, Provider, Tags, Vm, ensure},
    settings::Settings,
};
use async_trait::async_trait;
use machine_drivers::{DriverError, InstanceState, MachineSpec, OptionSpec, Progress};
use order::Order;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wire::{Created, Server, Thing, ThingCreated};

const ID_LABEL: &str = "machine-id";
const OWNER_LABEL: &str = "machine-owner";
const NAME_LABEL: &str = "machine-name";
/// Entries of a page; the API gives no more.
const PER_PAGE: &str = "50";
/// What we make besides servers, and where it is.
const KINDS: [(&str, &str); 3] =
    [("SSH key", "ssh_keys"), ("firewall", "firewalls"), ("placement group", "placement_groups")];

/// A project, connected.
#[derive(Debug)]
pub(crate) struct Hetzner {
    api: Api,
}

impl Hetzner {
    /// Every page of a listing.
    async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, CloudError> {
        let ask =
            |page: &str| self.api.get(path).query(query).query(&[("page", page), ("per_page", PER_PAGE)]);
        bearer::all(key, ask, |answer, page| answer["meta"]["pagination"]["next_page"].as_u64() > Some(page))
            .await
    }

    /// The firewall that lets in SSH and ping only.
    async fn firewall(&self, tags: &Tags) -> Result<u64, CloudError> {
        let name = tags.firewall_name();
        let anywhere = json!(["0.0.0.0/0", "::/0"]);
        let ssh = json!({ "direction": "in", "protocol": "tcp", "port": "22", "source_ips": anywhere });
        let ping = json!({ "direction": "in", "protocol": "icmp", "source_ips": anywhere });
        let body = json!({ "name": name, "labels": labels(&tags.shared()), "rules": [ssh, ping] });
        self.thing("firewalls", ("name", &name), &body).await
    }

    /// The placement group that keeps the owner's servers on different hosts.
    async fn spread(&self, tags: &Tags) -> Result<u64, CloudError> {
        let name = tags.spread_name();
        let body = json!({ "name": name, "labels": labels(&tags.shared()), "type": "spread" });
        self.thing("placement_groups", ("name", &name), &body).await
    }

    /// The key, by which the project sends nobody a root password.
    async fn key(&self, order: &Order, tags: &Tags) -> Result<u64, CloudError> {
        let selector = format!("{ID_LABEL}={}", tags.machine_id);
        let labels = all_labels(&order.key_labels, tags);
        let body = json!({ "name": tags.key_name(), "public_key": order.authorized_key, "labels": labels });
        self.thing("ssh_keys", ("label_selector", &selector), &body).await
    }

    /// The id of the thing of this kind that `query` finds, else of one made of `body`.
    async fn thing(&self, kind: &str, query: (&str, &str), body: &Value) -> Result<u64, CloudError> {
        let path = format!("/{kind}");
        let find = || async {
            let found: Vec<Thing> = self.all(&path, kind, &[query]).await?;
            Ok(found.first().map(|thing| thing.id))
        };
        ensure(find, || async {
            let created: ThingCreated = self.api.post(&path).json(body).fetch().await?;
            Ok(created.thing.id)
        })
        .await
    }
}

#[async_trait]
impl Provider for Hetzner {
    const NAME: &'static str = "hetzner";
    const TITLE: &'static str = "Hetzner";
    const OPTIONS: &'static [OptionSpec] = options::OPTIONS;
    type Account = Account;
    type Order = Order;

    fn account(settings: &Settings<'_>) -> Result<Account, DriverError> {
        Account::of(settings, "hetzner-endpoint", "hetzner-api-token")
    }

    fn renewed(account: &Account, given: Account) -> Account {
        account.with_token_of(given)
    }

    fn connect(account: &Account) -> Result<Self, CloudError> {
        Ok(Self { api: account.api(wire::refusal)? })
    }

    async fn order(&self, spec: &MachineSpec, settings: &Settings<'_>) -> Result<Plan<Order>, CloudError> {
        order::decide(self, spec, settings).await
    }

    async fn make(
        &self,
        order: &Order,
        tags: &Tags,
        _nonce: &str,
        progress: &dyn Progress,
    ) -> Result<String, CloudError> {
        progress.step(&format!("Making a {} server in {}", order.server_type, order.location));
        let mut body = order.body.clone();
        body["labels"] = json!(all_labels(&order.labels, tags));
        let keys: Vec<String> =
            [self.key(order, tags).await?].iter().chain(&order.keys).map(ToString::to_string).collect();
        body["ssh_keys"] = json!(keys);
        if order.spread {
            body["placement_group"] = json!(self.spread(tags).await?);
        }
        if body.get("firewalls").is_none() && order.public {
            body["firewalls"] = json!([{ "firewall": self.firewall(tags).await? }]);
        }
        let mut others = order.alike.iter();
        let mut location = &order.location;
        loop {
            body["location"] = json!(location);
            let error = match self.api.post("/servers").json(&body).fetch::<Created>().await {
                Ok(created) => return Ok(created.server.id.to_string()),
                Err(error) => error,
            };
            let sold_out = matches!(&error, CloudError::Refused(refusal) if refusal.code == wire::SOLD_OUT);
            match others.next().filter(|_| sold_out) {
                Some(other) => {
                    let server_type = &order.server_type;
                    progress.step(&format!("{server_type} is sold out in {location}; trying {other}"));
                    location = other;
                }
                None => return Err(order.explained(error)),
            }
        }
    }

    async fn list(&self) -> Result<Vec<Vm>, CloudError> {
        let servers: Vec<Server> = self.all("/servers", "servers", &[("label_selector", ID_LABEL)]).await?;
        Ok(servers.into_iter().map(vm).collect())
    }

    async fn find(&self, machine_id: &str) -> Result<Vec<Vm>, CloudError> {
        let selector = format!("{ID_LABEL}={machine_id}");
        let servers: Vec<Server> = self.all("/servers", "servers", &[("label_selector", &selector)]).await?;
        Ok(servers.into_iter().map(vm).collect())
    }

    async fn get(&self, id: &str) -> Result<Option<Vm>, CloudError> {
        if id.parse::<u64>().is_err() {
            return Ok(None);
        }
        let found = self.api.get(&format!("/servers/{id}")).find::<wire::OneServer>().await?;
        Ok(found.map(|answer| vm(answer.server)))
    }

    async fn power(&self, id: &str, power: Power) -> Result<Option<String>, CloudError> {
        let action = match power {
            Power::On => "poweron",
            Power::Shutdown => "shutdown",
            Power::Off => "poweroff",
        };
        // Being asked twice for the same state changes nothing.
        let begun: wire::Begun =
            self.api.post(&format!("/servers/{id}/actions/{action}")).repeatable().fetch().await?;
        begun.action.is_under_way()?;
        Ok(Some(begun.action.id.to_string()))
    }

    async fn is_under_way(&self, action: &str) -> Result<bool, CloudError> {
        let begun: wire::Begun = self.api.get(&format!("/actions/{action}")).fetch().await?;
        begun.action.is_under_way()
    }

    async fn delete(&self, id: &str) -> Result<(), CloudError> {
        self.api.delete(&format!("/servers/{id}")).gone().await
    }

    async fn belongings(&self) -> Result<Vec<Belonging>, CloudError> {
        let selector = [("label_selector", ID_LABEL)];
        let mut belongings = Vec::new();
        for (kind, folder) in KINDS {
            let things: Vec<Thing> = self.all(&format!("/{folder}"), folder, &selector).await?;
            belongings.extend(things.into_iter().map(|thing| Belonging {
                kind,
                id: thing.id.to_string(),
                name: thing.name,
                machine_id: label(&thing.labels, ID_LABEL),
                owner: label(&thing.labels, OWNER_LABEL),
            }));
        }
        Ok(belongings)
    }

    async fn discard(&self, belonging: &Belonging) -> Result<(), CloudError> {
        let known = KINDS.iter().find(|(kind, _)| *kind == belonging.kind);
        let Some((_, folder)) = known else { return Ok(()) };
        self.api.delete(&format!("/{folder}/{}", belonging.id)).gone().await
    }
}

fn vm(server: Server) -> Vm {
    let state = match server.status.as_str() {
        "running" => InstanceState::Running,
        "initializing" | "starting" | "rebuilding" | "migrating" => InstanceState::Starting,
        "stopping" | "deleting" => InstanceState::Stopping,
        "off" => InstanceState::Stopped,
        _ => InstanceState::Error,
    };
    // The address given is the whole /64; the server has the first of it.
    let ipv6 = server.public_net.ipv6.map(|net| {
        let prefix = net.ip.split('/').next().unwrap_or_default().to_owned();
        if prefix.ends_with("::") { format!("{prefix}1") } else { prefix }
    });
    Vm {
        id: server.id.to_string(),
        name: server.name,
        state,
        ipv4: server.public_net.ipv4.map(|net| net.ip),
        ipv6,
        private: server.private_net.into_iter().find_map(|net| net.ip),
        machine_id: label(&server.labels, ID_LABEL),
        owner: label(&server.labels, OWNER_LABEL),
    }
}

fn labels(tags: &Tags) -> BTreeMap<String, String> {
    let pairs = [(ID_LABEL, &tags.machine_id), (OWNER_LABEL, &tags.owner), (NAME_LABEL, &tags.name)];
    pairs.map(|(key, value)| (key.to_owned(), value.clone())).into()
}

/// The user's labels and, stronger, ours.
fn all_labels(wanted: &[(String, String)], tags: &Tags) -> BTreeMap<String, String> {
    wanted.iter().cloned().chain(labels(tags)).collect()
}

fn label(labels: &BTreeMap<String, String>, key: &str) -> String {
    labels.get(key).cloned().unwrap_or_default()
}
