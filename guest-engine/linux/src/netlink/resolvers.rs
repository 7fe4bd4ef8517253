//! Which name servers containers get: the host's, as far as a container can reach them.

use super::way_out;
use std::{fs, net::IpAddr};

/// Where systemd-resolved keeps what is behind its stub on 127.0.0.53.
const BEHIND_THE_STUB: &str = "/run/systemd/resolve/resolv.conf";
/// dockerd's choice when the host has none that a container could reach.
const PUBLIC: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const PUBLIC_IPV6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// Servers and search domains. Files that cannot be read count as empty.
pub(super) fn of_this_host() -> (Vec<String>, Vec<String>) {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    choose(&read("/etc/resolv.conf"), || read(BEHIND_THE_STUB), public())
}

/// The servers that the engine itself asks, those on this host's loopback included.
pub(super) fn of_the_engine() -> Vec<IpAddr> {
    let own = parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default()).0;
    let own: Vec<IpAddr> = own.iter().filter_map(|server| server.parse().ok()).collect();
    if own.is_empty() { public().iter().filter_map(|server| server.parse().ok()).collect() } else { own }
}

fn public() -> [&'static str; 2] {
    if way_out::is_ipv6_only() { PUBLIC_IPV6 } else { PUBLIC }
}

fn choose(own: &str, behind: impl FnOnce() -> String, public: [&str; 2]) -> (Vec<String>, Vec<String>) {
    let (mut servers, mut search) = parse(own);
    if servers.iter().all(|server| is_local(server)) {
        let other = parse(&behind());
        servers = other.0;
        if search.is_empty() {
            search = other.1;
        }
    }
    servers.retain(|server| !is_local(server));
    if servers.is_empty() {
        servers = public.map(str::to_owned).to_vec();
    }
    (servers, search)
}

fn parse(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut servers, mut search) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().map(str::to_owned)),
            // The last line counts.
            Some("search" | "domain") => {
                search = words.filter(|&domain| domain != ".").map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    (servers, search)
}

/// Reached from this host only: its loopback, and what is on a link of its (`fe80::1%eth0`). Also of what is no
/// address: it could not be reached either.
fn is_local(server: &str) -> bool {
    server.parse::<IpAddr>().map_or(true, |address| match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_is_looked_behind() {
        let behind = || "nameserver 10.0.0.2\nsearch corp.example\n".to_owned();
        let (servers, search) =
            choose("# stub\nnameserver 127.0.0.53\noptions edns0\nsearch .\n", behind, PUBLIC);
        assert_eq!((servers, search), (vec!["10.0.0.2".to_owned()], vec!["corp.example".to_owned()]));
    }

    #[test]
    fn reachable_servers_are_kept_and_none_falls_back() {
        let (servers, search) = choose(
            "nameserver 1.1.1.1\nnameserver ::1\nnameserver fe80::1%eth0\nsearch a b\n",
            String::new,
            PUBLIC,
        );
        assert_eq!(servers, ["1.1.1.1"]);
        assert_eq!(search, ["a", "b"]);
        assert_eq!(choose("", String::new, PUBLIC).0, PUBLIC);
        assert_eq!(choose("nameserver fe80::1\n", String::new, PUBLIC_IPV6).0, PUBLIC_IPV6);
    }
}
