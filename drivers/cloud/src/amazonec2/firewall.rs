//! The security group that lets in SSH, ping and the ports that were asked for: one for all machines of an
//! owner that ask for the same, in every VPC they are in.
//!
//! It goes with the last instance. Whoever is making another one at that moment makes it again.

use super::{Ec2, is_missing, ours, query::Query, tag, wire};
use crate::{
    http::CloudError,
    provider::{SHARED, Tags, ensure},
};
use machine_drivers::DriverError;
use std::fmt;
use wire::SecurityGroup;

/// A port that is open to everybody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    number: u16,
    protocol: &'static str,
}

impl Port {
    /// `443`, `443/tcp`, `53/udp`: sorted, each once.
    pub(super) fn all_of(texts: &[String]) -> Result<Vec<Self>, DriverError> {
        let mut ports = texts.iter().map(|text| Self::parse(text)).collect::<Result<Vec<_>, _>>()?;
        ports.sort();
        ports.dedup();
        ports.retain(|port| *port != SSH);
        Ok(ports)
    }

    fn parse(text: &str) -> Result<Self, DriverError> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = ["tcp", "udp"].into_iter().find(|known| *known == protocol);
        match (number.parse(), protocol) {
            (Ok(number), Some(protocol)) if number > 0 => Ok(Self { number, protocol }),
            _ => Err(DriverError::InvalidSpec(format!(
                "--amazonec2-open-port takes PORT, PORT/tcp or PORT/udp, not {text:?}"
            ))),
        }
    }
}

const SSH: Port = Port { number: 22, protocol: "tcp" };

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let udp = if self.protocol == "udp" { "udp" } else { "" };
        write!(f, "{}{udp}", self.number)
    }
}

/// The group's id. It is made when it is not there, and completed when who made it was cut off.
pub(super) async fn group(ec2: &Ec2, vpc: &str, ports: &[Port], tags: &Tags) -> Result<String, CloudError> {
    let name = ports.iter().fold(tags.firewall_name(), |name, port| format!("{name}-{port}"));
    let find = || async {
        let query =
            Query::new("DescribeSecurityGroups").filter("vpc-id", &[vpc]).filter("group-name", &[&name]);
        let found: Vec<SecurityGroup> = ec2.all(query).await?;
        Ok(found.into_iter().next().map(|group| (group.group_id, !group.ip_permissions.items.is_empty())))
    };
    let (id, complete) = ensure(find, || async {
        let query = Query::new("CreateSecurityGroup")
            .with("GroupName", &name)
            .with("GroupDescription", "SSH only, made by machine")
            .with("VpcId", vpc)
            .tagged(&["security-group"], &ours(&tags.shared(), &[]));
        let made: wire::GroupCreated = ec2.call(&query).await?;
        Ok((made.group_id, false))
    })
    .await?;
    if !complete {
        match ec2.run(&rules(&id, ports)).await {
            Err(CloudError::Refused(refusal)) if refusal.code == "InvalidPermission.Duplicate" => {}
            outcome => outcome?,
        }
    }
    Ok(id)
}

fn rules(group: &str, ports: &[Port]) -> Query {
    let query = Query::new("AuthorizeSecurityGroupIngress").with("GroupId", group);
    let open = [SSH].iter().chain(ports).enumerate().fold(query, |query, (index, port)| {
        let at = format!("IpPermissions.{}", index + 1);
        query
            .with(format!("{at}.IpProtocol"), port.protocol)
            .with(format!("{at}.FromPort"), &port.number)
            .with(format!("{at}.ToPort"), &port.number)
            .with(format!("{at}.IpRanges.1.CidrIp"), "0.0.0.0/0")
            .with(format!("{at}.Ipv6Ranges.1.CidrIpv6"), "::/0")
    });
    let (v4, v6) = (ports.len() + 2, ports.len() + 3);
    // Echo requests, and all that IPv6 does with its ICMP.
    open.with(format!("IpPermissions.{v4}.IpProtocol"), "icmp")
        .with(format!("IpPermissions.{v4}.FromPort"), &8)
        .with(format!("IpPermissions.{v4}.ToPort"), &-1)
        .with(format!("IpPermissions.{v4}.IpRanges.1.CidrIp"), "0.0.0.0/0")
        .with(format!("IpPermissions.{v6}.IpProtocol"), "icmpv6")
        .with(format!("IpPermissions.{v6}.FromPort"), &-1)
        .with(format!("IpPermissions.{v6}.ToPort"), &-1)
        .with(format!("IpPermissions.{v6}.Ipv6Ranges.1.CidrIpv6"), "::/0")
}

/// Removes the owner's groups that no instance uses. One that is about to end still holds its group: that
/// is an error, to be asked again after.
pub(super) async fn release(ec2: &Ec2, owner: &str) -> Result<(), CloudError> {
    let query = Query::new("DescribeSecurityGroups")
        .filter("tag:machine-id", &[SHARED])
        .filter("tag:machine-owner", &[owner]);
    let groups: Vec<SecurityGroup> = ec2.all(query).await?;
    for group in groups {
        let query = Query::new("DescribeInstances").filter("instance.group-id", &[&group.group_id]);
        let users: Vec<wire::Reservation> = ec2.all(query).await?;
        let states: Vec<String> = users
            .into_iter()
            .flat_map(|reservation| reservation.instances.items)
            .map(|instance| instance.instance_state.name)
            .filter(|state| state != "terminated")
            .collect();
        if states.iter().any(|state| state != "shutting-down") {
            continue;
        }
        match delete(ec2, &group.group_id).await {
            // Something else uses it, which is not ours to end.
            Err(CloudError::Refused(refusal))
                if refusal.code == "DependencyViolation" && states.is_empty() => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

pub(super) async fn delete(ec2: &Ec2, id: &str) -> Result<(), CloudError> {
    match ec2.run(&Query::new("DeleteSecurityGroup").with("GroupId", id)).await {
        Err(error) if is_missing(&error) => Ok(()),
        outcome => outcome,
    }
}

/// Whose a group is.
pub(super) fn owner(group: &SecurityGroup) -> String {
    tag(&group.tag_set, super::OWNER_TAG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_sorted_and_each_once() {
        let of = |texts: &[&str]| Port::all_of(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        let names: Vec<String> =
            of(&["8080", "53/udp", "22", "443/tcp", "443"]).unwrap().iter().map(Port::to_string).collect();
        assert_eq!(names, ["53udp", "443", "8080"]);
        for wrong in ["0", "70000", "http", "80/icmp"] {
            assert!(of(&[wrong]).is_err(), "{wrong}");
        }
    }
}
