//! What a network is, as it is kept on disk: its identity, addresses and options.

use super::subnet::Subnet;
use crate::{
    error::{EngineError, ErrorKind, Result},
    ports::links::{MacvlanMode, Plug},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, time::SystemTime};

/// Prefix of the bridge driver's options.
const BRIDGE: &str = "com.docker.network.bridge.";
/// Longest interface name that Linux has.
pub(super) const LONGEST_INTERFACE: usize = 15;

/// Who makes a network's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Bridge,
    Host,
    Null,
    Macvlan,
    Ipvlan,
}

impl Driver {
    /// The driver of this name that users may make networks of.
    pub(super) fn of_users(name: &str) -> Option<Self> {
        match name {
            "" | "default" | "bridge" => Some(Self::Bridge),
            "macvlan" => Some(Self::Macvlan),
            "ipvlan" => Some(Self::Ipvlan),
            _ => None,
        }
    }

    /// Whether containers get interfaces of their own on it.
    pub(super) fn has_interfaces(self) -> bool {
        !matches!(self, Self::Host | Self::Null)
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

/// A network without its members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Definition {
    pub name: String,
    pub id: String,
    pub created: SystemTime,
    pub driver: Driver,
    pub ipv6: bool,
    pub internal: bool,
    pub attachable: bool,
    /// As the user gave them.
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// `None` when none were ever given.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// At most one of each family; IPv4 first.
    pub plans: Vec<AddressPlan>,
    /// IPv6 subnets of the user's on a network without IPv6: they are told, and nobody has an address of them.
    #[serde(default)]
    pub idle_plans: Vec<AddressPlan>,
}

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPlan {
    pub subnet: Subnet,
    pub gateway: IpAddr,
    /// What containers get addresses from, when not the whole subnet.
    pub range: Option<Subnet>,
    /// Addresses that nobody gets, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Chosen by the user, who may then also choose containers' addresses.
    pub chosen: bool,
    /// The gateway was chosen as well.
    pub gateway_chosen: bool,
}

impl Definition {
    /// One of the three that are always there.
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    /// Whether containers on it find each other by name.
    pub fn has_names(&self) -> bool {
        !self.is_predefined()
    }

    /// Name of the bridge's interface.
    pub fn interface(&self) -> String {
        match self.option("name") {
            Some(name) => name.to_owned(),
            None => format!("br-{}", crate::id::short(&self.id)),
        }
    }

    /// The host's interface that it is a part of; only macvlan and ipvlan have one.
    pub(super) fn parent(&self) -> &str {
        self.options.get("parent").map_or("", String::as_str)
    }

    /// How a container is plugged into it.
    pub(super) fn plug(&self) -> Result<Plug> {
        let mode = |key: &str| self.options.get(key).map_or("", String::as_str);
        let parent = self.parent().to_owned();
        let unknown = |driver: &str, default: &str, mode: &str| {
            Err(EngineError::invalid(format!(
                "requested {driver} mode '{mode}' is not valid, '{default}' mode is the {driver} driver default"
            )))
        };
        match self.driver {
            Driver::Macvlan => match mode("macvlan_mode") {
                "" | "bridge" => Ok(Plug::Macvlan { parent, mode: MacvlanMode::Bridge }),
                "private" => Ok(Plug::Macvlan { parent, mode: MacvlanMode::Private }),
                "vepa" => Ok(Plug::Macvlan { parent, mode: MacvlanMode::Vepa }),
                "passthru" => Ok(Plug::Macvlan { parent, mode: MacvlanMode::Passthru }),
                other => unknown("macvlan", "bridge", other),
            },
            Driver::Ipvlan => match mode("ipvlan_mode") {
                "" | "l2" => Ok(Plug::Ipvlan { parent, routed: false }),
                "l3" => Ok(Plug::Ipvlan { parent, routed: true }),
                other => unknown("ipvlan", "l2", other),
            },
            Driver::Bridge | Driver::Host | Driver::Null => {
                Ok(Plug::Bridge { name: self.interface(), isolated: !self.inter_container() })
            }
        }
    }

    /// Whether its containers may talk to each other.
    pub fn inter_container(&self) -> bool {
        self.flag("enable_icc")
    }

    /// Whether what leaves the host gets the host's address.
    pub fn masquerade(&self) -> bool {
        !self.internal && self.flag("enable_ip_masquerade")
    }

    /// Largest packet, when the user says.
    pub fn mtu(&self) -> Option<u32> {
        self.options.get("com.docker.network.driver.mtu").and_then(|mtu| mtu.parse().ok())
    }

    /// What interfaces inside containers are called, before their number.
    pub fn interface_prefix(&self) -> &str {
        self.options.get("com.docker.network.container_iface_prefix").map_or("eth", String::as_str)
    }

    /// Where published ports listen when nothing else is said; `None` for everywhere.
    pub fn default_host_address(&self) -> Option<IpAddr> {
        let address: IpAddr = self.option("host_binding_ipv4")?.parse().ok()?;
        Some(address).filter(|address| !address.is_unspecified())
    }

    /// The plan of one family.
    pub fn plan(&self, ipv4: bool) -> Option<&AddressPlan> {
        self.plans.iter().find(|plan| plan.subnet.is_ipv4() == ipv4)
    }

    /// The plans of one family that the user chose, whether or not they are put to use.
    pub fn chosen_plans(&self, ipv4: bool) -> impl Iterator<Item = &AddressPlan> {
        let plans = self.plans.iter().chain(&self.idle_plans);
        plans.filter(move |plan| plan.chosen && plan.subnet.is_ipv4() == ipv4)
    }

    /// Whether the user labelled it so: `key` or `key=value`.
    pub fn has_label(&self, wanted: &str) -> bool {
        match wanted.split_once('=') {
            Some((key, value)) => self.labels.get(key).is_some_and(|own| own == value),
            None => self.labels.contains_key(wanted),
        }
    }

    fn option(&self, key: &str) -> Option<&str> {
        self.options.get(&format!("{BRIDGE}{key}")).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn flag(&self, key: &str) -> bool {
        self.option(key).and_then(parse_bool).unwrap_or(true)
    }
}

/// Whether a network of this name is always there.
pub(super) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

/// Refuses options that mean nothing, in moby's words, and those that this engine cannot honour.
pub(super) fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in options {
        let unparsable =
            |why: &str| Err(EngineError::invalid(format!("failed to parse {key} value: {value} ({why})")));
        match key.strip_prefix(BRIDGE).unwrap_or(key) {
            "enable_icc" | "enable_ip_masquerade" if parse_bool(value).is_none() => {
                return unparsable(&format!("strconv.ParseBool: parsing {value:?}: invalid syntax"));
            }
            "name" if value.len() > LONGEST_INTERFACE || value.contains(['/', ' ']) => {
                return Err(EngineError::invalid(format!("invalid bridge name: {value}")));
            }
            "host_binding_ipv4" if !value.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) => {
                return unparsable("invalid ip");
            }
            "default_bridge" if parse_bool(value) != Some(false) => {
                return Err(EngineError::new(
                    ErrorKind::Forbidden,
                    "default bridge network cannot be created by a user",
                ));
            }
            "com.docker.network.driver.mtu"
                if !value.parse::<u32>().is_ok_and(|m| (68..=65535).contains(&m)) =>
            {
                return unparsable("invalid mtu");
            }
            "com.docker.network.container_iface_prefix" if value.is_empty() || value.len() > 12 => {
                return Err(EngineError::invalid(format!("invalid interface prefix: {value:?}")));
            }
            "inhibit_ipv4" if parse_bool(value) != Some(false) => return unsupported(key),
            "gateway_mode_ipv4" | "gateway_mode_ipv6" if value != "nat" => return unsupported(key),
            _ => {}
        }
    }
    Ok(())
}

fn unsupported(key: &str) -> Result<()> {
    Err(EngineError::not_implemented(format!("The network option {key} is not supported by this engine")))
}

/// As Go's `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
