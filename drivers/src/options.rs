//! A driver's own `create` options, as data: they feed `machine create --help` and its parser.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// Flag without dashes, prefixed by the driver's name: `kvm-memory`.
    pub name: &'static str,
    /// Environment variable that sets it, if any.
    pub env: Option<&'static str>,
    /// Help sentence, imperative, no final dot.
    pub help: &'static str,
    /// What it takes.
    pub kind: OptionKind,
}

impl OptionSpec {
    /// One without value.
    pub const fn flag(name: &'static str, help: &'static str) -> Self {
        Self { name, env: None, help, kind: OptionKind::Flag }
    }

    /// One that takes text.
    pub const fn text(name: &'static str, help: &'static str) -> Self {
        Self { name, env: None, help, kind: OptionKind::Text(None) }
    }

    /// One that takes a whole number.
    pub const fn number(name: &'static str, help: &'static str) -> Self {
        Self { name, env: None, help, kind: OptionKind::Number(None) }
    }

    /// One that takes text, and may be given many times.
    pub const fn list(name: &'static str, help: &'static str) -> Self {
        Self { name, env: None, help, kind: OptionKind::List }
    }

    /// Set by this environment variable as well.
    pub const fn env(self, env: &'static str) -> Self {
        Self { env: Some(env), ..self }
    }

    /// This text, if none is given.
    pub const fn or(self, default: &'static str) -> Self {
        Self { kind: OptionKind::Text(Some(default)), ..self }
    }

    /// This number, if none is given.
    pub const fn or_number(self, default: u64) -> Self {
        Self { kind: OptionKind::Number(Some(default)), ..self }
    }
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// No value.
    Flag,
    /// Text, with its default.
    Text(Option<&'static str>),
    /// Text that nobody may see: a token, a password. Best given by the environment.
    Secret,
    /// A whole number, with its default.
    Number(Option<u64>),
    /// Text, may be given many times.
    List,
}

/// A parsed option. In JSON: `true`, text, a number, a list of texts.
#[derive(Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// The flag was given.
    Flag,
    /// Text, secret or not.
    Text(String),
    /// A number.
    Number(u64),
    /// All values, in order.
    List(Vec<String>),
}

/// Parsed options by name; absent ones are not in it.
pub type DriverOptions = BTreeMap<String, OptionValue>;

// What was given may be a secret, and must not reach a log.
impl fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "Flag",
            Self::Text(_) => "Text",
            Self::Number(_) => "Number",
            Self::List(_) => "List",
        })
    }
}

impl Serialize for OptionValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Flag => true.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
            Self::Number(number) => number.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |number: serde_json::Number| number.as_u64().map(Self::Number);
        let value = match Value::deserialize(deserializer)? {
            Value::Bool(true) => Some(Self::Flag),
            Value::String(text) => Some(Self::Text(text)),
            Value::Number(found) => number(found),
            Value::Array(list) => {
                let texts = list.iter().map(|text| text.as_str().map(str::to_owned));
                texts.collect::<Option<Vec<_>>>().map(Self::List)
            }
            _ => None,
        };
        value.ok_or_else(|| D::Error::custom("an option is true, text, a whole number or a list of texts"))
    }
}
