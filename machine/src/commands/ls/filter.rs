//! `machine ls --filter`: values of one key are alternatives, different keys must all match.

use super::Row;
use crate::error::{CommandError, ErrorKind};
use regex_lite::{Regex, RegexBuilder};

/// Every filter that was given.
#[derive(Debug, Default)]
pub(super) struct Filters {
    drivers: Vec<String>,
    states: Vec<String>,
    names: Vec<Regex>,
    labels: Vec<String>,
    swarms: Vec<String>,
}

impl Filters {
    pub(super) fn parse(filters: &[String]) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        for filter in filters {
            let usage = |message: String| CommandError::new(ErrorKind::Usage, message);
            let (key, value) = filter
                .split_once('=')
                .ok_or_else(|| usage(format!("Unsupported filter syntax {filter:?}")))?;
            match key.to_lowercase().as_str() {
                "driver" => parsed.drivers.push(value.to_owned()),
                "state" => parsed.states.push(value.to_lowercase()),
                "label" => parsed.labels.push(value.to_owned()),
                "swarm" => parsed.swarms.push(value.to_owned()),
                "name" => {
                    let name = RegexBuilder::new(value).case_insensitive(true).build();
                    parsed.names.push(
                        name.map_err(|error| usage(format!("The filter {filter:?} is wrong: {error}")))?,
                    );
                }
                _ => return Err(usage(format!("Unsupported filter key '{key}'"))),
            }
        }
        Ok(parsed)
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { drivers, states, names, labels, swarms } = self;
        drivers.is_empty() && states.is_empty() && names.is_empty() && labels.is_empty() && swarms.is_empty()
    }

    pub(super) fn admit(&self, row: &Row) -> bool {
        any(&self.drivers, |driver| *driver == row.driver_name)
            && any(&self.states, |state| *state == row.state.to_lowercase())
            && any(&self.names, |name| name.is_match(&row.name))
            && any(&self.labels, |label| row.labels.contains(label))
            && any(&self.swarms, |swarm| *swarm == row.swarm)
    }
}

/// No filter of a key admits everything.
fn any<T>(filters: &[T], matches: impl Fn(&T) -> bool) -> bool {
    filters.is_empty() || filters.iter().any(matches)
}
