//! Which droplet: what was asked for is looked up, what was not is decided by price and age.

use super::{
    DigitalOcean,
    wire::{Image, Region, Size},
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

/// A droplet to be made.
#[derive(Debug)]
pub(crate) struct Order {
    pub(super) size: String,
    pub(super) region: String,
    pub(super) authorized_key: String,
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
    let images: Vec<Image> = account.all("/v2/images", "images", &[("type", "distribution")]).await?;

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
    let there: Vec<&Image> =
        images.iter().filter(|image| image.slug.is_some() && image.regions.contains(&region)).collect();
    let slug = |image: &Image| image.slug.clone().unwrap_or_default();
    let image = match settings.text("digitalocean-image") {
        // A number is an image of the user's own.
        Some(number) if number.parse::<u64>().is_ok() => number.to_owned(),
        Some(wanted) => slug(choose("image", wanted, &there, |i| i.slug.as_deref().unwrap_or_default())?),
        None => {
            let version = |image: &&&Image| -> u32 {
                image.slug.as_deref().and_then(|s| s.split('-').nth(1)?.parse().ok()).unwrap_or(0)
            };
            let newest = there.iter().filter(|image| image.distribution == "Debian").max_by_key(version);
            slug(newest.ok_or_else(|| {
                CloudError::unavailable("There is no image of Debian; name one with --digitalocean-image")
            })?)
        }
    };
    let extra = user_data::read(settings.text("digitalocean-userdata"))?;
    let image_value = image.parse::<u64>().map_or_else(|_| json!(image), |number| json!(number));
    let body = json!({
        "name": spec.name,
        "region": region,
        "size": size.slug,
        "image": image_value,
        "ipv6": settings.flag("digitalocean-ipv6"),
        "backups": settings.flag("digitalocean-backups"),
        "monitoring": settings.flag("digitalocean-monitoring"),
        "user_data": user_data::document(spec, extra.as_deref()),
    });
    let remarks = vec![format!(
        "Size {} ({} CPUs, {} MB) in {region}, image {image}",
        size.slug, size.vcpus, size.memory
    )];
    let order = Order {
        size: size.slug.clone(),
        region,
        authorized_key: spec.identity.authorized_key.clone(),
        tags: settings.list("digitalocean-tags"),
        body,
    };
    Ok(Plan { order, reach: Reach::of(settings, DigitalOcean::NAME, "root")?, remarks })
}
