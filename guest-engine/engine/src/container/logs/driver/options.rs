//! A driver's options as Go's parsers read them, with their words for what they cannot read.

use crate::error::{EngineError, Result};
use std::{collections::HashMap, time::Duration};

/// The options of one driver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options<'a> {
    driver: &'a str,
    given: &'a HashMap<String, String>,
}

impl<'a> Options<'a> {
    pub(super) fn new(driver: &'a str, given: &'a HashMap<String, String>) -> Self {
        Self { driver, given }
    }

    /// 400 for an option that neither list has.
    pub(super) fn refuse_unknown(self, built_in: &[&str], own: &[&str]) -> Result<()> {
        let mut unknown: Vec<&str> = self
            .given
            .keys()
            .map(String::as_str)
            .filter(|key| !built_in.contains(key) && !own.contains(key))
            .collect();
        unknown.sort_unstable();
        match unknown.first() {
            None => Ok(()),
            Some(key) => Err(EngineError::invalid(match self.driver {
                "gelf" => format!("unknown log opt {key:?} for gelf log driver"),
                driver => format!("unknown log opt '{key}' for {driver} log driver"),
            })),
        }
    }

    pub(super) fn is_set(self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// The empty text when it is not set.
    pub(super) fn text(self, key: &str) -> &'a str {
        self.given.get(key).map(String::as_str).unwrap_or_default()
    }

    /// `10m` is ten million.
    pub(super) fn decimal_size(self, key: &str) -> Result<Option<u64>> {
        self.set(key).map(|text| size(text, 1000)).transpose()
    }

    /// `10m` is ten times 2^20.
    pub(super) fn binary_size(self, key: &str) -> Result<Option<u64>> {
        self.set(key).map(|text| size(text, 1024)).transpose()
    }

    /// False when it is not set.
    pub(super) fn boolean(self, key: &str) -> Result<bool> {
        match self.text(key) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            text => Err(EngineError::invalid(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
        }
    }

    pub(super) fn integer(self, key: &str) -> Result<Option<i64>> {
        self.set(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    EngineError::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
                })
            })
            .transpose()
    }

    pub(super) fn duration(self, key: &str) -> Result<Option<Duration>> {
        self.set(key).map(duration).transpose()
    }

    fn set(self, key: &str) -> Option<&'a str> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }
}

fn size(text: &str, base: u64) -> Result<u64> {
    let invalid = || EngineError::invalid(format!("invalid size: '{text}'"));
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)? + 1;
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.trim_end().parse().map_err(|_| invalid())?;
    let suffix = suffix.to_ascii_lowercase();
    let unit = match suffix.as_bytes() {
        [] | [b'b'] => 0,
        [unit] | [unit, b'b'] | [unit, b'i', b'b'] => {
            let power = b"kmgtp".iter().position(|known| known == unit);
            power.ok_or_else(|| EngineError::invalid(format!("invalid suffix: '{suffix}'")))? + 1
        }
        _ => return Err(EngineError::invalid(format!("invalid suffix: '{suffix}'"))),
    };
    let factor = (0..unit).fold(1.0, |factor, _| factor * base as f64);
    if number < 0.0 || !number.is_finite() {
        return Err(invalid());
    }
    // Go's conversion cuts off as well; what is too large for it becomes the largest number.
    Ok((number * factor) as u64)
}

/// `1h30m`, `1.5s`, `250ms`.
fn duration(text: &str) -> Result<Duration> {
    let invalid = || EngineError::invalid(format!("time: invalid duration {text:?}"));
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest == "0" {
        return Ok(total);
    }
    while !rest.is_empty() || total.is_zero() && text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, behind) = rest.split_at(digits);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(invalid()),
        };
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| invalid())?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = next;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_gos() {
        for (text, decimal, binary) in [
            ("10", 10, 10),
            ("1.5k", 1500, 1536),
            ("2MB", 2_000_000, 2 << 20),
            ("1 GiB", 1_000_000_000, 1 << 30),
        ] {
            assert_eq!((size(text, 1000).unwrap(), size(text, 1024).unwrap()), (decimal, binary), "{text}");
        }
        for bad in ["", "m", "1x", "-1k", "1kk", "١k"] {
            assert!(size(bad, 1000).is_err(), "{bad}");
        }
        assert_eq!(duration("1m30.5s").unwrap(), Duration::from_millis(90_500));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        for bad in ["", "1", "s", "1d", "-1s", "1s2"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
