//! `--security-opt`, as dockerd reads it.

use crate::error::{EngineError, Result};

/// Refuses what is no security option. Answers warnings for those that nothing on this machine enforces.
pub(super) fn check(options: &[String]) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for option in options {
        if matches!(option.as_str(), "no-new-privileges" | "disable") {
            continue;
        }
        let (key, value) = parted(option)
            .ok_or_else(|| EngineError::invalid(format!("invalid --security-opt 1: {option:?}")))?;
        let unknown = || EngineError::invalid(format!("invalid --security-opt 2: {option:?}"));
        match key {
            "seccomp" => {}
            "no-new-privileges" => drop(boolean(value).ok_or_else(unknown)?),
            "apparmor" if value == "unconfined" => {}
            "apparmor" => warnings
                .push(format!("AppArmor is not used by this engine: the profile {value:?} has no effect.")),
            "label" if value == "disable" => {}
            "label" => warnings
                .push(format!("SELinux is not used by this engine: the label {value:?} has no effect.")),
            _ => return Err(unknown()),
        }
    }
    Ok(warnings)
}

/// Whether a container's processes may gain privileges by `exec`; the last word counts.
pub(super) fn no_new_privileges(options: &[String]) -> bool {
    let said = |option: &String| match option.as_str() {
        "no-new-privileges" => Some(true),
        _ => parted(option).filter(|(key, _)| *key == "no-new-privileges").and_then(|(_, v)| boolean(v)),
    };
    options.iter().filter_map(said).next_back().unwrap_or(false)
}

/// `key=value`, or the old `key:value`.
fn parted(option: &str) -> Option<(&str, &str)> {
    option.split_once('=').or_else(|| option.split_once(':'))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(option: &str) -> Result<usize, String> {
        check(&[option.to_owned()]).map(|warnings| warnings.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_known_or_refused() {
        for (option, warnings) in [
            ("no-new-privileges", 0),
            ("no-new-privileges:true", 0),
            ("seccomp=unconfined", 0),
            ("apparmor=unconfined", 0),
            ("apparmor:mine", 1),
            ("label=disable", 0),
            ("label=type:x_t", 1),
        ] {
            assert_eq!(checked(option), Ok(warnings), "{option}");
        }
        assert_eq!(checked("secret").unwrap_err(), "invalid --security-opt 1: \"secret\"");
        for option in ["colour=red", "no-new-privileges=perhaps", "systempaths=unconfined"] {
            assert_eq!(checked(option).unwrap_err(), format!("invalid --security-opt 2: {option:?}"));
        }
    }

    #[test]
    fn privileges_may_be_gained_unless_said_otherwise() {
        for (options, expected) in [
            (&[][..], false),
            (&["no-new-privileges"], true),
            (&["no-new-privileges=1"], true),
            (&["no-new-privileges", "no-new-privileges:false"], false),
        ] {
            let options: Vec<String> = options.iter().map(ToString::to_string).collect();
            assert_eq!(no_new_privileges(&options), expected, "{options:?}");
        }
    }
}
