//! Which address is whose.

use crate::error::{EngineError, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

/// Docker's default pools for bridges, in its order.
const POOLS: std::ops::RangeInclusive<u8> = 17..=31;
const POOL_PREFIX: u8 = 16;

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The network's own address: host bits are zero.
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Subnet {
    /// The first of Docker's pools that no route of the host overlaps.
    pub fn first_free(routes: &[Self]) -> Option<Self> {
        let sixteens =
            POOLS.map(|second| Self { address: Ipv4Addr::new(172, second, 0, 0), prefix: POOL_PREFIX });
        let twenties =
            (0..16u8).map(|third| Self { address: Ipv4Addr::new(192, 168, third * 16, 0), prefix: 20 });
        // A default route covers everything and collides with nothing.
        sixteens
            .chain(twenties)
            .find(|pool| !routes.iter().any(|route| route.prefix > 0 && pool.overlaps(*route)))
    }

    /// The first usable address: the bridge's own.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first() | 1)
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.address.to_bits() & mask == other.address.to_bits() & mask
    }

    fn first(&self) -> u32 {
        self.address.to_bits() & mask(self.prefix)
    }

    fn last(&self) -> u32 {
        self.first() | !mask(self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// The addresses of one subnet and their owners.
#[derive(Debug)]
pub struct Pool {
    subnet: Subnet,
    taken: BTreeMap<Ipv4Addr, String>,
}

impl Pool {
    /// Nothing is taken but the gateway.
    pub fn new(subnet: Subnet) -> Self {
        Self { subnet, taken: [(subnet.gateway(), String::new())].into() }
    }

    /// The lowest free address, now `owner`'s.
    pub fn allocate(&mut self, owner: &str) -> Result<Ipv4Addr> {
        let address = (self.subnet.first() + 1..self.subnet.last())
            .map(Ipv4Addr::from_bits)
            .find(|address| !self.taken.contains_key(address))
            .ok_or_else(|| {
                EngineError::new(
                    ErrorKind::System,
                    "no available IPv4 addresses on this network's address pools: bridge",
                )
            })?;
        self.taken.insert(address, owner.to_owned());
        Ok(address)
    }

    /// Marks an address as `owner`'s, who has it already.
    pub fn take(&mut self, address: Ipv4Addr, owner: &str) {
        self.taken.insert(address, owner.to_owned());
    }

    /// Frees everything that is `owner`'s.
    pub fn release(&mut self, owner: &str) {
        self.taken.retain(|_, taken_by| taken_by.is_empty() || taken_by != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        let (address, prefix) = text.split_once('/').unwrap();
        Subnet { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    #[test]
    fn the_first_pool_that_collides_with_nothing() {
        let first = |routes: &[&str]| {
            Subnet::first_free(&routes.iter().map(|r| subnet(r)).collect::<Vec<_>>()).map(|s| s.to_string())
        };
        assert_eq!(first(&["0.0.0.0/0", "10.0.2.0/24"]).unwrap(), "172.17.0.0/16");
        assert_eq!(first(&["172.17.3.0/24"]).unwrap(), "172.18.0.0/16");
        assert_eq!(first(&["172.16.0.0/12"]).unwrap(), "192.168.0.0/20");
        assert_eq!(first(&["172.16.0.0/12", "192.168.0.0/16"]), None);
    }

    #[test]
    fn addresses_run_out_and_come_back() {
        let mut pool = Pool::new(subnet("10.0.0.0/29"));
        let addresses: Vec<String> =
            (0..5).map(|n| pool.allocate(&n.to_string()).unwrap().to_string()).collect();
        assert_eq!(addresses, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert!(pool.allocate("x").is_err());
        pool.release("2");
        pool.release("");
        assert_eq!(pool.allocate("x").unwrap().to_string(), "10.0.0.4");
    }
}
