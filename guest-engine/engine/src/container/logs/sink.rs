//! Where a container's output is logged, from its `LogConfig`.

use crate::{
    error::{EngineError, Result},
    ports::LogSink,
};
use bollard_stubs::models::HostConfig;
use std::{collections::HashMap, path::PathBuf};

/// The sink that `host` asks for, at `path`.
pub(crate) fn of(host: &HostConfig, path: PathBuf) -> Result<LogSink> {
    let log = host.log_config.as_ref();
    if log.and_then(|log| log.typ.as_deref()) == Some("none") {
        return Ok(LogSink::None);
    }
    let none = HashMap::new();
    let (max_size, max_files) = rotation(log.and_then(|log| log.config.as_ref()).unwrap_or(&none))?;
    Ok(LogSink::JsonFile { path, max_size, max_files })
}

/// `max-size` in bytes and `max-file`.
pub(crate) fn rotation(options: &HashMap<String, String>) -> Result<(Option<u64>, u32)> {
    let max_size = match options.get("max-size").map(String::as_str) {
        None | Some("-1") => None,
        Some(text) => Some(
            bytes(text)
                .filter(|size| *size > 0)
                .ok_or_else(|| EngineError::invalid(format!("invalid value for max-size: {text}")))?,
        ),
    };
    let max_files = match options.get("max-file") {
        None => 1,
        Some(text) => text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| EngineError::invalid("max-file cannot be less than 1"))?,
    };
    if max_size.is_none() && max_files > 1 {
        return Err(EngineError::invalid("max-file cannot be used without max-size"));
    }
    Ok((max_size, max_files))
}

/// `10`, `10k`, `10m`, `10MB`, `1g`: powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_options() {
        let options = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        assert_eq!(rotation(&options(&[])).unwrap(), (None, 1));
        assert_eq!(
            rotation(&options(&[("max-size", "10m"), ("max-file", "3")])).unwrap(),
            (Some(10 << 20), 3)
        );
        for bad in [[("max-size", "0")], [("max-size", "much")], [("max-file", "0")], [("max-file", "2")]] {
            assert!(rotation(&options(&bad)).is_err(), "{bad:?}");
        }
    }
}
