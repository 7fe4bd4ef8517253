//! What a driver's executable says of itself, checked, in the shape that built-in drivers have.

use super::wire;
use crate::{Capabilities, OptionKind, OptionSpec};
use std::collections::BTreeSet;

/// The one version of the protocol there is.
pub(super) const PROTOCOL: u64 = 1;

/// A driver's description of itself.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its version, for people.
    pub version: Option<String>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its options of `create`.
    pub options: &'static [OptionSpec],
}

impl Described {
    /// Checks what the driver `name` answered; an error is the end of a sentence about its program.
    pub(super) fn of(name: &str, said: wire::Introduction) -> Result<Self, String> {
        if said.protocol != PROTOCOL {
            let protocol = said.protocol;
            return Err(format!(
                "speaks version {protocol} of the protocol, and this machine speaks {PROTOCOL}"
            ));
        }
        if said.name != name {
            return Err(format!("calls its driver {:?}, not {name:?}", said.name));
        }
        let prefix = format!("{name}-");
        let mut seen = BTreeSet::new();
        for option in &said.options {
            let plain =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
            let own = option.name.strip_prefix(&prefix).is_some_and(|rest| !rest.is_empty());
            if !own || !option.name.chars().skip(prefix.len()).all(plain) {
                return Err(format!("has an option {:?}; its options begin with {prefix:?}", option.name));
            }
            if !seen.insert(&option.name) {
                return Err(format!("has two options {:?}", option.name));
            }
        }
        let options = said.options.into_iter().map(option).collect::<Result<Vec<_>, _>>()?;
        let capabilities = said.capabilities;
        Ok(Self {
            version: said.version,
            capabilities: Capabilities {
                local: capabilities.local,
                seed_channel: capabilities.seed_channel,
                runs_when_created: capabilities.runs_when_created,
                borrowed_host: capabilities.borrowed_host,
                resize: capabilities.resize,
                contents: capabilities.contents.into_iter().map(lasting).collect::<Vec<_>>().leak(),
            },
            options: options.leak(),
        })
    }
}

/// A text that lives as long as the process, as those of built-in drivers do. Each driver of a process
/// describes itself once.
pub(super) fn lasting(text: String) -> &'static str {
    text.leak()
}

fn option(said: wire::OptionSaid) -> Result<OptionSpec, String> {
    let name = lasting(said.name);
    let kind = match (said.kind, said.default) {
        (wire::Kind::Flag, None) => OptionKind::Flag,
        (wire::Kind::List, None) => OptionKind::List,
        (wire::Kind::Secret, None) => OptionKind::Secret,
        (wire::Kind::Text, None) => OptionKind::Text(None),
        (wire::Kind::Text, Some(wire::Default::Text(text))) => OptionKind::Text(Some(lasting(text))),
        (wire::Kind::Number, None) => OptionKind::Number(None),
        (wire::Kind::Number, Some(wire::Default::Number(number))) => OptionKind::Number(Some(number)),
        _ => return Err(format!("has a default for its option {name:?} that is not of its kind")),
    };
    Ok(OptionSpec { name, env: said.env.map(lasting), help: lasting(super::readable(&said.help)), kind })
}
