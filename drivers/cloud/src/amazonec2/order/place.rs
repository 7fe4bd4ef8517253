//! Where in the region: VPC, zone and subnet.

use super::Ec2;
use crate::{
    amazonec2::{is_missing, query::Query, wire},
    http::CloudError,
    provider::choose,
    settings::Settings,
};
use wire::{Subnet, Vpc, Zone};

/// A subnet in a zone.
#[derive(Debug)]
pub(crate) struct Place {
    pub(in super::super) subnet: String,
    pub(in super::super) zone: String,
    /// It has no IPv4.
    pub(super) v6_only: bool,
}

/// The VPC, and those of its subnets that come into question.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) vpc: String,
    subnets: Vec<Subnet>,
    /// One was named.
    named: bool,
}

impl Network {
    pub(super) async fn of(ec2: &Ec2, settings: &Settings<'_>) -> Result<Self, CloudError> {
        let zone = zone(ec2, settings).await?;
        let wanted_vpc = settings.text("amazonec2-vpc-id");
        if let Some(id) = settings.text("amazonec2-subnet-id") {
            return Self::of_subnet(ec2, id, wanted_vpc, zone.as_deref()).await;
        }
        let vpcs: Vec<Vpc> = ec2.all(Query::new("DescribeVpcs")).await?;
        let vpc = match wanted_vpc {
            Some(id) => choose("VPC", id, &vpcs, |vpc| &vpc.vpc_id)?,
            None => vpcs.iter().find(|vpc| vpc.is_default).ok_or_else(|| {
                let all: Vec<&str> = vpcs.iter().map(|vpc| vpc.vpc_id.as_str()).collect();
                CloudError::unavailable(format!(
                    "There is no default VPC in {}; name one with --amazonec2-vpc-id (there are {}), or make one \
                     with \"aws ec2 create-default-vpc\"",
                    ec2.region(),
                    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
                ))
            })?,
        };
        let query =
            Query::new("DescribeSubnets").filter("vpc-id", &[&vpc.vpc_id]).filter("state", &["available"]);
        let subnets: Vec<Subnet> = ec2.all(query).await?;
        if subnets.is_empty() {
            return Err(CloudError::unavailable(format!("VPC {} has no subnet", vpc.vpc_id)));
        }
        let zones = subnets.iter().map(|subnet| subnet.availability_zone.clone()).collect::<Vec<_>>();
        if let Some(zone) = &zone {
            choose(&format!("subnet of {} in zone", vpc.vpc_id), zone, &zones, |zone| zone)?;
        }
        let here = |subnet: &Subnet| zone.as_ref().is_none_or(|zone| subnet.availability_zone == *zone);
        let subnets = subnets.into_iter().filter(here).collect();
        Ok(Self { vpc: vpc.vpc_id.clone(), subnets, named: zone.is_some() })
    }

    async fn of_subnet(
        ec2: &Ec2,
        id: &str,
        vpc: Option<&str>,
        zone: Option<&str>,
    ) -> Result<Self, CloudError> {
        let found = match ec2.all::<Subnet>(Query::new("DescribeSubnets").with("SubnetId.1", id)).await {
            Err(error) if is_missing(&error) => Vec::new(),
            found => found?,
        };
        let Some(subnet) = found.into_iter().next() else {
            let all: Vec<Subnet> = ec2.all(Query::new("DescribeSubnets")).await?;
            return choose("subnet", id, &all, |subnet| &subnet.subnet_id).and_then(|_| {
                Err(CloudError::unavailable(format!("There was no subnet {id:?} a moment ago")))
            });
        };
        if let Some(vpc) = vpc.filter(|vpc| *vpc != subnet.vpc_id) {
            let sentence = format!("Subnet {id} is in {}, not in --amazonec2-vpc-id {vpc}", subnet.vpc_id);
            return Err(CloudError::unavailable(sentence));
        }
        if let Some(zone) = zone.filter(|zone| *zone != subnet.availability_zone) {
            return Err(CloudError::unavailable(format!(
                "Subnet {id} is in {}, not in --amazonec2-zone {zone}",
                subnet.availability_zone
            )));
        }
        Ok(Self { vpc: subnet.vpc_id.clone(), subnets: vec![subnet], named: true })
    }

    /// One subnet of every zone that has the type, best first.
    pub(super) async fn places(
        &self,
        ec2: &Ec2,
        instance_type: &str,
        v6_only: bool,
    ) -> Result<Vec<Place>, CloudError> {
        let query = Query::new("DescribeInstanceTypeOfferings")
            .with("LocationType", "availability-zone")
            .filter("instance-type", &[instance_type]);
        let offers: Vec<wire::Offering> = ec2.all(query).await?;
        let mut sold: Vec<&str> = offers
            .iter()
            .filter(|offer| offer.instance_type == instance_type)
            .map(|offer| offer.location.as_str())
            .collect();
        sold.sort_unstable();
        let mut subnets: Vec<&Subnet> = self
            .subnets
            .iter()
            .filter(|subnet| sold.contains(&subnet.availability_zone.as_str()))
            // One without IPv4 is for those who ask for it.
            .filter(|subnet| self.named || v6_only || !subnet.ipv6_native)
            .collect();
        if subnets.is_empty() {
            return Err(CloudError::unavailable(format!(
                "Instance type {instance_type} is not sold where the subnet is; it is in {}",
                sold.join(", ")
            )));
        }
        subnets.retain(|subnet| subnet.ipv6_native || subnet.available_ip_address_count > 0);
        if subnets.is_empty() {
            return Err(CloudError::unavailable("No subnet has a free address"));
        }
        // Those that AWS made for everybody, then by zone, then the emptiest.
        subnets.sort_by_key(|subnet| {
            (
                v6_only && !subnet.ipv6_native,
                !subnet.default_for_az,
                subnet.availability_zone.clone(),
                u64::MAX - subnet.available_ip_address_count,
                subnet.subnet_id.clone(),
            )
        });
        let mut places: Vec<Place> = Vec::new();
        for subnet in subnets {
            if places.iter().all(|place| place.zone != subnet.availability_zone) {
                places.push(Place {
                    subnet: subnet.subnet_id.clone(),
                    zone: subnet.availability_zone.clone(),
                    v6_only: subnet.ipv6_native,
                });
            }
        }
        // The request says one or the other.
        let native = places[0].v6_only;
        places.retain(|place| place.v6_only == native);
        Ok(places)
    }
}

/// The zone's whole name.
async fn zone(ec2: &Ec2, settings: &Settings<'_>) -> Result<Option<String>, CloudError> {
    let Some(wanted) = settings.text("amazonec2-zone") else { return Ok(None) };
    let zones: Vec<Zone> = ec2.list_of(Query::new("DescribeAvailabilityZones")).await?;
    let of_letter = format!("{}{wanted}", ec2.region());
    let found = zones.iter().find(|zone| zone.zone_name == of_letter);
    let zone = found.map_or_else(|| choose("zone", wanted, &zones, |zone| &zone.zone_name), Ok)?;
    Ok(Some(zone.zone_name.clone()))
}
