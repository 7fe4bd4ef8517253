//! Which subnet a network gets when nobody asks for one.

use super::subnet::Subnet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first of Docker's default pools that overlaps nothing in `taken`: sixteen bits below 172, then
/// twenty below 192.168.
pub(super) fn free_ipv4(taken: &[Subnet]) -> Option<Subnet> {
    let sixteens = (17..=31).map(|second| subnet(Ipv4Addr::new(172, second, 0, 0).into(), 16));
    let twenties = (0..16u8).map(|third| subnet(Ipv4Addr::new(192, 168, third * 16, 0).into(), 20));
    sixteens.chain(twenties).find(|pool| is_free(*pool, taken))
}

/// The first free /64 of this machine's own unique local prefix, as Docker derives one from the
/// engine's identity.
pub(super) fn free_ipv6(identity: &[u8; 5], taken: &[Subnet]) -> Option<Subnet> {
    let [a, b, c, d, e] = *identity;
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    (0..=u16::MAX)
        .map(|number| {
            let address = Ipv6Addr::new(word(0xfd, a), word(b, c), word(d, e), number, 0, 0, 0, 0);
            subnet(address.into(), 64)
        })
        .find(|pool| is_free(*pool, taken))
}

fn subnet(address: IpAddr, prefix: u8) -> Subnet {
    Subnet { address, prefix }
}

/// A default route covers everything and collides with nothing.
fn is_free(pool: Subnet, taken: &[Subnet]) -> bool {
    !taken.iter().any(|other| other.prefix > 0 && pool.overlaps(*other))
}

#[cfg(test)]
mod tests {
    use super::{super::subnet::tests::subnet, *};

    #[test]
    fn the_first_pool_that_collides_with_nothing() {
        let first = |taken: &[&str]| {
            free_ipv4(&taken.iter().map(|r| subnet(r)).collect::<Vec<_>>()).map(|s| s.to_string())
        };
        assert_eq!(first(&["0.0.0.0/0", "10.0.2.0/24"]).unwrap(), "172.17.0.0/16");
        assert_eq!(first(&["172.17.3.0/24"]).unwrap(), "172.18.0.0/16");
        assert_eq!(first(&["172.16.0.0/12"]).unwrap(), "192.168.0.0/20");
        assert_eq!(first(&["172.16.0.0/12", "192.168.0.0/16"]), None);
        let own = free_ipv6(&[1, 2, 3, 4, 5], &[]).unwrap();
        assert_eq!(own.to_string(), "fd01:203:405::/64");
        assert_eq!(free_ipv6(&[1, 2, 3, 4, 5], &[own]).unwrap().to_string(), "fd01:203:405:1::/64");
    }
}
