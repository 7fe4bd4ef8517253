//! Which droplet: what was asked for is looked up, what was not is decided by price and age.

use super::{
    DigitalOcean,
    wire::{Image, Key, OneImage, Region, Size},
};
use crate::{
    http::CloudError,
    provider::{Plan, Provider, Reach, choose},
    settings::Settings,
    user_data,
};
use machine_drivers::MachineSpec;
use serde_json::{Value, json};

/// MB of memory that a machine nobody sized has.
const MEMORY: u64 = 1024;
/// docker-machine's region, taken where it has the size.
const REGION: &str = "nyc3";

/// Options that change nothing here, and why.
const UNUSED: [(&str, &str); 2] = [
    ("digitalocean-ssh-key-path", "the machine has a key of its own"),
    ("digitalocean-private-networking", "every droplet is in a private network"),
];

/// A droplet to be made.
#[derive(Debug)]
pub(crate) struct Order {
    pub(super) size: String,
    pub(super) region: String,
    pub(super) authorized_key: String,
    /// Keys of the account that may log in as well.
    pub(super) keys: Vec<u64>,
    /// The user's tags.
    pub(super) tags: Vec<String>,
    /// The request, but for what is made on the way: the key and our tags.
    pub(super) body: Value,
}

pub(super) async fn decide(
    account: &DigitalOcean,
    spec: &MachineSpec,
    settings: &Settings<'_>,
) -> Result<Plan<Order>, CloudError> {
    let regions: Vec<Region> = account.all("/v2/regions", "regions", &[]).await?;
    let sizes: Vec<Size> = account.all("/v2/sizes", "sizes", &[]).await?;
    let keys = keys(account, settings).await?;

    let wanted_region = settings.text("digitalocean-region");
    if let Some(region) = wanted_region {
        let open: Vec<&Region> = regions.iter().filter(|region| region.available).collect();
        choose("region", region, &open, |region| &region.slug)?;
    }
    let sold = |size: &&Size| {
        size.available && wanted_region.is_none_or(|region| size.regions.iter().any(|other| other == region))
    };
    let on_sale: Vec<&Size> = sizes.iter().filter(sold).collect();
    let size = match settings.text("digitalocean-size") {
        Some(slug) => choose("size", slug, &on_sale, |size| &size.slug)?,
        None => on_sale
            .iter()
            .filter(|size| size.memory >= MEMORY && !size.regions.is_empty())
            .min_by(|a, b| a.price_monthly.total_cmp(&b.price_monthly).then_with(|| a.slug.cmp(&b.slug)))
            .ok_or_else(|| CloudError::unavailable("No size with 1 GB of memory is to be had there now"))?,
    };
    let region = match wanted_region {
        Some(region) => region.to_owned(),
        None => {
            let usual = size.regions.iter().find(|region| *region == REGION);
            let first = usual.or_else(|| size.regions.iter().min());
            first.cloned().ok_or_else(|| CloudError::unavailable("The size is not to be had anywhere now"))?
        }
    };
    let image = image(account, settings, &region).await?;
    let extra = user_data::read(settings.text("digitalocean-userdata"))?;
    let body = json!({
        "name": spec.name,
        "region": region,
        "size": size.slug,
        "image": image.slug.as_ref().map_or_else(|| json!(image.id), |slug| json!(slug)),
        "ipv6": settings.flag("digitalocean-ipv6"),
        "backups": settings.flag("digitalocean-backups"),
        "monitoring": settings.flag("digitalocean-monitoring"),
        "user_data": user_data::document(spec, &[], extra.as_deref()),
    });
    let mut remarks = settings.unused(&UNUSED);
    remarks.push(format!(
        "Size {} ({} CPUs, {} MB) in {region}, image {}",
        size.slug,
        size.vcpus,
        size.memory,
        image.slug.unwrap_or_else(|| image.id.to_string())
    ));
    let order = Order {
        size: size.slug.clone(),
        region,
        authorized_key: spec.identity.authorized_key.clone(),
        keys,
        tags: settings.list("digitalocean-tags"),
        body,
    };
    Ok(Plan { order, reach: Reach::of(settings, DigitalOcean::NAME, "root")?, remarks })
}

/// The image that is wanted, else the newest Debian; in this region.
async fn image(
    account: &DigitalOcean,
    settings: &Settings<'_>,
    region: &String,
) -> Result<Image, CloudError> {
    let mut images: Vec<Image> = account.all("/v2/images", "images", &[("type", "distribution")]).await?;
    images.retain(|image| image.slug.is_some() && image.regions.contains(region));
    let Some(wanted) = settings.text("digitalocean-image") else {
        let newest = images.into_iter().filter(|image| image.distribution == "Debian").max_by_key(version);
        return newest.ok_or_else(|| {
            CloudError::unavailable("There is no image of Debian; name one with --digitalocean-image")
        });
    };
    let chosen = choose("image", wanted, &images, |image| image.slug.as_deref().unwrap_or_default()).cloned();
    let is_name = wanted.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if chosen.is_ok() || !is_name {
        return chosen;
    }
    // One of the user's own, which has a number only, or an application's.
    match account.api.get(&format!("/v2/images/{wanted}")).find::<OneImage>().await? {
        Some(OneImage { image }) if image.regions.contains(region) => Ok(image),
        Some(OneImage { image }) => Err(CloudError::unavailable(format!(
            "Image {wanted} is not in {region}; it is in {}",
            image.regions.join(", ")
        ))),
        None => chosen,
    }
}

/// The release in a slug, `13` of `debian-13-x64`.
fn version(image: &Image) -> u32 {
    image.slug.as_deref().and_then(|slug| slug.split('-').nth(1)?.parse().ok()).unwrap_or(0)
}

/// The key of the account that is named.
async fn keys(account: &DigitalOcean, settings: &Settings<'_>) -> Result<Vec<u64>, CloudError> {
    let Some(wanted) = settings.text("digitalocean-ssh-key-fingerprint") else { return Ok(Vec::new()) };
    let all: Vec<Key> = account.all("/v2/account/keys", "ssh_keys", &[]).await?;
    Ok(vec![choose("SSH key", wanted, &all, |key| &key.fingerprint)?.id])
}
