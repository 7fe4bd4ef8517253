//! Which server: what was asked for is looked up, what was not is decided by price and age.

use super::{
    Hetzner,
    wire::{Image, Network, ServerType},
};
use crate::{
    http::CloudError,
    provider::{Plan, Provider, Reach, choose},
    settings::Settings,
    user_data,
};
use machine_drivers::MachineSpec;
use serde_json::{Value, json};

/// GB of memory that a machine nobody sized has.
const MEMORY: f64 = 2.0;

/// A server to be made.
#[derive(Debug)]
pub(crate) struct Order {
    pub(super) server_type: String,
    pub(super) location: String,
    pub(super) authorized_key: String,
    /// The user's labels.
    pub(super) labels: Vec<(String, String)>,
    /// It has a public address, and so needs a firewall.
    pub(super) public: bool,
    /// The request, but for what is made on the way: key, firewall and our labels.
    pub(super) body: Value,
}

pub(super) async fn decide(
    hetzner: &Hetzner,
    spec: &MachineSpec,
    settings: &Settings<'_>,
) -> Result<Plan<Order>, CloudError> {
    let types: Vec<ServerType> = hetzner.all("/server_types", "server_types", &[]).await?;
    let (server_type, location) = size(&types, settings)?;
    let (image, image_name) = image(hetzner, settings).await?;
    let networks = networks(hetzner, settings).await?;
    let no_public = settings.flag("hetzner-disable-public");
    let ipv4 = !no_public && !settings.flag("hetzner-disable-public-ipv4");
    let ipv6 = !no_public && !settings.flag("hetzner-disable-public-ipv6");
    let private = settings.flag("hetzner-use-private-network");
    if private && networks.is_empty() {
        return Err(CloudError::unavailable("--hetzner-use-private-network needs --hetzner-networks"));
    }
    if !private && !ipv4 && !ipv6 {
        return Err(CloudError::unavailable(
            "A server without public addresses is reached by --hetzner-use-private-network",
        ));
    }
    let extra = match settings.text("hetzner-user-data") {
        Some(text) => Some(text.to_owned()),
        None => user_data::read(settings.text("hetzner-user-data-file"))?,
    };
    let mut body = json!({
        "name": spec.name,
        "server_type": server_type.name,
        "image": image,
        "location": location,
        "user_data": user_data::document(spec, extra.as_deref()),
        "start_after_create": true,
        "public_net": { "enable_ipv4": ipv4, "enable_ipv6": ipv6 },
    });
    if !networks.is_empty() {
        body["networks"] = json!(networks);
    }
    let firewalls = settings.list("hetzner-firewalls");
    if !firewalls.is_empty() {
        let numbers: Vec<u64> = firewalls
            .iter()
            .map(|id| {
                id.parse().map_err(|_| {
                    CloudError::unavailable(format!("--hetzner-firewalls takes numbers, not {id:?}"))
                })
            })
            .collect::<Result<_, _>>()?;
        body["firewalls"] = numbers.iter().map(|id| json!({ "firewall": id })).collect();
    }
    let remarks = vec![format!(
        "Server type {} ({} cores, {} GB) in {location}, image {image_name}",
        server_type.name, server_type.cores, server_type.memory
    )];
    let order = Order {
        server_type: server_type.name.clone(),
        location,
        authorized_key: spec.identity.authorized_key.clone(),
        labels: settings.pairs("hetzner-server-label")?,
        public: ipv4 || ipv6,
        body,
    };
    let reach = Reach { private, ..Reach::of(settings, Hetzner::NAME, "root")? };
    Ok(Plan { order, reach, remarks })
}

/// The server type and where: both as asked, else the cheapest.
fn size<'a>(
    types: &'a [ServerType],
    settings: &Settings<'_>,
) -> Result<(&'a ServerType, String), CloudError> {
    let wanted_location = settings.text("hetzner-server-location");
    if let Some(location) = wanted_location {
        let all: Vec<&str> =
            types.iter().flat_map(|t| t.prices.iter().map(|p| p.location.as_str())).collect();
        choose("location", location, &all, |name| name)?;
    }
    let candidates: Vec<&ServerType> = match settings.text("hetzner-server-type") {
        Some(name) => vec![choose("server type", name, types, |t| &t.name)?],
        None => types.iter().filter(|t| t.deprecation.is_none() && t.memory >= MEMORY).collect(),
    };
    if let [only] = candidates.as_slice()
        && only.architecture != "x86"
    {
        return Err(CloudError::unavailable(format!(
            "Server type {} is {}; the engine is for x86",
            only.name, only.architecture
        )));
    }
    let mut offers: Vec<(f64, &ServerType, &str)> = Vec::new();
    for server_type in candidates.into_iter().filter(|t| t.architecture == "x86") {
        for price in &server_type.prices {
            let sold = server_type.locations.is_empty()
                || server_type
                    .locations
                    .iter()
                    .any(|l| l.name == price.location && l.deprecation.is_none() && l.available);
            let here = wanted_location.is_none_or(|wanted| wanted == price.location);
            if let (true, true, Ok(gross)) = (sold, here, price.price_monthly.gross.parse::<f64>()) {
                offers.push((gross, server_type, &price.location));
            }
        }
    }
    offers
        .sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)).then_with(|| a.2.cmp(b.2)));
    let best = offers
        .first()
        .ok_or_else(|| CloudError::unavailable("No such server type is to be had there now"))?;
    Ok((best.1, best.2.to_owned()))
}

async fn image(hetzner: &Hetzner, settings: &Settings<'_>) -> Result<(String, String), CloudError> {
    if let Some(arch) = settings.text("hetzner-image-arch").filter(|arch| *arch != "x86") {
        return Err(CloudError::unavailable(format!("--hetzner-image-arch {arch}: the engine is for x86")));
    }
    if let Some(id) = settings.text("hetzner-image-id") {
        return Ok((id.to_owned(), id.to_owned()));
    }
    let query = [("type", "system"), ("architecture", "x86"), ("status", "available")];
    let mut images: Vec<Image> = hetzner.all("/images", "images", &query).await?;
    images.retain(|image| image.architecture == "x86" && image.name.is_some());
    let name = |image: &Image| image.name.clone().unwrap_or_default();
    let chosen = match settings.text("hetzner-image") {
        Some(wanted) => choose("image", wanted, &images, |image| image.name.as_deref().unwrap_or_default())?,
        None => {
            let version = |image: &&Image| -> u32 {
                image.os_version.as_deref().and_then(|v| v.split('.').next()?.parse().ok()).unwrap_or(0)
            };
            let debian = |image: &&Image| image.os_flavor == "debian" && image.deprecated.is_none();
            let newest = images.iter().filter(debian).max_by_key(version);
            newest.ok_or_else(|| {
                CloudError::unavailable("There is no image of Debian; name one with --hetzner-image")
            })?
        }
    };
    Ok((chosen.id.to_string(), name(chosen)))
}

async fn networks(hetzner: &Hetzner, settings: &Settings<'_>) -> Result<Vec<u64>, CloudError> {
    let wanted = settings.list("hetzner-networks");
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<Network> = hetzner.all("/networks", "networks", &[]).await?;
    let find = |wanted: &String| {
        let by_number = all.iter().find(|network| network.id.to_string() == *wanted);
        by_number.map_or_else(|| choose("network", wanted, &all, |n| &n.name), Ok).map(|network| network.id)
    };
    wanted.iter().map(find).collect()
}
