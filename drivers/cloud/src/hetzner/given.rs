//! What the project has already and a server is given: networks, volumes, addresses, keys, firewalls, a
//! placement group. Named by number or name, looked up, and refused with what there is.

use super::{Hetzner, wire::Thing};
use crate::{http::CloudError, provider::choose, settings::Settings};
use serde_json::{Value, json};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) networks: Vec<Thing>,
    pub(super) volumes: Vec<Thing>,
    pub(super) keys: Vec<Thing>,
    pub(super) firewalls: Vec<Thing>,
    pub(super) placement_group: Option<Thing>,
    pub(super) ipv4: Option<Thing>,
    pub(super) ipv6: Option<Thing>,
}

impl Given {
    pub(super) async fn of(hetzner: &Hetzner, settings: &Settings<'_>) -> Result<Self, CloudError> {
        let one = |name: &str| settings.text(name).filter(|text| *text != "0").map(str::to_owned);
        let address = async |family: &str| -> Result<Option<Thing>, CloudError> {
            let wanted: Vec<String> = one(&format!("hetzner-primary-{family}")).into_iter().collect();
            let found = find(hetzner, "primary_ips", "primary IP", &wanted).await?;
            match found.into_iter().next() {
                Some(other) if other.kind.as_deref() != Some(family) => {
                    Err(CloudError::unavailable(format!("Primary IP {} is no {family} address", other.name)))
                }
                found => Ok(found),
            }
        };
        let keys: Vec<String> = one("hetzner-existing-key-id").into_iter().collect();
        let group: Vec<String> = one("hetzner-placement-group").into_iter().collect();
        if !group.is_empty() && settings.flag("hetzner-auto-spread") {
            return Err(CloudError::unavailable(
                "--hetzner-placement-group and --hetzner-auto-spread exclude each other",
            ));
        }
        let given = Self {
            networks: find(hetzner, "networks", "network", &settings.list("hetzner-networks")).await?,
            volumes: find(hetzner, "volumes", "volume", &settings.list("hetzner-volumes")).await?,
            keys: find(hetzner, "ssh_keys", "SSH key", &keys).await?,
            firewalls: find(hetzner, "firewalls", "firewall", &settings.list("hetzner-firewalls")).await?,
            placement_group: find(hetzner, "placement_groups", "placement group", &group).await?.pop(),
            ipv4: address("ipv4").await?,
            ipv6: address("ipv6").await?,
        };
        if let Some(used) = given.placed().find(|thing| thing.server.or(thing.assignee_id).is_some()) {
            return Err(CloudError::unavailable(format!("{} is another server's already", used.name)));
        }
        Ok(given)
    }

    /// What is in one location and cannot leave it.
    fn placed(&self) -> impl Iterator<Item = &Thing> {
        self.volumes.iter().chain(&self.ipv4).chain(&self.ipv6)
    }

    /// Where the server must be: where it is wanted, and all that is given to it is.
    pub(super) fn location(&self, wanted: Option<&str>) -> Result<Option<String>, CloudError> {
        let mut location = wanted.map(str::to_owned);
        for thing in self.placed() {
            let Some(place) = &thing.location else { continue };
            match &location {
                Some(other) if *other != place.name => {
                    let sentence =
                        format!("{} is in {}, and the server would be in {other}", thing.name, place.name);
                    return Err(CloudError::unavailable(sentence));
                }
                _ => location = Some(place.name.clone()),
            }
        }
        Ok(location)
    }

    /// Puts it into the request for a server.
    pub(super) fn put_into(&self, body: &mut Value) {
        let ids = |things: &[Thing]| things.iter().map(|thing| thing.id).collect::<Vec<_>>();
        if !self.networks.is_empty() {
            body["networks"] = json!(ids(&self.networks));
        }
        if !self.volumes.is_empty() {
            body["volumes"] = json!(ids(&self.volumes));
            body["automount"] = json!(false);
        }
        if !self.firewalls.is_empty() {
            body["firewalls"] = self.firewalls.iter().map(|wall| json!({ "firewall": wall.id })).collect();
        }
        if let Some(group) = &self.placement_group {
            body["placement_group"] = json!(group.id);
        }
        for (family, address) in [("ipv4", &self.ipv4), ("ipv6", &self.ipv6)] {
            if let Some(address) = address {
                body["public_net"][family] = json!(address.id);
            }
        }
    }
}

/// The things of one kind that are wanted. Nothing is asked where nothing is.
async fn find(
    hetzner: &Hetzner,
    kind: &str,
    what: &str,
    wanted: &[String],
) -> Result<Vec<Thing>, CloudError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<Thing> = hetzner.all(&format!("/{kind}"), kind, &[]).await?;
    let find = |wanted: &String| {
        let exact = |thing: &&Thing| thing.id.to_string() == *wanted || thing.ip.as_ref() == Some(wanted);
        let found = all.iter().find(exact);
        found.map_or_else(|| choose(what, wanted, &all, |thing| &thing.name), Ok).cloned()
    };
    wanted.iter().map(find).collect()
}
