//! Where a registry may be reached, and with how much trust.

use super::{Failure, Registries, proxies::Proxies};
use reqwest::{Certificate, Client, Identity, Proxy, Url};
use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The name in references, and the host behind it.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";
const CONNECT: Duration = Duration::from_secs(15);
const USER_AGENT: &str = concat!("machine-engine/", env!("CARGO_PKG_VERSION"));

/// One way to a registry.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Without `/v2/`.
    pub(super) base: Url,
    /// Whether the server must prove who it is.
    pub(super) verified: bool,
    pub(super) mirror: bool,
}

impl Endpoint {
    /// Whether it only stands in for another.
    pub(crate) fn is_mirror(&self) -> bool {
        self.mirror
    }

    /// Whether another way is worth a try after this one failed: nothing goes without TLS to who has it.
    pub(crate) fn leaves_open(&self, failure: &Failure) -> bool {
        self.mirror || failure.is_no_answer()
    }
}

impl Registries {
    /// The ways to the registry of `domain`, best first. Mirrors are for reading only.
    pub(crate) async fn endpoints(&self, domain: &str, writing: bool) -> Result<Vec<Endpoint>, Failure> {
        let mut endpoints = Vec::new();
        if domain == HUB {
            for mirror in self.options.mirrors.iter().filter(|_| !writing) {
                let mut base: Url =
                    mirror.parse().map_err(|e| Failure::Content(format!("mirror {mirror:?}: {e}")))?;
                let host = base.host_str().map(|host| with_port(host, base.port())).unwrap_or_default();
                let verified = !self.is_insecure(&host).await;
                base.set_path(base.path().trim_end_matches('/').to_owned().as_str());
                endpoints.push(Endpoint { base, verified, mirror: true });
            }
            endpoints.push(at("https", HUB_HOST, true)?);
        } else if self.is_insecure(domain).await {
            endpoints.push(at("https", domain, false)?);
            endpoints.push(at("http", domain, false)?);
        } else {
            endpoints.push(at("https", domain, true)?);
        }
        Ok(endpoints)
    }

    /// Whether TLS may be missing or unproven: named so, or on this machine.
    async fn is_insecure(&self, host: &str) -> bool {
        if self.options.insecure.iter().any(|entry| entry == host) {
            return true;
        }
        let name = without_port(host);
        let addresses: Vec<IpAddr> = match name.trim_matches(['[', ']']).parse() {
            Ok(address) => vec![address],
            Err(_) if name == "localhost" => return true,
            // Names are looked up only where an answer could matter.
            Err(_) if !self.options.insecure.iter().any(|entry| entry.contains('/')) => Vec::new(),
            Err(_) => tokio::net::lookup_host((name, 0))
                .await
                .map(|found| found.map(|address| address.ip()).collect())
                .unwrap_or_default(),
        };
        addresses.iter().any(|address| {
            address.is_loopback()
                || self.options.insecure.iter().any(|entry| contains(entry, *address).unwrap_or(false))
        })
    }

    /// What speaks to this endpoint.
    pub(super) async fn client(&self, endpoint: &Endpoint) -> Result<Client, Failure> {
        let host = endpoint.base.host_str().unwrap_or_default();
        let folder = self.options.certificates.join(with_port(host, endpoint.base.port()));
        let own = tokio::task::spawn_blocking(move || HostCertificates::read(&folder))
            .await
            .map_err(|e| Failure::Content(e.to_string()))??;
        if own.is_empty()
            && let Some(client) = self.known_client(endpoint.verified)
        {
            return Ok(client);
        }
        let proxies = Proxies::from_environment();
        let mut builder = Client::builder()
            .proxy(Proxy::custom(move |url| proxies.of(url)))
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .tcp_keepalive(CONNECT)
            .no_gzip()
            .referer(false)
            .tls_danger_accept_invalid_certs(!endpoint.verified);
        let plain = own.is_empty();
        if !own.authorities.is_empty() {
            builder = builder.tls_certs_merge(own.authorities);
        }
        if let Some(identity) = own.identity {
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|e| Failure::of_request("Could not set up TLS", &e))?;
        if plain {
            self.keep_client(endpoint.verified, &client);
        }
        Ok(client)
    }

    /// How long nothing may happen on a connection.
    pub(super) fn patience(&self) -> Duration {
        self.options.patience
    }
}

/// What Docker's `certs.d/HOST` holds.
struct HostCertificates {
    authorities: Vec<Certificate>,
    identity: Option<Identity>,
}

impl HostCertificates {
    fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.identity.is_none()
    }

    fn read(folder: &Path) -> Result<Self, Failure> {
        let mut own = Self { authorities: Vec::new(), identity: None };
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let bad = |why: &dyn std::fmt::Display| Failure::Content(format!("{}: {why}", file.display()));
            let read = |file: &Path| fs::read(file).map_err(|e| bad(&e));
            match file.extension().and_then(|ending| ending.to_str()) {
                Some("crt") => {
                    let bundle = Certificate::from_pem_bundle(&read(&file)?).map_err(|e| bad(&e))?;
                    own.authorities.extend(bundle);
                }
                Some("cert") => {
                    let key = file.with_extension("key");
                    if !key.exists() {
                        let (certificate, key) = (shown(&file), shown(&key));
                        return Err(Failure::Content(format!(
                            "missing key {key} for client certificate {certificate}. CA certificates must use \
                             the extension .crt"
                        )));
                    }
                    let both = [read(&file)?, b"\n".to_vec(), read(&key)?].concat();
                    own.identity = Some(Identity::from_pem(&both).map_err(|e| bad(&e))?);
                }
                Some("key") if !file.with_extension("cert").exists() => {
                    let (certificate, key) = (shown(&file.with_extension("cert")), shown(&file));
                    return Err(Failure::Content(format!(
                        "missing client certificate {certificate} for key {key}"
                    )));
                }
                _ => {}
            }
        }
        Ok(own)
    }
}

fn shown(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn at(scheme: &str, host: &str, verified: bool) -> Result<Endpoint, Failure> {
    let base = format!("{scheme}://{host}")
        .parse()
        .map_err(|e| Failure::Content(format!("invalid registry host {host:?}: {e}")))?;
    Ok(Endpoint { base, verified, mirror: false })
}

fn with_port(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// Whether a CIDR holds the address; `None` when it is none.
pub(super) fn contains(cidr: &str, address: IpAddr) -> Option<bool> {
    let (network, bits) = cidr.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    match (network.parse().ok()?, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32_u32.checked_sub(bits)?;
            let top = |address: std::net::Ipv4Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
            Some(top(network) == top(address))
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128_u32.checked_sub(bits)?;
            let top = |address: std::net::Ipv6Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
            Some(top(network) == top(address))
        }
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RegistryOptions;

    fn urls(insecure: &[&str], mirrors: &[&str], domain: &str, writing: bool) -> Vec<String> {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        let options =
            RegistryOptions { insecure: own(insecure), mirrors: own(mirrors), ..RegistryOptions::default() };
        let registries = Registries::new(options);
        let found = futures_util::FutureExt::now_or_never(registries.endpoints(domain, writing));
        found.unwrap().unwrap().iter().map(|e| format!("{} {}", e.base, e.verified)).collect()
    }

    #[test]
    fn only_what_is_named_or_local_goes_without_tls() {
        assert_eq!(urls(&[], &[], "docker.io", false), ["https://registry-1.docker.io/ true"]);
        assert_eq!(urls(&[], &[], "example.com:5000", false), ["https://example.com:5000/ true"]);
        let both = ["https://localhost:5000/ false", "http://localhost:5000/ false"];
        assert_eq!(urls(&[], &[], "localhost:5000", false), both);
        assert_eq!(urls(&["r.example"], &[], "r.example", true).len(), 2);
        assert_eq!(urls(&["10.0.0.0/8"], &[], "10.1.2.3:5000", true).len(), 2);
        assert_eq!(urls(&["10.0.0.0/8"], &[], "11.1.2.3:5000", true).len(), 1);
        assert_eq!(urls(&[], &[], "[::1]:5000", true).len(), 2);
        assert_eq!(urls(&["0.0.0.0/0"], &[], "192.0.2.1", true).len(), 2);
    }

    #[test]
    fn mirrors_come_first_and_are_never_written() {
        let mirrors = ["https://m.example/hub/", "http://localhost:5001"];
        assert_eq!(
            urls(&[], &mirrors, "docker.io", false),
            [
                "https://m.example/hub true",
                "http://localhost:5001/ false",
                "https://registry-1.docker.io/ true"
            ]
        );
        assert_eq!(urls(&[], &mirrors, "docker.io", true).len(), 1);
        assert_eq!(urls(&[], &mirrors, "r.example", false).len(), 1);
    }
}
