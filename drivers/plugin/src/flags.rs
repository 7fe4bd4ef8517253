//! A plugin's options: from its flags to ours, and from what was given to what it wants to have.

use crate::gob::{FlagValue, Value};
use machine_drivers::{DriverOptions, OptionKind, OptionSpec, OptionValue, external::readable};
use std::collections::BTreeMap;

/// The option that every plugin has besides its own, after the driver's name.
const HOST_KEY: &str = "ssh-host-key";

/// What old drivers read although it is no option of theirs.
fn always() -> BTreeMap<String, FlagValue> {
    let text = |name: &str, value: &str| (name.to_owned(), FlagValue::Text(value.to_owned()));
    BTreeMap::from([
        ("swarm-master".to_owned(), FlagValue::Bool(false)),
        text("swarm-host", "tcp://0.0.0.0:3376"),
        text("swarm-discovery", ""),
        text("engine-install-url", "https://get.docker.com"),
    ])
}

/// What a plugin can be told.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    /// As the command line has it.
    pub(crate) options: &'static [OptionSpec],
    defaults: BTreeMap<String, FlagValue>,
}

impl Flags {
    /// Of what `GetCreateFlags` answered; an error is the end of a sentence about the plugin.
    pub(crate) fn of(driver: &str, answer: &Value) -> Result<Self, String> {
        let Value::List(flags) = answer else {
            return Err("does not say which options it has".to_owned());
        };
        let (mut options, mut defaults) = (Vec::new(), always());
        for flag in flags {
            let (spec, default) = read(flag).ok_or("has an option of a kind that is not known")?;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if !spec.name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !spec.name.chars().all(plain) {
                return Err(format!("has an option {:?}, which cannot be typed", spec.name));
            }
            if defaults.insert(spec.name.to_owned(), default).is_some() {
                return Err(format!("has two options {:?}", spec.name));
            }
            options.push(spec);
        }
        let name = format!("{driver}-{HOST_KEY}");
        if !defaults.contains_key(&name) {
            options.push(OptionSpec {
                name: name.leak(),
                env: None,
                help: "The machine's SSH host key (ssh-ed25519 AAAA…) or its fingerprint (SHA256:…), any of \
                       several (default: the one it shows at the first contact, which is told and pinned)",
                kind: OptionKind::List,
            });
        }
        Ok(Self { options: options.leak(), defaults })
    }

    /// Everything a plugin reads, with what was given in `options`.
    pub(crate) fn values(&self, options: &DriverOptions) -> BTreeMap<String, FlagValue> {
        let mut values = self.defaults.clone();
        for (name, given) in options {
            if let Some(value) = values.get_mut(name) {
                match (value, given) {
                    (FlagValue::Bool(value), OptionValue::Flag) => *value = true,
                    (FlagValue::Int(value), OptionValue::Number(number)) => {
                        *value = i64::try_from(*number).unwrap_or(i64::MAX);
                    }
                    (FlagValue::Text(value), OptionValue::Text(text)) => value.clone_from(text),
                    (FlagValue::Texts(value), OptionValue::List(list)) => value.clone_from(list),
                    // The command line goes by the kinds that were told.
                    _ => {}
                }
            }
        }
        values
    }

    /// The host keys that were given for a machine of `driver`.
    pub(crate) fn host_keys(driver: &str, options: &DriverOptions) -> Vec<String> {
        match options.get(&format!("{driver}-{HOST_KEY}")) {
            Some(OptionValue::List(keys)) => keys.iter().map(|key| key.trim().to_owned()).collect(),
            _ => Vec::new(),
        }
    }
}

/// One flag; options live as long as the process, as those of built-in drivers do.
fn read(flag: &Value) -> Option<(OptionSpec, FlagValue)> {
    let Value::Named(kind, fields) = flag else { return None };
    let text = |name: &str| fields.field(name).and_then(Value::text).unwrap_or_default();
    let name = text("Name").to_owned();
    let (kind, default) = match kind.as_str() {
        "*mcnflag.StringFlag" => {
            let default = text("Value").to_owned();
            let kind = match is_secret(&name) {
                true => OptionKind::Secret,
                false if default.is_empty() => OptionKind::Text(None),
                false => OptionKind::Text(Some(default.clone().leak())),
            };
            (kind, FlagValue::Text(default))
        }
        "*mcnflag.IntFlag" => {
            let default = match fields.field("Value") {
                Some(Value::Int(number)) => *number,
                _ => 0,
            };
            (OptionKind::Number(u64::try_from(default).ok()), FlagValue::Int(default))
        }
        "*mcnflag.BoolFlag" => (OptionKind::Flag, FlagValue::Bool(false)),
        "*mcnflag.StringSliceFlag" => {
            let default = match fields.field("Value") {
                Some(Value::List(list)) => list.iter().filter_map(Value::text).map(str::to_owned).collect(),
                _ => Vec::new(),
            };
            (OptionKind::List, FlagValue::Texts(default))
        }
        _ => return None,
    };
    let env = Some(text("EnvVar").to_owned()).filter(|env| !env.is_empty());
    let mut help = readable(text("Usage").trim_end_matches('.'));
    if matches!(kind, OptionKind::List) {
        help += " (repeatable)";
    }
    let spec = OptionSpec { name: name.leak(), env: env.map(|env| &*env.leak()), help: help.leak(), kind };
    Some((spec, default))
}

/// Plugins do not say which of their options are secrets; their names do.
fn is_secret(name: &str) -> bool {
    ["token", "password", "secret", "api-key"].iter().any(|word| name.contains(word))
}
