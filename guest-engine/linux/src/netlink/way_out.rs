//! How this host gets out to others, as the kernel's tables of routes tell it.

use std::fs;

/// Flags of a route: in use; by a gateway; learned from a router that announced itself.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const ANNOUNCED: u32 = 0x0004_0000 | 0x0001_0000;

/// Whether there is a way out by IPv6, and none by IPv4.
pub(super) fn is_ipv6_only() -> bool {
    !leads_out_by_ipv4(&table("route")) && leads_out_by_ipv6(&table("ipv6_route"))
}

/// Interfaces whose way out is one that a router announced.
pub(super) fn announced() -> Vec<String> {
    let table = table("ipv6_route");
    let announced = defaults(&table).filter(|(flags, _)| flags & ANNOUNCED == ANNOUNCED);
    announced.map(|(_, interface)| interface.to_owned()).collect()
}

/// Of the network that this thread is in. A kernel without the family has no such table.
fn table(name: &str) -> String {
    fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
}

/// Columns: interface, destination, gateway, flags, three that do not matter, mask.
fn leads_out_by_ipv4(table: &str) -> bool {
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, "00000000", _, flags, _, _, _, "00000000", ..]
            if u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UP != 0))
    })
}

fn leads_out_by_ipv6(table: &str) -> bool {
    defaults(table).any(|(flags, interface)| flags & UP != 0 && (flags & GATEWAY != 0 || interface != "lo"))
}

/// Flags and interfaces of routes to everywhere. Columns: destination, its length, source, its length, next hop,
/// three that do not matter, flags, interface.
fn defaults(table: &str) -> impl Iterator<Item = (u32, &str)> {
    table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "00", _, _, _, _, _, _, flags, interface] = words[..] else { return None };
        Some((u32::from_str_radix(flags, 16).ok()?, interface))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const ZERO: &str = "00000000000000000000000000000000";

    #[test]
    fn a_way_out_is_a_route_to_everywhere() {
        assert!(leads_out_by_ipv4(IPV4));
        assert!(!leads_out_by_ipv4(
            &IPV4.lines().filter(|line| !line.contains("0202000A")).collect::<String>()
        ));
        let route = |prefix: &str, flags: &str, interface: &str| {
            format!(
                "{ZERO} {prefix} {ZERO} 00 fe800000000000000000000000000001 00000400 1 0 {flags} {interface}\n"
            )
        };
        assert!(leads_out_by_ipv6(&route("00", "00000003", "eth0")));
        assert!(!leads_out_by_ipv6(&route("40", "00000001", "eth0")));
        // What the kernel has where there is none.
        assert!(!leads_out_by_ipv6(&route("00", "00200200", "lo")));
    }
}
