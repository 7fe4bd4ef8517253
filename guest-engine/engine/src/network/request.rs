//! What a client asks for when it makes a network, checked in moby's order and words.

use super::{
    definition::{AddressPlan, check_options, is_predefined},
    subnet::Subnet,
};
use crate::error::{EngineError, ErrorKind, Result};
use bollard_stubs::models::{IpamConfig, NetworkCreateRequest};
use std::{collections::BTreeMap, net::IpAddr};

/// What a user says about one subnet, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AskedPlan {
    pub(super) subnet: Subnet,
    gateway: Option<IpAddr>,
    range: Option<Subnet>,
    auxiliary: BTreeMap<String, IpAddr>,
}

impl AskedPlan {
    /// Fills in what was left open.
    pub(super) fn complete(self) -> AddressPlan {
        AddressPlan {
            subnet: self.subnet,
            gateway: self.gateway.unwrap_or_else(|| self.subnet.gateway()),
            range: self.range,
            auxiliary: self.auxiliary,
            chosen: true,
            gateway_chosen: self.gateway.is_some(),
        }
    }
}

/// Refuses what cannot be made, whatever other networks there are.
pub(super) fn check(request: &NetworkCreateRequest) -> Result<()> {
    let name = &request.name;
    if is_predefined(name) {
        return Err(EngineError::new(
            ErrorKind::Forbidden,
            format!("operation is not permitted on predefined {name} network"),
        ));
    }
    if name.is_empty() {
        return Err(EngineError::invalid("invalid name: "));
    }
    if name.trim().is_empty() || name.contains('/') || name.contains('\0') {
        return Err(EngineError::invalid(format!("invalid network name: {name:?}")));
    }
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let missing = [
        (request.config_only.unwrap_or(false), "A configuration-only network"),
        (
            request.config_from.as_ref().is_some_and(|from| given(&from.network)),
            "A network from a configuration",
        ),
        (request.ingress.unwrap_or(false), "An ingress network"),
        (request.enable_ipv4 == Some(false), "A network without IPv4"),
        (request.scope.as_deref().is_some_and(|s| !matches!(s, "" | "local")), "A scope other than local"),
    ];
    if let Some((_, what)) = missing.iter().find(|(asked, _)| *asked) {
        return Err(EngineError::not_implemented(format!("{what} is not supported by this engine")));
    }
    let ipam = request.ipam.as_ref().and_then(|ipam| ipam.driver.as_deref()).unwrap_or_default();
    if !matches!(ipam, "" | "default") {
        return Err(EngineError::not_found(format!("plugin {ipam:?} not found")));
    }
    let options: BTreeMap<String, String> = request.options.clone().unwrap_or_default().into_iter().collect();
    check_options(&options)
}

/// Understands the subnets; every mistake is named.
pub(super) fn plans(configs: &[IpamConfig], ipv6: bool) -> Result<Vec<AskedPlan>> {
    let mut errors = Vec::new();
    let plans: Vec<AskedPlan> = configs.iter().filter_map(|config| plan(config, ipv6, &mut errors)).collect();
    if errors.is_empty() {
        return Ok(plans);
    }
    Err(EngineError::invalid(format!("invalid network config:\n{}", errors.join("\n"))))
}

fn plan(config: &IpamConfig, ipv6: bool, errors: &mut Vec<String>) -> Option<AskedPlan> {
    let text = config.subnet.as_deref().unwrap_or_default();
    let Some((subnet, written)) = Subnet::parse(text) else {
        errors.push(format!("invalid subnet {text}: invalid CIDR block notation"));
        return None;
    };
    // As dockerd: an IPv6 subnet of a network without IPv6 is not looked at any closer.
    if !subnet.is_ipv4() && !ipv6 {
        let gateway = config.gateway.as_deref().and_then(|gateway| gateway.parse().ok());
        return Some(AskedPlan { subnet, gateway, range: None, auxiliary: BTreeMap::new() });
    }
    if written != subnet.address {
        errors.push(format!("invalid subnet {text}: it should be {subnet}"));
    }
    let range = config.ip_range.as_deref().filter(|r| !r.is_empty()).and_then(|text| {
        let refused = |why: String| Err(format!("invalid ip-range {text}: {why}"));
        let range = match Subnet::parse(text) {
            None => refused("invalid CIDR block notation".to_owned()),
            Some((range, _)) if range.is_ipv4() != subnet.is_ipv4() => refused(family(subnet)),
            Some((range, written)) if range.address != written => refused(format!("it should be {range}")),
            Some((range, _)) if range.prefix < subnet.prefix => {
                refused(format!("CIDR block is bigger than its parent subnet {subnet}"))
            }
            Some((range, _)) if !subnet.contains(range.address) => {
                refused(format!("parent subnet {subnet} doesn't contain ip-range"))
            }
            Some((range, _)) => Ok(range),
        };
        range.map_err(|error| errors.push(error)).ok()
    });
    let mut inside = |what: &str, text: &str| {
        let address = match text.parse::<IpAddr>() {
            Err(_) => Err("invalid address".to_owned()),
            Ok(address) if address.is_ipv4() != subnet.is_ipv4() => Err(family(subnet)),
            Ok(address) if !subnet.contains(address) => {
                Err(format!("parent subnet {subnet} doesn't contain this address"))
            }
            Ok(address) => Ok(address),
        };
        address.map_err(|why| errors.push(format!("invalid {what} {text}: {why}"))).ok()
    };
    let gateway = config.gateway.as_deref().filter(|g| !g.is_empty()).and_then(|g| inside("gateway", g));
    let auxiliary = config.auxiliary_addresses.iter().flatten();
    let auxiliary =
        auxiliary.filter_map(|(k, v)| Some((k.clone(), inside("auxiliary address", v)?))).collect();
    Some(AskedPlan { subnet, gateway, range, auxiliary })
}

fn family(subnet: Subnet) -> String {
    format!("parent subnet is an IPv{} block", if subnet.is_ipv4() { 4 } else { 6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subnet: &str, range: &str, gateway: &str) -> IpamConfig {
        let text = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
        IpamConfig {
            subnet: text(subnet),
            ip_range: text(range),
            gateway: text(gateway),
            ..IpamConfig::default()
        }
    }

    #[test]
    fn mistakes_in_subnets_are_named() {
        let refused = |subnet, range, gateway| {
            let error = plans(&[config(subnet, range, gateway)], true).unwrap_err().to_string();
            error.strip_prefix("invalid network config:\n").unwrap().to_owned()
        };
        assert_eq!(refused("10.0.0.0", "", ""), "invalid subnet 10.0.0.0: invalid CIDR block notation");
        assert_eq!(refused("10.0.0.7/24", "", ""), "invalid subnet 10.0.0.7/24: it should be 10.0.0.0/24");
        assert_eq!(
            refused("10.0.0.0/24", "10.0.1.0/25", "10.0.2.1"),
            "invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range\n\
             invalid gateway 10.0.2.1: parent subnet 10.0.0.0/24 doesn't contain this address"
        );
        assert_eq!(
            refused("10.0.0.0/24", "fd00::/80", "x"),
            "invalid ip-range fd00::/80: parent subnet is an IPv4 block\ninvalid gateway x: invalid address"
        );
    }

    #[test]
    fn what_was_left_open_is_filled_in() {
        let asked = [config("10.0.0.0/24", "", ""), config("fd00::1/64", "", "x")];
        let mut plans = plans(&asked, false).unwrap();
        assert_eq!(plans.len(), 2, "IPv6 was not asked for, so nobody looks whether it is right");
        let plan = plans.remove(0).complete();
        assert_eq!((plan.gateway.to_string().as_str(), plan.gateway_chosen), ("10.0.0.1", false));
    }

    #[test]
    fn names_and_options_that_cannot_be() {
        let refused = |name: &str, options: &[(&str, &str)]| {
            let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let request =
                NetworkCreateRequest { name: name.to_owned(), options: Some(options), ..Default::default() };
            check(&request).unwrap_err().to_string()
        };
        assert_eq!(refused("host", &[]), "operation is not permitted on predefined host network");
        assert!(refused(" ", &[]).starts_with("invalid network name"));
        assert_eq!(
            refused("n", &[("com.docker.network.bridge.enable_icc", "maybe")]),
            "failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing \
             \"maybe\": invalid syntax)"
        );
        assert!(
            refused("n", &[("com.docker.network.bridge.name", "far-too-long-a-name")])
                .contains("bridge name")
        );
    }
}
