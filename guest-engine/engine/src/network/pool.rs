//! Which address of a subnet is whose.

use super::subnet::Subnet;
use crate::error::{EngineError, ErrorKind, Result};
use std::{collections::BTreeMap, net::IpAddr};

/// The addresses of one subnet and their owners.
#[derive(Debug)]
pub(super) struct Pool {
    subnet: Subnet,
    /// What is handed out unasked; the rest of the subnet only by name.
    range: Subnet,
    /// Offset in the subnet to owner; the network itself owns with an empty name.
    taken: BTreeMap<u128, String>,
}

impl Pool {
    /// Nothing is taken but what is `reserved`: the gateway, auxiliary addresses.
    pub(super) fn new(
        subnet: Subnet,
        range: Option<Subnet>,
        reserved: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let taken = reserved.into_iter().filter_map(|a| subnet.offset_of(a)).map(|o| (o, String::new()));
        Self { subnet, range: range.unwrap_or(subnet), taken: taken.collect() }
    }

    /// The subnet it is cut from.
    pub(super) fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// The lowest free address, now `owner`'s; `None` when all are taken.
    pub(super) fn allocate(&mut self, owner: &str) -> Option<IpAddr> {
        let base = self.subnet.offset_of(self.range.address)?;
        let usable = self.subnet.usable();
        let first = base.max(*usable.start());
        let last = base.saturating_add(self.range.last_offset()).min(*usable.end());
        let mut next = first;
        for (&offset, _) in self.taken.range(first..=last) {
            if offset > next {
                break;
            }
            next = offset + 1;
        }
        (next <= last).then(|| {
            self.taken.insert(next, owner.to_owned());
            self.subnet.nth(next)
        })
    }

    /// Gives `owner` the address it asks for.
    pub(super) fn claim(&mut self, address: IpAddr, owner: &str) -> Result<()> {
        match self.subnet.offset_of(address).filter(|_| self.subnet.can_own(address)) {
            Some(offset) if !self.taken.contains_key(&offset) => {
                self.taken.insert(offset, owner.to_owned());
                Ok(())
            }
            _ => Err(EngineError::new(ErrorKind::Forbidden, "Address already in use")),
        }
    }

    /// Marks an address as `owner`'s, who has it already.
    pub(super) fn take(&mut self, address: IpAddr, owner: &str) {
        if let Some(offset) = self.subnet.offset_of(address) {
            self.taken.insert(offset, owner.to_owned());
        }
    }

    /// Frees everything that is `owner`'s.
    pub(super) fn release(&mut self, owner: &str) {
        self.taken.retain(|_, taken_by| taken_by.is_empty() || taken_by != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::subnet::tests::subnet, *};

    fn pool(net: &str, range: Option<&str>, reserved: &[&str]) -> Pool {
        Pool::new(subnet(net), range.map(subnet), reserved.iter().map(|a| a.parse().unwrap()))
    }

    fn next(pool: &mut Pool, owner: &str) -> String {
        pool.allocate(owner).map(|a| a.to_string()).unwrap_or_default()
    }

    #[test]
    fn addresses_run_out_and_come_back() {
        let mut pool = pool("10.0.0.0/29", None, &["10.0.0.1"]);
        let addresses: Vec<String> = (0..5).map(|n| next(&mut pool, &n.to_string())).collect();
        assert_eq!(addresses, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert_eq!(pool.allocate("x"), None);
        pool.release("2");
        pool.release("");
        assert_eq!(next(&mut pool, "x"), "10.0.0.4");
    }

    #[test]
    fn a_range_is_used_whole_and_the_rest_by_name_only() {
        let mut pool = pool("10.0.0.0/24", Some("10.0.0.128/30"), &["10.0.0.1", "10.0.0.129"]);
        let given: Vec<String> = (0..3).map(|n| next(&mut pool, &n.to_string())).collect();
        assert_eq!(given, ["10.0.0.128", "10.0.0.130", "10.0.0.131"]);
        assert_eq!(pool.allocate("x"), None);
        pool.claim("10.0.0.7".parse().unwrap(), "x").unwrap();
        assert_eq!(
            pool.claim("10.0.0.7".parse().unwrap(), "y").unwrap_err().to_string(),
            "Address already in use"
        );
        assert!(pool.claim("10.0.0.1".parse().unwrap(), "y").is_err());
    }

    #[test]
    fn a_huge_subnet_costs_nothing() {
        let mut pool = pool("fd00::/64", None, &["fd00::1"]);
        assert_eq!(next(&mut pool, "a"), "fd00::2");
        assert_eq!(next(&mut pool, "b"), "fd00::3");
    }
}
