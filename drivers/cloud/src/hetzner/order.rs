//! Which server: what was asked for is looked up, what was not is decided by price and age.

use super::{
    Hetzner,
    given::Given,
    wire::{self, Image, OneImage, ServerType},
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

/// Options that change nothing here, and why.
const UNUSED: [(&str, &str); 4] = [
    ("hetzner-existing-key-path", "the machine has a key of its own"),
    ("hetzner-wait-on-error", "what may pass is tried again for a while"),
    ("hetzner-wait-on-polling", "how often to look is known"),
    ("hetzner-wait-for-running-timeout", "a server has ten minutes to run"),
];

/// A server to be made.
#[derive(Debug)]
pub(crate) struct Order {
    pub(super) server_type: String,
    pub(super) location: String,
    /// Where it may be as well: nobody cares, and it costs the same.
    pub(super) alike: Vec<String>,
    /// Where else the type is said to be available.
    pub(super) elsewhere: Vec<String>,
    pub(super) authorized_key: String,
    /// Keys of the project that may log in as well.
    pub(super) keys: Vec<u64>,
    /// The user's labels.
    pub(super) labels: Vec<(String, String)>,
    /// The same of the machine's key.
    pub(super) key_labels: Vec<(String, String)>,
    /// On another host than the owner's other servers.
    pub(super) spread: bool,
    /// It has a public address, and so needs a firewall.
    pub(super) public: bool,
    /// The request, but for what is made on the way: key, firewall and our labels.
    pub(super) body: Value,
}

impl Order {
    /// Of a type that is sold out wherever it was ordered, says where it may not be.
    pub(super) fn explained(&self, error: CloudError) -> CloudError {
        match error {
            CloudError::Refused(mut refusal)
                if refusal.code == wire::SOLD_OUT && !self.elsewhere.is_empty() =>
            {
                let elsewhere = self.elsewhere.join(", ");
                refusal.message =
                    format!("{}; {} is also sold in {elsewhere}", refusal.message, self.server_type);
                CloudError::Refused(refusal)
            }
            error => error,
        }
    }
}

pub(super) async fn decide(
    hetzner: &Hetzner,
    spec: &MachineSpec,
    settings: &Settings<'_>,
) -> Result<Plan<Order>, CloudError> {
    let types: Vec<ServerType> = hetzner.all("/server_types", "server_types", &[]).await?;
    let given = Given::of(hetzner, settings).await?;
    let Choice { server_type, location, alike, elsewhere } = size(&types, settings, &given)?;
    let (image, image_name) = image(hetzner, settings).await?;
    let without = |names: [&str; 2]| {
        settings.flag("hetzner-disable-public") || names.iter().any(|name| settings.flag(name))
    };
    let ipv4 = !without(["hetzner-disable-public-ipv4", "hetzner-disable-public-4"]);
    let ipv6 = !without(["hetzner-disable-public-ipv6", "hetzner-disable-public-6"]);
    if (!ipv4 && given.ipv4.is_some()) || (!ipv6 && given.ipv6.is_some()) {
        return Err(CloudError::unavailable(
            "A server without public addresses of a kind cannot have a primary IP of that kind",
        ));
    }
    let private = settings.flag("hetzner-use-private-network");
    if private && given.networks.is_empty() {
        return Err(CloudError::unavailable("--hetzner-use-private-network needs --hetzner-networks"));
    }
    if !private && !ipv4 && !ipv6 {
        return Err(CloudError::unavailable(
            "A server without public addresses is reached by --hetzner-use-private-network",
        ));
    }
    let extra = match settings.text("hetzner-user-data") {
        Some(path) if settings.flag("hetzner-user-data-from-file") => user_data::read(Some(path))?,
        Some(text) => Some(text.to_owned()),
        None => user_data::read(settings.text("hetzner-user-data-file"))?,
    };
    let mut body = json!({
        "name": spec.name,
        "server_type": server_type.name,
        "image": image,
        "user_data": user_data::document(spec, &settings.list("hetzner-additional-key"), extra.as_deref()),
        "start_after_create": true,
        "public_net": { "enable_ipv4": ipv4, "enable_ipv6": ipv6 },
    });
    given.put_into(&mut body);
    let mut remarks = settings.unused(&UNUSED);
    remarks.push(format!(
        "Server type {} ({} cores, {} GB) in {location}, image {image_name}",
        server_type.name, server_type.cores, server_type.memory
    ));
    let order = Order {
        server_type: server_type.name.clone(),
        location,
        alike,
        elsewhere,
        authorized_key: spec.identity.authorized_key.clone(),
        keys: given.keys.iter().map(|key| key.id).collect(),
        labels: settings.pairs("hetzner-server-label")?,
        key_labels: settings.pairs("hetzner-key-label")?,
        spread: settings.flag("hetzner-auto-spread"),
        public: ipv4 || ipv6,
        body,
    };
    let reach = Reach { private, ..Reach::of(settings, Hetzner::NAME, "root")? };
    Ok(Plan { order, reach, remarks })
}

/// What is ordered, and where.
struct Choice<'a> {
    server_type: &'a ServerType,
    location: String,
    alike: Vec<String>,
    elsewhere: Vec<String>,
}

/// A price, what it is for, and where.
type Offer<'a> = (f64, &'a ServerType, &'a str);

/// The server type and where: both as asked, else the cheapest.
fn size<'a>(
    types: &'a [ServerType],
    settings: &Settings<'_>,
    given: &Given,
) -> Result<Choice<'a>, CloudError> {
    let wanted_location = settings.text("hetzner-server-location");
    if let Some(location) = wanted_location {
        let all: Vec<&str> =
            types.iter().flat_map(|t| t.prices.iter().map(|p| p.location.as_str())).collect();
        choose("location", location, &all, |name| name)?;
    }
    let wanted_location = given.location(wanted_location)?;
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
    let mut offers: Vec<Offer<'_>> = Vec::new();
    for server_type in candidates.into_iter().filter(|t| t.architecture == "x86") {
        for price in &server_type.prices {
            let sold = server_type.locations.is_empty()
                || server_type
                    .locations
                    .iter()
                    .any(|l| l.name == price.location && l.deprecation.is_none() && l.available);
            if let (true, Ok(gross)) = (sold, price.price_monthly.gross.parse::<f64>()) {
                offers.push((gross, server_type, &price.location));
            }
        }
    }
    offers
        .sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)).then_with(|| a.2.cmp(b.2)));
    let is_here = |place: &str| wanted_location.as_ref().is_none_or(|wanted| *wanted == place);
    let (price, best, location) = *offers.iter().find(|offer| is_here(offer.2)).ok_or_else(|| {
        let there: Vec<String> =
            offers.iter().map(|offer| format!("{} in {}", offer.1.name, offer.2)).collect();
        let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
        CloudError::unavailable(format!("No such server type is to be had there now; to be had is {there}"))
    })?;
    let others = offers.iter().filter(|offer| offer.1.name == best.name && offer.2 != location);
    // What nobody asked for must not cost more than what was told.
    let is_alike = |offer: &&Offer<'_>| wanted_location.is_none() && offer.0.total_cmp(&price).is_eq();
    let (alike, elsewhere): (Vec<_>, Vec<_>) = others.partition(is_alike);
    let places =
        |offers: Vec<&Offer<'_>>| -> Vec<String> { offers.iter().map(|offer| offer.2.to_owned()).collect() };
    Ok(Choice {
        server_type: best,
        location: location.to_owned(),
        alike: places(alike),
        elsewhere: places(elsewhere),
    })
}

async fn image(hetzner: &Hetzner, settings: &Settings<'_>) -> Result<(String, String), CloudError> {
    if let Some(arch) = settings.text("hetzner-image-arch").filter(|arch| *arch != "x86") {
        return Err(CloudError::unavailable(format!("--hetzner-image-arch {arch}: the engine is for x86")));
    }
    if let Some(id) = settings.text("hetzner-image-id").filter(|id| *id != "0") {
        return image_by_number(hetzner, id).await;
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

/// One of the user's own, a snapshot say: there is no list to choose from that would say anything.
async fn image_by_number(hetzner: &Hetzner, id: &str) -> Result<(String, String), CloudError> {
    let absent = || CloudError::unavailable(format!("There is no image {id:?} in this project"));
    if id.parse::<u64>().is_err() {
        return Err(absent());
    }
    let found = hetzner.api.get(&format!("/images/{id}")).find::<OneImage>().await?;
    let image = found.ok_or_else(absent)?.image;
    match (image.architecture.as_str(), image.status.as_str()) {
        ("x86", "available") => Ok((id.to_owned(), image.name.unwrap_or_else(|| id.to_owned()))),
        ("x86", status) => Err(CloudError::unavailable(format!("Image {id} is {status}"))),
        (other, _) => {
            Err(CloudError::unavailable(format!("Image {id} is for {other}; the engine is for x86")))
        }
    }
}
