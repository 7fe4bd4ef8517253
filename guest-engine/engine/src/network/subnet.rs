//! An IP network, of either family, as arithmetic on its addresses.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A network: address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The network's own address: host bits are zero.
    pub address: IpAddr,
    pub prefix: u8,
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Subnet {
    /// The network around `address`; `None` when the prefix is longer than an address.
    pub fn around(address: IpAddr, prefix: u8) -> Option<Self> {
        let width = width(address);
        (prefix <= width).then(|| {
            let bits = to_bits(address) & mask(prefix, width);
            Self { address: from_bits(bits, address.is_ipv4()), prefix }
        })
    }

    /// Reads `10.0.0.0/24`. Host bits that are set are kept in the second part.
    pub fn parse(text: &str) -> Option<(Self, IpAddr)> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        Some((Self::around(address, prefix.parse().ok()?)?, address))
    }

    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: Self) -> bool {
        let shorter = self.prefix.min(other.prefix);
        self.is_ipv4() == other.is_ipv4()
            && Self::around(self.address, shorter) == Self::around(other.address, shorter)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        Self::around(address, self.prefix) == Some(*self)
    }

    /// The first usable address: the bridge's own unless the user says otherwise.
    pub fn gateway(&self) -> IpAddr {
        self.nth(u128::from(self.prefix < width(self.address)))
    }

    /// The address `offset` behind the network's own.
    pub fn nth(&self, offset: u128) -> IpAddr {
        from_bits(to_bits(self.address).wrapping_add(offset), self.is_ipv4())
    }

    /// The addresses that containers may have, as offsets for [`Self::nth`]: not the network's own and
    /// not IPv4's broadcast, where the network is big enough to have them.
    pub fn usable(&self) -> std::ops::RangeInclusive<u128> {
        let last = self.last_offset();
        match (width(self.address) - self.prefix, self.is_ipv4()) {
            (0 | 1, _) => 0..=last,
            (_, true) => 1..=last - 1,
            (_, false) => 1..=last,
        }
    }

    /// Whether somebody may have `address`.
    pub fn can_own(&self, address: IpAddr) -> bool {
        self.offset_of(address).is_some_and(|offset| self.usable().contains(&offset))
    }

    /// How far the last address lies behind the network's own.
    pub fn last_offset(&self) -> u128 {
        let width = width(self.address);
        !mask(self.prefix, width) & all(width)
    }

    /// How far `address` lies behind the network's own; `None` outside.
    pub fn offset_of(&self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| to_bits(address) - to_bits(self.address))
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn all(width: u8) -> u128 {
    u128::MAX >> (128 - width)
}

fn mask(prefix: u8, width: u8) -> u128 {
    all(width) & !all(width).checked_shr(u32::from(prefix)).unwrap_or(0)
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn from_bits(bits: u128, ipv4: bool) -> IpAddr {
    match u32::try_from(bits & all(32)) {
        Ok(low) if ipv4 => Ipv4Addr::from_bits(low).into(),
        _ => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn subnet(text: &str) -> Subnet {
        Subnet::parse(text).unwrap().0
    }

    #[test]
    fn arithmetic_holds_for_both_families_and_at_the_edges() {
        assert_eq!(Subnet::parse("172.17.5.1/16").unwrap().0.to_string(), "172.17.0.0/16");
        assert_eq!(subnet("fd00::5/64").gateway().to_string(), "fd00::1");
        assert!(Subnet::parse("10.0.0.0/33").is_none() && Subnet::parse("10.0.0.0").is_none());
        assert!(subnet("10.0.0.0/8").overlaps(subnet("10.9.0.0/16")));
        assert!(!subnet("10.0.0.0/9").overlaps(subnet("10.128.0.0/16")));
        assert!(!subnet("0.0.0.0/0").overlaps(subnet("::/0")));
        assert!(subnet("10.0.0.128/25").contains("10.0.0.200".parse().unwrap()));
        assert_eq!(subnet("10.0.0.0/30").usable(), 1..=2);
        assert_eq!(subnet("10.0.0.0/31").usable(), 0..=1);
        assert_eq!(subnet("10.0.0.7/32").usable(), 0..=0);
        assert_eq!(subnet("fd00::/126").usable(), 1..=3);
        assert_eq!(*subnet("::/0").usable().end(), u128::MAX);
        assert_eq!(subnet("10.0.0.0/24").offset_of("10.0.0.9".parse().unwrap()), Some(9));
        let can_own = |address: &str| subnet("10.0.0.0/24").can_own(address.parse().unwrap());
        assert!(
            can_own("10.0.0.9") && !can_own("10.0.0.0") && !can_own("10.0.0.255") && !can_own("10.0.1.1")
        );
    }
}
