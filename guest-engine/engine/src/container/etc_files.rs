//! The three files that every container gets over its image's: `/etc/hosts`, `/etc/hostname` and
//! `/etc/resolv.conf`. Pure.

use std::{fmt::Write, net::IpAddr};

/// Where containers on a user's network find each other's names.
const OUR_OWN: &str = "127.0.0.11";
/// Resolvers for containers on a host that has none they could reach.
const FALLBACK_RESOLVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
/// The same that are reached by IPv6.
const FALLBACK_RESOLVERS6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// What `/etc/hosts` begins with in a container that has a network of its own.
const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                           ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// `/etc/hosts`: the host's own entries or the fixed ones, what the user adds (`name:address`), then the
/// container itself (its host name and domain), once for each of its addresses.
pub(super) fn hosts(
    of_host: Option<String>,
    (hostname, domainname): (&str, &str),
    addresses: &[String],
    extra: &[(String, String)],
) -> String {
    let mut text = of_host.unwrap_or_else(|| LOCAL_HOSTS.to_owned());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // Writing to a String cannot fail.
    for (name, address) in extra {
        writeln!(text, "{address}\t{name}").ok();
    }
    for address in addresses {
        text.push_str(&own_line(address, hostname, domainname));
    }
    text
}

/// The line about the container itself.
pub(super) fn own_line(address: &str, hostname: &str, domainname: &str) -> String {
    match domainname {
        "" => format!("{address}\t{hostname}\n"),
        domain => format!("{address}\t{hostname}.{domain} {hostname}\n"),
    }
}

/// What goes into `/etc/resolv.conf`.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolvers {
    pub(super) servers: Vec<String>,
    pub(super) search: Vec<String>,
    pub(super) options: Vec<String>,
}

impl Resolvers {
    /// Drops servers that a container with its own network cannot reach: those on the host's own loopback, and
    /// those of IPv6 where it has none (`ipv6`).
    pub(super) fn reachable_from_elsewhere(mut self, ipv6: bool) -> Self {
        let reaches = |address: IpAddr| !address.is_loopback() && (ipv6 || address.is_ipv4());
        self.servers.retain(|server| server.parse().is_ok_and(reaches));
        if self.servers.is_empty() {
            let fallback = FALLBACK_RESOLVERS.iter().chain(FALLBACK_RESOLVERS6.iter().filter(|_| ipv6));
            self.servers = fallback.map(|server| (*server).to_owned()).collect();
        }
        self
    }

    /// The engine itself answers; it knows the servers. Names without a dot are for it as well.
    pub(super) fn behind_our_own(mut self) -> Self {
        self.servers = vec![OUR_OWN.to_owned()];
        if !self.options.iter().any(|option| option.starts_with("ndots:")) {
            self.options.push("ndots:0".to_owned());
        }
        self
    }

    pub(super) fn to_file(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            writeln!(text, "nameserver {server}").ok();
        }
        // A lone dot is how users say "no search domain".
        if !self.search.is_empty() && self.search != ["."] {
            writeln!(text, "search {}", self.search.join(" ")).ok();
        }
        if !self.options.is_empty() {
            writeln!(text, "options {}", self.options.join(" ")).ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ends_with_the_container() {
        let extra = [("db".to_owned(), "10.0.0.1".to_owned())];
        let text = hosts(None, ("web", "example.org"), &["172.17.0.2".into()], &extra);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.1\tdb\n172.17.0.2\tweb.example.org web\n"));
        let text = hosts(Some("10.9.9.9 neighbour".into()), ("web", ""), &[], &extra);
        assert_eq!(text, "10.9.9.9 neighbour\n10.0.0.1\tdb\n");
    }

    #[test]
    fn unreachable_resolvers_are_replaced() {
        let resolvers =
            Resolvers { servers: vec!["127.0.0.53".into()], search: vec!["lan".into()], options: vec![] };
        assert_eq!(
            resolvers.reachable_from_elsewhere(false).to_file(),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch lan\n"
        );
        let resolvers = Resolvers { servers: vec!["10.0.2.3".into(), "::1".into()], ..Resolvers::default() };
        assert_eq!(resolvers.reachable_from_elsewhere(false).to_file(), "nameserver 10.0.2.3\n");
        let servers = || vec!["2001:db8::53".to_owned()];
        let reached = |servers, ipv6| {
            Resolvers { servers, ..Resolvers::default() }.reachable_from_elsewhere(ipv6).servers
        };
        assert_eq!(reached(servers(), true), servers());
        assert_eq!(reached(servers(), false), FALLBACK_RESOLVERS);
        assert_eq!(reached(Vec::new(), true), [FALLBACK_RESOLVERS, FALLBACK_RESOLVERS6].concat());
    }
}
