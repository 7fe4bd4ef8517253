//! Which Linode: what was asked for is looked up, what was not is decided by price and age. Region and
//! image must take user-data, or the host key could not be seeded.

use super::{
    Linode,
    wire::{Image, Region, Type},
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

/// A Linode to be made.
#[derive(Debug)]
pub(crate) struct Order {
    pub(super) kind: String,
    pub(super) region: String,
    /// The user's tags.
    pub(super) tags: Vec<String>,
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
        "metadata": { "user_data": STANDARD.encode(user_data::document(spec, None)) },
    });
    let users = settings.list("linode-authorized-users");
    if !users.is_empty() {
        body["authorized_users"] = json!(users);
    }
    let mut remarks = vec![format!(
        "Type {} ({} CPUs, {} MB) in {}, image {}",
        kind.id, kind.vcpus, kind.memory, region.id, image.id
    )];
    if settings.number("linode-docker-port").is_some() {
        remarks.push("--linode-docker-port is not used: the engine is reached over SSH".to_owned());
    }
    let order =
        Order { kind: kind.id.clone(), region: region.id.clone(), tags: settings.list("linode-tags"), body };
    Ok(Plan { order, reach: Reach::of(settings, Linode::NAME, "root")?, remarks })
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
