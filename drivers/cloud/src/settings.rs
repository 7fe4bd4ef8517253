//! What the user asked of a driver, read from the options with their defaults.

use machine_drivers::{DriverError, MachineSpec, OptionKind, OptionSpec, OptionValue};

/// The options of one driver, as given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    specs: &'static [OptionSpec],
    options: &'a machine_drivers::DriverOptions,
}

impl<'a> Settings<'a> {
    pub(crate) fn new(specs: &'static [OptionSpec], options: &'a machine_drivers::DriverOptions) -> Self {
        Self { specs, options }
    }

    /// A text that is given or has a default; nothing counts as not given.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let given = match self.options.get(name) {
            Some(OptionValue::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let default = || match self.spec(name)?.kind {
            OptionKind::Text(default) => default,
            _ => None,
        };
        given.or_else(default).map(str::trim).filter(|text| !text.is_empty())
    }

    /// A text that must be given.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str, DriverError> {
        self.text(name).ok_or_else(|| {
            let env = self.spec(name).and_then(|spec| spec.env);
            let or = env.map(|env| format!(" or {env}")).unwrap_or_default();
            DriverError::InvalidSpec(format!("--{name}{or} is required"))
        })
    }

    /// A number that is given or has a default.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match (self.options.get(name), self.spec(name).map(|spec| spec.kind)) {
            (Some(OptionValue::Number(number)), _) => Some(*number),
            (_, Some(OptionKind::Number(default))) => default,
            _ => None,
        }
    }

    /// A TCP port.
    pub(crate) fn port(&self, name: &str) -> Result<u16, DriverError> {
        let number = self.number(name).unwrap_or(22);
        u16::try_from(number)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| DriverError::InvalidSpec(format!("--{name}: {number} is no TCP port")))
    }

    /// All values of a repeatable option, split at commas as well.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let texts: Vec<&str> = match self.options.get(name) {
            Some(OptionValue::List(values)) => values.iter().map(String::as_str).collect(),
            Some(OptionValue::Text(text)) => vec![text],
            _ => Vec::new(),
        };
        let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// The same as `KEY=VALUE`.
    pub(crate) fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, DriverError> {
        let pair = |text: String| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(DriverError::InvalidSpec(format!("--{name} takes KEY=VALUE, not {text:?}"))),
        };
        self.list(name).into_iter().map(pair).collect()
    }

    /// Sentences about what is given and changes nothing, for those options and reasons.
    pub(crate) fn unused(&self, options: &[(&str, &str)]) -> Vec<String> {
        let given = options.iter().filter(|(name, _)| self.options.contains_key(*name));
        given.map(|(name, why)| format!("--{name} is not used: {why}")).collect()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.options.get(name), Some(OptionValue::Flag))
    }

    fn spec(&self, name: &str) -> Option<&'static OptionSpec> {
        self.specs.iter().find(|spec| spec.name == name)
    }
}

/// Refuses what makes no sense anywhere, and `--cpus`, `--memory` and `--disk` where `sized_by` names the
/// option that decides them.
pub(crate) fn check_sizes(spec: &MachineSpec, sized_by: &str) -> Result<(), DriverError> {
    let sizes =
        [("--cpus", spec.cpus.map(u64::from)), ("--memory", spec.memory_mib), ("--disk", spec.disk_gib)];
    match sizes.iter().find(|(_, size)| size.is_some()) {
        Some((flag, _)) => Err(DriverError::InvalidSpec(format!("{flag} cannot be chosen here: {sized_by}"))),
        None => Ok(()),
    }
}
