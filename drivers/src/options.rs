//! A driver's own `create` options, as data: they feed `machine create --help` and its parser.

use std::collections::BTreeMap;

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
    /// A whole number, with its default.
    Number(Option<u64>),
    /// Text, may be given many times.
    List,
}

/// A parsed option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// The flag was given.
    Flag,
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
    /// All values, in order.
    List(Vec<String>),
}

/// Parsed options by name; absent ones are not in it.
pub type DriverOptions = BTreeMap<String, OptionValue>;
