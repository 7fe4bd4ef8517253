//! Which Linode: what was asked for is looked up, what was not is decided by price and age. Region and
//! image must take user-data, or the host key could not be seeded.

use super::{
    Linode,
    wire::{AccountSettings, Image, Region, StackScript, Type},
};
use crate::{
    http::CloudError,
    provider::{Plan, Provider, Reach, choose},
    random,
    settings::Settings,
    user_data,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use machine_drivers::{DriverError, MachineSpec};
use serde_json::{Value, json};

/// MB of memory that a machine nobody sized has.
const MEMORY: u64 = 1024;
/// docker-machine's region, taken where it takes user-data.
const REGION: &str = "us-east";

/// Options that change nothing here, and why.
const UNUSED: [(&str, &str); 2] = [
    ("linode-docker-port", "the engine is reached over SSH"),
    ("linode-ua-prefix", "calls say who makes them"),
];

/// A Linode to be made.
#[derive(Debug)]
pub(crate) struct Order {
    pub(super) kind: String,
    pub(super) region: String,
    /// The user's tags.
    pub(super) tags: Vec<String>,
    /// The firewall holds for its interface, not for the Linode.
    pub(super) interfaces_of_its_own: bool,
    /// The request, but for what is made on the way: the firewall and our tags.
    pub(super) body: Value,
}

pub(super) async fn decide(
    account: &Linode,
    spec: &MachineSpec,
    settings: &Settings<'_>,
) -> Result<Plan<Order>, CloudError> {
    let regions: Vec<Region> = account.all("/regions", None).await?;
    let types: Vec<Type> = account.all("/linode/types", None).await?;
    let images: Vec<Image> = account.all("/images", None).await?;

    let open: Vec<&Region> = regions
        .iter()
        .filter(|region| region.status == "ok" && region.capabilities.iter().any(|c| c == "Metadata"))
        .collect();
    let region = match settings.text("linode-region") {
        Some(region) => choose("region that takes user-data", region, &open, |region| &region.id)?,
        None => open
            .iter()
            .find(|region| region.id == REGION)
            .or(open.first())
            .ok_or_else(|| CloudError::unavailable("No region takes user-data now"))?,
    };
    let price = |kind: &&Type| kind.price.monthly.unwrap_or(f64::MAX);
    let kind = match settings.text("linode-instance-type") {
        Some(id) => choose("type", id, &types, |kind| &kind.id)?,
        None => types
            .iter()
            .filter(|kind| kind.memory >= MEMORY && kind.gpus == 0)
            .min_by(|a, b| price(a).total_cmp(&price(b)).then_with(|| a.id.cmp(&b.id)))
            .ok_or_else(|| CloudError::unavailable("There is no type with 1 GB of memory"))?,
    };
    let fit: Vec<&Image> =
        images.iter().filter(|image| image.capabilities.iter().any(|c| c == "cloud-init")).collect();
    let image = match settings.text("linode-image") {
        Some(id) => choose("image that takes user-data", id, &fit, |image| &image.id)?,
        None => {
            let version = |image: &&&Image| -> u32 {
                image.id.strip_prefix("linode/debian").and_then(|v| v.parse().ok()).unwrap_or(0)
            };
            let debian = |image: &&&Image| image.vendor.as_deref() == Some("Debian") && !image.deprecated;
            let newest = fit.iter().filter(debian).max_by_key(version);
            newest.ok_or_else(|| {
                CloudError::unavailable("There is no image of Debian; name one with --linode-image")
            })?
        }
    };
    let root_pass = match settings.text("linode-root-pass") {
        Some(given) => given.to_owned(),
        None => random_password()?,
    };
    let mut body = json!({
        "label": label(settings.text("linode-label").unwrap_or(&spec.name))?,
        "region": region.id,
        "type": kind.id,
        "image": image.id,
        "root_pass": root_pass,
        "authorized_keys": [spec.identity.authorized_key.trim()],
        "booted": true,
        "swap_size": settings.number("linode-swap-size").unwrap_or(512),
        "private_ip": settings.flag("linode-create-private-ip"),
        "metadata": { "user_data": STANDARD.encode(user_data::document(spec, &[], None)) },
    });
    let users = settings.list("linode-authorized-users");
    if !users.is_empty() {
        body["authorized_users"] = json!(users);
    }
    if let Some((id, data)) = stackscript(account, settings, &image.id).await? {
        body["stackscript_id"] = json!(id);
        body["stackscript_data"] = data;
    }
    let generation = generation(account).await?;
    let interfaces_of_its_own = generation == Some("linode");
    if interfaces_of_its_own && settings.flag("linode-create-private-ip") {
        return Err(CloudError::unavailable(
            "--linode-create-private-ip: new Linodes of this account have no private addresses",
        ));
    }
    if let Some(generation) = generation {
        body["interface_generation"] = json!(generation);
    }
    let mut remarks = settings.unused(&UNUSED);
    remarks.push(format!(
        "Type {} ({} CPUs, {} MB) in {}, image {}",
        kind.id, kind.vcpus, kind.memory, region.id, image.id
    ));
    let order = Order {
        kind: kind.id.clone(),
        region: region.id.clone(),
        tags: settings.list("linode-tags"),
        interfaces_of_its_own,
        body,
    };
    Ok(Plan { order, reach: Reach::of(settings, Linode::NAME, "root")?, remarks })
}

/// The StackScript that is wanted, and what it asks for.
async fn stackscript(
    account: &Linode,
    settings: &Settings<'_>,
    image: &str,
) -> Result<Option<(u64, Value)>, CloudError> {
    let data = settings.text("linode-stackscript-data");
    let Some(wanted) = settings.text("linode-stackscript") else {
        return match data {
            Some(_) => Err(CloudError::unavailable("--linode-stackscript-data needs --linode-stackscript")),
            None => Ok(None),
        };
    };
    let data = match data.map(serde_json::from_str::<Value>) {
        None => json!({}),
        Some(Ok(data)) if data.is_object() => data,
        Some(_) => return Err(CloudError::unavailable("--linode-stackscript-data takes a JSON object")),
    };
    let script = match wanted.split_once('/') {
        Some((user, label)) => {
            let filter = json!({ "username": user });
            let all: Vec<StackScript> = account.all("/linode/stackscripts", Some(filter)).await?;
            let what = format!("StackScript of {user}");
            Some(choose(&what, label, &all, |script| &script.label)?.clone())
        }
        None if wanted.parse::<u64>().is_ok() => {
            account.api.get(&format!("/linode/stackscripts/{wanted}")).find().await?
        }
        None => None,
    };
    let script = script.ok_or_else(|| {
        CloudError::unavailable(format!(
            "There is no StackScript {wanted:?}; name one by number or USER/LABEL"
        ))
    })?;
    if !script.images.iter().any(|fit| fit == image || fit == "any/all") {
        return Err(CloudError::unavailable(format!(
            "StackScript {wanted} is not for {image}; it is for {}",
            script.images.join(", ")
        )));
    }
    Ok(Some((script.id, data)))
}

/// Which generation of interfaces to ask for: firewalls hold for Linodes of the older, and for interfaces of
/// the newer one. An account may have only one; where it has both, or the token may not know, it is the older.
async fn generation(account: &Linode) -> Result<Option<&'static str>, CloudError> {
    let settings: AccountSettings = match account.api.get("/account/settings").fetch().await {
        Err(CloudError::Refused(refusal)) if matches!(refusal.status, 401 | 403 | 404) => return Ok(None),
        settings => settings?,
    };
    Ok(match settings.interfaces_for_new_linodes.as_str() {
        "linode_only" => Some("linode"),
        "linode_default_but_legacy_config_allowed" => Some("legacy_config"),
        _ => None,
    })
}

/// Three to 64 of `[A-Za-z0-9_.-]`, no two of the last three in a row.
fn label(name: &str) -> Result<String, DriverError> {
    let name = if name.len() < 3 { format!("machine-{name}") } else { name.to_owned() };
    let mark = |c: char| matches!(c, '-' | '_' | '.');
    let doubled = name.as_bytes().windows(2).any(|pair| pair[0] == pair[1] && mark(char::from(pair[0])));
    let allowed = name.chars().all(|c| c.is_ascii_alphanumeric() || mark(c));
    if name.len() > 64 || !allowed || doubled || name.starts_with(mark) || name.ends_with(mark) {
        return Err(DriverError::InvalidSpec(format!(
            "Linode takes no label {name:?}; give another with --linode-label"
        )));
    }
    Ok(name)
}

/// The API insists on one; nobody will ever know it.
fn random_password() -> Result<String, DriverError> {
    Ok(format!("aA1!{}", STANDARD.encode(random::bytes::<33>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_the_rule() {
        assert_eq!(label("ci-1").unwrap(), "ci-1");
        assert_eq!(label("x").unwrap(), "machine-x");
        for wrong in ["a--b", "a.b..c", "-abc", "abc-", "a b c"] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
    }
}
