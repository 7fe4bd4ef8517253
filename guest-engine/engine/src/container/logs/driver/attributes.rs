//! What `labels`, `labels-regex`, `env` and `env-regex` pick out of a container for its log messages.

use super::{Options, Subject};
use crate::error::{EngineError, Result};
use regex::Regex;
use std::collections::BTreeMap;

/// What was picked, with its keys changed by `key`.
pub(super) fn of(
    options: &Options<'_>,
    subject: &Subject<'_>,
    key: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>> {
    let labels = subject.config.labels.iter().flatten();
    let labels: BTreeMap<&str, &str> = labels.map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let variables = subject.config.env.iter().flatten();
    let variables: BTreeMap<&str, &str> = variables.filter_map(|entry| entry.split_once('=')).collect();
    let mut picked = BTreeMap::new();
    for (from, list, pattern) in [(labels, "labels", "labels-regex"), (variables, "env", "env-regex")] {
        let wanted = options.text(list);
        for name in wanted.split(',').filter(|_| !wanted.is_empty()) {
            if let Some(value) = from.get(name) {
                picked.insert(key(name), (*value).to_owned());
            }
        }
        let pattern = options.text(pattern);
        if !pattern.is_empty() {
            let invalid = |e| EngineError::invalid(format!("error parsing regexp: {pattern}")).because(e);
            let pattern = Regex::new(pattern).map_err(invalid)?;
            let matching = from.iter().filter(|(name, _)| pattern.is_match(name));
            picked.extend(matching.map(|(name, value)| (key(name), (*value).to_owned())));
        }
    }
    Ok(picked)
}
