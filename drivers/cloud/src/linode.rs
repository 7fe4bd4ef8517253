//! `linode`: Linodes of Akamai.
//!
//! Linodes and the firewall bear the tags `machine`, `machine-id:…` and `machine-owner:…`. There are no
//! key objects: keys are part of the request. A Linode's power cannot be cut, so a kill is a shutdown,
//! after which the provider cuts it.

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
use serde_json::{Value, json};
use wire::{Firewall, Linode as Machine};

const PAGE_SIZE: &str = "100";

/// An account, connected.
#[derive(Debug)]
pub(crate) struct Linode {
    api: Api,
}

impl Linode {
    /// Every page of a listing.
    async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        filter: Option<Value>,
    ) -> Result<Vec<T>, CloudError> {
        let ask = |page: &str| {
            let call = self.api.get(path).query(&[("page", page), ("page_size", PAGE_SIZE)]);
            match &filter {
                Some(filter) => call.header("x-filter", &filter.to_string()),
                None => call,
            }
        };
        bearer::all("data", ask, |answer, page| answer["pages"].as_u64() > Some(page)).await
    }

    /// The firewall that lets in SSH and ping only.
    async fn firewall(&self, tags: &Tags) -> Result<u64, CloudError> {
        let label = tags.firewall_name();
        let anywhere = json!({ "ipv4": ["0.0.0.0/0"], "ipv6": ["::/0"] });
        let body = json!({
            "label": label,
            "tags": [TAG, format!("{OWNER_TAG}{}", tags.owner)],
            "rules": {
                "inbound": [
                    { "action": "ACCEPT", "protocol": "TCP", "ports": "22", "addresses": anywhere, "label": "ssh" },
                    { "action": "ACCEPT", "protocol": "ICMP", "addresses": anywhere, "label": "ping" },
                ],
                "inbound_policy": "DROP",
                "outbound": [],
                "outbound_policy": "ACCEPT",
            },
        });
        let find = || async {
            let all: Vec<Firewall> = self.all("/networking/firewalls", None).await?;
            Ok(all.into_iter().find(|firewall| firewall.label == label).map(|firewall| firewall.id))
        };
        ensure(find, || async {
            let made: Firewall = self.api.post("/networking/firewalls").json(&body).fetch().await?;
            Ok(made.id)
        })
        .await
    }
}

#[async_trait]
impl Provider for Linode {
    const NAME: &'static str = "linode";
    const TITLE: &'static str = "Linode";
    const OPTIONS: &'static [OptionSpec] = options::OPTIONS;
    type Account = Account;
    type Order = Order;

    fn account(settings: &Settings<'_>) -> Result<Account, DriverError> {
        Account::of(settings, "linode-endpoint", "linode-token")
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
        progress.step(&format!("Making a {} Linode in {}", order.kind, order.region));
        let mut body = order.body.clone();
        body["tags"] = json!(string_tags::of(tags, &order.tags));
        let firewall = self.firewall(tags).await?;
        if order.interfaces_of_its_own {
            let address = json!({ "address": "auto", "primary": true });
            let public = json!({ "ipv4": { "addresses": [address] } });
            body["interfaces"] = json!([{ "public": public, "firewall_id": firewall }]);
        } else {
            body["firewall_id"] = json!(firewall);
        }
        let made: Machine = self.api.post("/linode/instances").json(&body).fetch().await?;
        Ok(made.id.to_string())
    }

    async fn list(&self) -> Result<Vec<Vm>, CloudError> {
        let all: Vec<Machine> = self.all("/linode/instances", Some(json!({ "tags": TAG }))).await?;
        Ok(all.into_iter().filter_map(vm).collect())
    }

    async fn find(&self, machine_id: &str) -> Result<Vec<Vm>, CloudError> {
        let filter = json!({ "tags": format!("{ID_TAG}{machine_id}") });
        let all: Vec<Machine> = self.all("/linode/instances", Some(filter)).await?;
        Ok(all.into_iter().filter_map(vm).collect())
    }

    async fn get(&self, id: &str) -> Result<Option<Vm>, CloudError> {
        if id.parse::<u64>().is_err() {
            return Ok(None);
        }
        let found = self.api.get(&format!("/linode/instances/{id}")).find::<Machine>().await?;
        Ok(found.and_then(vm))
    }

    async fn power(&self, id: &str, power: Power) -> Result<Option<String>, CloudError> {
        let action = if power == Power::On { "boot" } else { "shutdown" };
        // Being asked twice for the same state changes nothing.
        let call = self.api.post(&format!("/linode/instances/{id}/{action}")).json(&json!({}));
        call.repeatable().send().await.map(|_| None)
    }

    async fn delete(&self, id: &str) -> Result<(), CloudError> {
        self.api.delete(&format!("/linode/instances/{id}")).gone().await
    }

    async fn belongings(&self) -> Result<Vec<Belonging>, CloudError> {
        let all: Vec<Firewall> = self.all("/networking/firewalls", None).await?;
        let ours = all.into_iter().filter_map(|firewall| {
            let owner = string_tags::value(&firewall.tags, OWNER_TAG)?.to_owned();
            Some(Belonging {
                kind: "firewall",
                id: firewall.id.to_string(),
                name: firewall.label,
                machine_id: SHARED.to_owned(),
                owner,
            })
        });
        Ok(ours.collect())
    }

    async fn discard(&self, belonging: &Belonging) -> Result<(), CloudError> {
        self.api.delete(&format!("/networking/firewalls/{}", belonging.id)).gone().await
    }
}

/// `None` for one that is on its way out: it is a machine no more.
fn vm(machine: Machine) -> Option<Vm> {
    let state = match machine.status.as_str() {
        "running" => InstanceState::Running,
        "offline" | "stopped" | "billing_suspension" => InstanceState::Stopped,
        "shutting_down" => InstanceState::Stopping,
        "deleting" => return None,
        "booting" | "rebooting" | "provisioning" | "rebuilding" | "restoring" | "cloning" | "migrating"
        | "resizing" => InstanceState::Starting,
        _ => InstanceState::Error,
    };
    let tag = |prefix: &str| string_tags::value(&machine.tags, prefix).unwrap_or_default().to_owned();
    let is_private = |address: &&String| address.starts_with("192.168.");
    Some(Vm {
        ipv4: machine.ipv4.iter().find(|address| !is_private(address)).cloned(),
        ipv6: machine.ipv6.and_then(|address| address.split('/').next().map(str::to_owned)),
        private: machine.ipv4.iter().find(is_private).cloned(),
        machine_id: tag(ID_TAG),
        owner: tag(OWNER_TAG),
        id: machine.id.to_string(),
        name: machine.label,
        state,
    })
}
