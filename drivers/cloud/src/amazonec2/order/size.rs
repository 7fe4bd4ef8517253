//! The instance type: the one that was named, else the smallest of those that cost least.

use super::{ARCHITECTURE, Ec2};
use crate::{
    amazonec2::{query::Query, wire},
    http::CloudError,
    provider::choose,
    settings::Settings,
};
use std::cmp::Reverse;
use wire::{InstanceType, Offering};

/// MB of memory that a machine nobody sized has.
const MEMORY: u64 = 1024;
/// Where there is no such type.
const UNKNOWN: &str = "InvalidInstanceType";

pub(super) async fn choose_type(
    ec2: &Ec2,
    settings: &Settings<'_>,
    spot: bool,
) -> Result<InstanceType, CloudError> {
    let Some(name) = settings.text("amazonec2-instance-type") else { return smallest(ec2, spot).await };
    let query = Query::new("DescribeInstanceTypes").with("InstanceType.1", name);
    let found = match ec2.list_of::<InstanceType>(query).await {
        Err(CloudError::Refused(refusal)) if refusal.code == UNKNOWN => Vec::new(),
        found => found?,
    };
    let Some(found) = found.into_iter().next() else { return Err(unknown(ec2, name).await) };
    let architectures = &found.processor_info.supported_architectures.items;
    if architectures.iter().any(|architecture| architecture == ARCHITECTURE) {
        return Ok(found);
    }
    let sentence = format!("Instance type {name} is {}; the engine is for x86", architectures.join(", "));
    Err(CloudError::unavailable(sentence))
}

/// Prices are nowhere in this API; among the burstable types they follow memory.
async fn smallest(ec2: &Ec2, spot: bool) -> Result<InstanceType, CloudError> {
    let query = Query::new("DescribeInstanceTypes")
        .filter("current-generation", &["true"])
        .filter("burstable-performance-supported", &["true"])
        .filter("processor-info.supported-architecture", &[ARCHITECTURE])
        .filter("supported-usage-class", &[if spot { "spot" } else { "on-demand" }]);
    let types: Vec<InstanceType> = ec2.all(query).await?;
    let fits = |kind: &InstanceType| {
        kind.current_generation
            && kind.burstable_performance_supported
            && kind.memory_info.mib >= MEMORY
            && kind.processor_info.supported_architectures.items.iter().any(|other| other == ARCHITECTURE)
    };
    // Of equals the one that a new account has for free, then the newest family that Intel and AMD share.
    let order = |kind: &InstanceType| {
        let family = kind.instance_type.split('.').next().unwrap_or_default();
        (kind.memory_info.mib, !kind.free_tier_eligible, family.len(), Reverse(family.to_owned()))
    };
    types.into_iter().filter(fits).min_by_key(order).ok_or_else(|| {
        CloudError::unavailable(
            "There is no burstable type with 1 GB of memory; name a type with --amazonec2-instance-type",
        )
    })
}

/// The refusal lists the types of the same family, or the families: there are hundreds of types.
async fn unknown(ec2: &Ec2, name: &str) -> CloudError {
    let query = Query::new("DescribeInstanceTypeOfferings").with("LocationType", "region");
    let offers: Vec<Offering> = match ec2.all(query).await {
        Ok(offers) => offers,
        Err(error) => return error,
    };
    let family = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = offers.into_iter().map(|offer| offer.instance_type).collect();
    let ours: Vec<String> = names.iter().filter(|other| family(other) == family(name)).cloned().collect();
    let what = if ours.is_empty() { "instance type of the family of" } else { "instance type" };
    if ours.is_empty() {
        names = names.iter().map(|name| family(name)).collect();
    } else {
        names = ours;
    }
    match choose(what, name, &names, |name| name) {
        Err(error) => error,
        Ok(_) => CloudError::unavailable(format!("Instance type {name} is not to be had here")),
    }
}
