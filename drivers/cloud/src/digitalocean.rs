//! `digitalocean`: droplets.
//!
//! Droplets bear the tags `machine`, `machine-id:…` and `machine-owner:…`; keys, which cannot be tagged,
//! bear all of it in their name. The firewall holds for the owner's tag, so that every droplet has it from
//! the moment it exists.

mod options;
mod order;
mod wire;

use crate::{
    bearer::{self, Account},
    http::{Api, CloudError},
    provider::{Belonging, Plan, Power, Provider, SHARED, Tags, Vm, ensure},
    settings::Settings,
    string_tags::{self, ID_TAG, OWNER_TAG, TAG},
};
use async_trait::async_trait;
use machine_drivers::{DriverError, InstanceState, MachineSpec, OptionSpec, Progress};
use order::Order;
use serde::de::DeserializeOwned;
use serde_json::json;
use wire::{Droplet, Firewall, Key};

const PER_PAGE: &str = "200";

/// An account, connected.
#[derive(Debug)]
pub(crate) struct DigitalOcean {
    api: Api,
}

impl DigitalOcean {
    /// Every page of a listing.
    async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, CloudError> {
        let ask =
            |page: &str| self.api.get(path).query(query).query(&[("page", page), ("per_page", PER_PAGE)]);
        // The link's address is the provider's own business; that there is one says all.
        bearer::all(key, ask, |answer, _| answer["links"]["pages"]["next"].is_string()).await
    }

    async fn key(&self, public: &str, tags: &Tags) -> Result<u64, CloudError> {
        let name = key_name(tags);
        let body = json!({ "name": name, "public_key": public });
        let find = || async {
            let keys: Vec<Key> = self.all("/v2/account/keys", "ssh_keys", &[]).await?;
            Ok(keys.into_iter().find(|key| key.name == name).map(|key| key.id))
        };
        ensure(find, || async {
            let created: wire::KeyCreated = self.api.post("/v2/account/keys").json(&body).fetch().await?;
            Ok(created.ssh_key.id)
        })
        .await
    }

    /// The firewall that lets in SSH and ping only. Its tag must exist, which the first droplet sees to.
    async fn firewall(&self, tags: &Tags) -> Result<(), CloudError> {
        let name = tags.firewall_name();
        let anywhere = json!({ "addresses": ["0.0.0.0/0", "::/0"] });
        let out = |protocol: &str| json!({ "protocol": protocol, "ports": "0", "destinations": anywhere });
        let body = json!({
            "name": name,
            "inbound_rules": [
                { "protocol": "tcp", "ports": "22", "sources": anywhere },
                { "protocol": "icmp", "ports": "0", "sources": anywhere },
            ],
            "outbound_rules": [out("tcp"), out("udp"), out("icmp")],
            "tags": [format!("{OWNER_TAG}{}", tags.owner)],
        });
        let find = || async {
            let all: Vec<Firewall> = self.all("/v2/firewalls", "firewalls", &[]).await?;
            Ok(all.iter().any(|firewall| firewall.name == name).then_some(()))
        };
        ensure(find, || async { self.api.post("/v2/firewalls").json(&body).send().await.map(drop) }).await
    }
}

#[async_trait]
impl Provider for DigitalOcean {
    const NAME: &'static str = "digitalocean";
    const TITLE: &'static str = "DigitalOcean";
    const OPTIONS: &'static [OptionSpec] = options::OPTIONS;
    type Account = Account;
    type Order = Order;

    fn account(settings: &Settings<'_>) -> Result<Account, DriverError> {
        Account::of(settings, "digitalocean-endpoint", "digitalocean-access-token")
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
        progress.step(&format!("Making a {} droplet in {}", order.size, order.region));
        let mut body = order.body.clone();
        body["tags"] = json!(string_tags::of(tags, &order.tags));
        let keys = [self.key(&order.authorized_key, tags).await?];
        body["ssh_keys"] = json!(keys.iter().chain(&order.keys).collect::<Vec<_>>());
        let created: wire::Created = self.api.post("/v2/droplets").json(&body).fetch().await?;
        self.firewall(tags).await?;
        Ok(created.droplet.id.to_string())
    }

    async fn list(&self) -> Result<Vec<Vm>, CloudError> {
        let droplets: Vec<Droplet> = self.all("/v2/droplets", "droplets", &[("tag_name", TAG)]).await?;
        Ok(droplets.into_iter().map(vm).collect())
    }

    async fn find(&self, machine_id: &str) -> Result<Vec<Vm>, CloudError> {
        let tag = format!("{ID_TAG}{machine_id}");
        let droplets: Vec<Droplet> = self.all("/v2/droplets", "droplets", &[("tag_name", &tag)]).await?;
        Ok(droplets.into_iter().map(vm).collect())
    }

    async fn get(&self, id: &str) -> Result<Option<Vm>, CloudError> {
        if id.parse::<u64>().is_err() {
            return Ok(None);
        }
        let found = self.api.get(&format!("/v2/droplets/{id}")).find::<wire::Created>().await?;
        Ok(found.map(|answer| vm(answer.droplet)))
    }

    async fn power(&self, id: &str, power: Power) -> Result<Option<String>, CloudError> {
        let action = match power {
            Power::On => "power_on",
            Power::Shutdown => "shutdown",
            Power::Off => "power_off",
        };
        let call = self.api.post(&format!("/v2/droplets/{id}/actions")).json(&json!({ "type": action }));
        // Being asked twice for the same state changes nothing.
        let begun: wire::Begun = call.repeatable().fetch().await?;
        begun.action.is_under_way()?;
        Ok(Some(begun.action.id.to_string()))
    }

    async fn is_under_way(&self, action: &str) -> Result<bool, CloudError> {
        let begun: wire::Begun = self.api.get(&format!("/v2/actions/{action}")).fetch().await?;
        begun.action.is_under_way()
    }

    async fn delete(&self, id: &str) -> Result<(), CloudError> {
        self.api.delete(&format!("/v2/droplets/{id}")).gone().await
    }

    async fn belongings(&self) -> Result<Vec<Belonging>, CloudError> {
        let keys: Vec<Key> = self.all("/v2/account/keys", "ssh_keys", &[]).await?;
        let firewalls: Vec<Firewall> = self.all("/v2/firewalls", "firewalls", &[]).await?;
        let keys = keys.into_iter().filter_map(|key| {
            let mut parts = key.name.split(':');
            let (TAG, Some(owner), Some(machine_id)) = (parts.next()?, parts.next(), parts.next()) else {
                return None;
            };
            Some(Belonging {
                kind: "SSH key",
                id: key.id.to_string(),
                machine_id: machine_id.to_owned(),
                owner: owner.to_owned(),
                name: key.name,
            })
        });
        let walls = firewalls.into_iter().filter_map(|wall| {
            let owner = string_tags::value(wall.tags.iter().flatten(), OWNER_TAG)?.to_owned();
            Some(Belonging {
                kind: "firewall",
                id: wall.id,
                name: wall.name,
                machine_id: SHARED.to_owned(),
                owner,
            })
        });
        Ok(keys.chain(walls).collect())
    }

    async fn discard(&self, belonging: &Belonging) -> Result<(), CloudError> {
        let folder = if belonging.kind == "firewall" { "firewalls" } else { "account/keys" };
        self.api.delete(&format!("/v2/{folder}/{}", belonging.id)).gone().await
    }
}

fn vm(droplet: Droplet) -> Vm {
    let state = match droplet.status.as_str() {
        "active" => InstanceState::Running,
        "new" => InstanceState::Starting,
        "off" => InstanceState::Stopped,
        _ => InstanceState::Error,
    };
    let address = |nets: &[wire::Net], kind: &str| {
        nets.iter().find(|net| net.kind == kind).map(|net| net.ip_address.clone())
    };
    let tag = |prefix: &str| string_tags::value(&droplet.tags, prefix).unwrap_or_default().to_owned();
    Vm {
        ipv4: address(&droplet.networks.v4, "public"),
        ipv6: address(&droplet.networks.v6, "public"),
        private: address(&droplet.networks.v4, "private"),
        machine_id: tag(ID_TAG),
        owner: tag(OWNER_TAG),
        id: droplet.id.to_string(),
        name: droplet.name,
        state,
    }
}

fn key_name(tags: &Tags) -> String {
    format!("{TAG}:{}:{}:{}", tags.owner, tags.machine_id, tags.name)
}
