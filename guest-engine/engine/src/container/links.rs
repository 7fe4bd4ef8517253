//! `--link` on the default bridge: the other container's names in `/etc/hosts`, its ports and variables in
//! the environment. On a user's network a link is an alias that only this container knows, which the name
//! service answers.

use super::{Shared, record::Record};
use crate::{
    error::{EngineError, Result},
    network::NetworkMode,
};
use bollard_stubs::models::HostConfig;
use std::sync::Arc;

/// A link of a container that is about to start.
#[derive(Debug)]
pub(super) struct Link {
    other: Arc<Record>,
    address: String,
    alias: String,
}

/// `name:alias`, or a name alone.
pub(crate) fn parse(link: &str) -> Result<(&str, &str)> {
    let invalid = || EngineError::invalid(format!("bad format for links: {link}"));
    match link.split(':').collect::<Vec<_>>()[..] {
        [name] if !name.is_empty() => Ok((name, name)),
        [name, alias] if !name.is_empty() && !alias.is_empty() => {
            // As inspect shows them: `/name:/own-name/alias`.
            Ok((name, alias.rsplit('/').next().unwrap_or(alias)))
        }
        _ => Err(invalid()),
    }
}

impl Shared {
    /// Refuses links to what is not there.
    pub(super) fn check_links(&self, host: &HostConfig) -> Result<()> {
        for link in host.links.iter().flatten() {
            let (name, _) = parse(link)?;
            let other = self
                .index
                .find(name.trim_start_matches('/'))
                .map_err(|error| {
                    EngineError::invalid(format!("could not get container for {name}")).because(error)
                })?
                .record();
            if other.host.network_mode.as_deref() == Some("host") {
                return Err(EngineError::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in \
                     undefined behavior",
                ));
            }
        }
        Ok(())
    }

    /// The links of a container that starts; all of them must run.
    pub(super) fn links(&self, record: &Record) -> Result<Vec<Link>> {
        let mode = NetworkMode::parse(record.host.network_mode.as_deref().unwrap_or_default())?;
        let mut links = Vec::new();
        for link in record.host.links.iter().flatten().filter(|_| mode == NetworkMode::Bridge) {
            let (name, alias) = parse(link)?;
            let other = self.index.find(name.trim_start_matches('/'))?.record();
            let address = other.attached.get("bridge").and_then(|endpoint| endpoint.address);
            let Some(address) = address.filter(|_| other.state.status.has_process()) else {
                return Err(EngineError::conflict(format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    other.name, record.name
                )));
            };
            links.push(Link { other, address: address.to_string(), alias: alias.to_owned() });
        }
        Ok(links)
    }
}

impl Link {
    /// Its line in `/etc/hosts`: names and address.
    pub(super) fn host(&self) -> (String, String) {
        let mut names = format!("{} {}", self.alias, self.other.hostname());
        if self.alias != self.other.name {
            names.push_str(&format!(" {}", self.other.name));
        }
        (names, self.address.clone())
    }

    /// Its variables.
    pub(super) fn environment(&self, own_name: &str) -> Vec<String> {
        let prefix = self.alias.to_uppercase().replace('-', "_");
        let mut ports: Vec<(&str, u16)> = self
            .other
            .config
            .exposed_ports
            .iter()
            .flatten()
            .filter_map(|port| {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                Some((protocol, number.parse().ok()?))
            })
            .collect();
        ports.sort_by_key(|(protocol, number)| (*protocol != "tcp", *number));
        let address = &self.address;
        let mut variables = Vec::new();
        if let Some((protocol, number)) = ports.first() {
            variables.push(format!("{prefix}_PORT={protocol}://{address}:{number}"));
        }
        for (protocol, number) in ports {
            let port = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
            variables.push(format!("{port}={protocol}://{address}:{number}"));
            variables.push(format!("{port}_ADDR={address}"));
            variables.push(format!("{port}_PORT={number}"));
            variables.push(format!("{port}_PROTO={protocol}"));
        }
        variables.push(format!("{prefix}_NAME=/{own_name}/{}", self.alias));
        for variable in self.other.config.env.iter().flatten() {
            match variable.split_once('=') {
                Some(("HOME" | "PATH", _)) | None => {}
                Some((name, value)) => variables.push(format!("{prefix}_ENV_{name}={value}")),
            }
        }
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::tests::record, *};

    #[test]
    fn a_link_is_names_and_variables() {
        let mut other = record("db");
        other.config.hostname = Some("dbhost".to_owned());
        other.config.exposed_ports = Some(vec!["53/udp".into(), "5432/tcp".into()]);
        other.config.env = Some(vec!["PATH=/bin".into(), "USER=me".into()]);
        let link =
            Link { other: Arc::new(other), address: "172.17.0.2".to_owned(), alias: "my-db".to_owned() };
        assert_eq!(link.host(), ("my-db dbhost db".to_owned(), "172.17.0.2".to_owned()));
        let variables = link.environment("web");
        assert_eq!(variables[0], "MY_DB_PORT=tcp://172.17.0.2:5432");
        for expected in ["MY_DB_PORT_53_UDP_PROTO=udp", "MY_DB_NAME=/web/my-db", "MY_DB_ENV_USER=me"] {
            assert!(variables.iter().any(|variable| variable == expected), "{expected}: {variables:?}");
        }
        assert!(!variables.iter().any(|variable| variable.contains("PATH")));
    }

    #[test]
    fn links_are_read_as_given_and_as_shown() {
        assert_eq!(parse("db").unwrap(), ("db", "db"));
        assert_eq!(parse("db:alias").unwrap(), ("db", "alias"));
        assert_eq!(parse("/db:/web/alias").unwrap(), ("/db", "alias"));
        for bad in ["", ":", "a:b:c", "a:"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
