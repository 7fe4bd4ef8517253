//! `proto://host:port` and `unix://path`, as log drivers are given them.

/// A taken apart address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) scheme: &'a str,
    /// Without the brackets of an IPv6 address.
    pub(super) host: &'a str,
    /// As it is written, if it is.
    pub(super) port: Option<&'a str>,
    pub(super) path: &'a str,
}

/// Takes an address apart; `None` when it has no scheme.
pub(super) fn parse(text: &str) -> Option<Address<'_>> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = split(authority);
    Some(Address { scheme, host, port, path })
}

/// Host and port, `[::1]:80` included.
pub(super) fn split(authority: &str) -> (&str, Option<&str>) {
    if let Some((host, behind)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, behind.strip_prefix(':'));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_fall_into_their_parts() {
        let parts = |text| parse(text).map(|a| (a.scheme, a.host, a.port, a.path));
        assert_eq!(parts("tcp://h:1"), Some(("tcp", "h", Some("1"), "")));
        assert_eq!(parts("udp://[::1]:514"), Some(("udp", "::1", Some("514"), "")));
        assert_eq!(parts("tcp://h"), Some(("tcp", "h", None, "")));
        assert_eq!(parts("unix:///a/b:c"), Some(("unix", "", None, "/a/b:c")));
        assert_eq!(parts("h:1"), None);
    }
}
