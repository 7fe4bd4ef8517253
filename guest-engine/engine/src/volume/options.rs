//! Options of the `local` driver: what to mount over a volume's folder. Pure.

use crate::{
    error::{EngineError, Result},
    ports::VolumeSource,
};
use std::collections::HashMap;

/// Each needs the ones behind it.
const KNOWN: [(&str, &[&str]); 4] =
    [("type", &["device"]), ("o", &["device", "type"]), ("device", &["type"]), ("size", &[])];

/// Checks options and says what they mean; `None` is a plain folder.
pub(super) fn source(options: &HashMap<String, String>) -> Result<Option<VolumeSource>> {
    if let Some(unknown) = options.keys().filter(|key| !KNOWN.iter().any(|(known, _)| key == known)).min() {
        return Err(EngineError::invalid(format!("invalid option: {unknown:?}")));
    }
    if let Some(size) = options.get("size")
        && !matches!(size.trim_end_matches(|c: char| c.is_ascii_alphabetic()), "" | "0")
    {
        return Err(EngineError::invalid("quota size requested but no quota support"));
    }
    for (option, needed) in KNOWN {
        if options.contains_key(option)
            && let Some(missing) = needed.iter().find(|needed| !options.contains_key(**needed))
        {
            return Err(EngineError::invalid(format!("missing required option: {missing:?}")));
        }
    }
    let Some(device) = options.get("device") else { return Ok(None) };
    let words = options.get("o").map(String::as_str).unwrap_or_default();
    Ok(Some(VolumeSource {
        filesystem: options.get("type").cloned().unwrap_or_default(),
        device: device.clone(),
        options: words.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(&str, &str)]) -> Result<Option<VolumeSource>> {
        source(&list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn options_are_a_mount_or_a_mistake() {
        assert_eq!(of(&[]).unwrap(), None);
        let nfs = of(&[("type", "nfs"), ("o", "addr=10.0.0.1,ro"), ("device", ":/data")]).unwrap().unwrap();
        assert_eq!((nfs.filesystem.as_str(), nfs.device.as_str()), ("nfs", ":/data"));
        assert_eq!(nfs.options, ["addr=10.0.0.1", "ro"]);
        for (options, sentence) in [
            (&[("foo", "x")][..], "invalid option: \"foo\""),
            (&[("o", "bind")], "missing required option: \"device\""),
            (&[("type", "none")], "missing required option: \"device\""),
            (&[("device", "/x")], "missing required option: \"type\""),
            (&[("size", "10m")], "quota size requested but no quota support"),
        ] {
            assert_eq!(of(options).unwrap_err().to_string(), sentence);
        }
    }
}
