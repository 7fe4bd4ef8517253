//! Which proxy a request goes through: what `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say, read as Go reads
//! them, because people write them for dockerd.

use super::endpoint::contains;
use reqwest::Url;
use std::net::IpAddr;

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    except: Vec<Exception>,
}

/// What goes without one.
#[derive(Clone, Debug)]
struct Exception {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Host {
    Every,
    Network(String),
    Address(IpAddr),
    /// `.example.com`: below it, or it as well.
    Domain {
        below: String,
        itself: bool,
    },
}

impl Proxies {
    pub(super) fn from_environment() -> Self {
        let variable = |name: &str| {
            let found = [name.to_owned(), name.to_lowercase()].into_iter();
            found
                .filter_map(|name| std::env::var(name).ok())
                .find(|value| !value.is_empty())
                .unwrap_or_default()
        };
        Self::new(&variable("HTTP_PROXY"), &variable("HTTPS_PROXY"), &variable("NO_PROXY"))
    }

    fn new(http: &str, https: &str, except: &str) -> Self {
        let except = except.split(',').filter_map(|text| Exception::parse(text.trim())).collect();
        Self { http: proxy(http), https: proxy(https), except }
    }

    /// Where a request for `url` is to be sent; `None` for there itself.
    pub(super) fn of(&self, url: &Url) -> Option<Url> {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let proxy = proxy.clone()?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        // No proxy has this machine's own servers.
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        let port = url.port_or_known_default();
        (!self.except.iter().any(|exception| exception.holds(&host, address, port))).then_some(proxy)
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        if text == "*" {
            return Some(Self { host: Host::Every, port: None });
        }
        if text.contains('/') {
            return Some(Self { host: Host::Network(text), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            // An address of version 6 has colons of its own.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (text.as_str(), None),
        };
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() {
            return None;
        }
        let host = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => {
                let name = host.strip_prefix('*').unwrap_or(host);
                let itself = !name.starts_with('.');
                Host::Domain { below: if itself { format!(".{name}") } else { name.to_owned() }, itself }
            }
        };
        Some(Self { host, port })
    }

    fn holds(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let named = match &self.host {
            Host::Every => true,
            Host::Network(cidr) => address.is_some_and(|a| contains(cidr, a).unwrap_or(false)),
            Host::Address(wanted) => address == Some(*wanted),
            Host::Domain { below, itself } => host.ends_with(below) || (*itself && *host == below[1..]),
        };
        named && (self.port.is_none() || self.port == port)
    }
}

/// `host:port` is one as well.
fn proxy(text: &str) -> Option<Url> {
    if text.is_empty() {
        return None;
    }
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let parsed = whole.parse().ok();
    if parsed.is_none() {
        // It may hold a password.
        tracing::warn!("The proxy in the environment is not understood and not used");
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_through(except: &str, url: &str) -> bool {
        let proxies = Proxies::new("plain.example:3128", "http://me:pass@secure.example:3129", except);
        let found = proxies.of(&url.parse().unwrap());
        let expected = if url.starts_with("https") { "secure.example" } else { "plain.example" };
        assert!(found.as_ref().is_none_or(|proxy| proxy.host_str() == Some(expected)));
        found.is_some()
    }

    #[test]
    fn as_go_reads_them() {
        for (except, url, expected) in [
            ("", "https://r.example/v2/", true),
            ("", "http://r.example:5000/v2/", true),
            ("", "http://localhost:5000/", false),
            ("", "https://127.0.0.9/", false),
            ("", "https://[::1]:5000/", false),
            ("*", "https://r.example/", false),
            ("r.example", "https://r.example/", false),
            ("r.example", "https://deep.r.example/", false),
            ("r.example", "https://or.example/", true),
            (".r.example", "https://r.example/", true),
            (".r.example", "https://a.r.example/", false),
            ("*.r.example", "https://a.r.example/", false),
            ("a, R.example ,b", "https://r.example/", false),
            ("r.example:5000", "https://r.example:5000/", false),
            ("r.example:5000", "https://r.example/", true),
            ("r.example:443", "https://r.example/", false),
            ("192.0.2.1", "http://192.0.2.1:5000/", false),
            ("192.0.2.1:5000", "http://192.0.2.1:5000/", false),
            ("192.0.2.1:5001", "http://192.0.2.1:5000/", true),
            ("192.0.2.0/24", "http://192.0.2.77/", false),
            ("2001:db8::1", "https://[2001:db8::1]/", false),
            ("[2001:db8::1]:5000", "https://[2001:db8::1]:5000/", false),
            ("2001:db8::/32", "https://[2001:db8::2]/", false),
            (",:80,", "https://r.example/", true),
        ] {
            assert_eq!(goes_through(except, url), expected, "{except:?} {url}");
        }
        assert!(Proxies::new("", "", "").of(&"https://r.example/".parse().unwrap()).is_none());
    }
}
