//! What an image is made for, and which of several fits best.

use crate::error::{EngineError, Result};
use std::{fmt, str::FromStr};

/// `os/architecture[/variant]`, in Go's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

impl Platform {
    /// This machine's.
    pub fn of_machine() -> Self {
        let architecture = machine_architecture();
        normal("linux", architecture, "")
    }

    /// What an image says of itself.
    pub(crate) fn of_image(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        normal(os, architecture, variant.unwrap_or_default())
    }

    /// How well an image for `other` serves who asks for this; smaller is better, `None` not at all.
    pub(crate) fn distance(&self, other: &Self) -> Option<usize> {
        if self.os != other.os {
            return None;
        }
        self.runnable().iter().position(|(architecture, variant)| {
            *architecture == other.architecture && *variant == other.variant
        })
    }

    /// What this one runs, best first.
    fn runnable(&self) -> Vec<(&str, String)> {
        let own = (self.architecture.as_str(), self.variant.clone());
        let number = |text: &str| text.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
        match self.architecture.as_str() {
            "amd64" => {
                let mut list = vec![own];
                let below = number(&self.variant).unwrap_or(1);
                list.extend((2..below).rev().map(|n| ("amd64", format!("v{n}"))));
                list.extend([("amd64", String::new()), ("386", String::new())]);
                list
            }
            "arm64" => {
                let mut list = vec![own, ("arm64", String::new())];
                list.extend((5..=8).rev().map(|n| ("arm", format!("v{n}"))));
                list
            }
            "arm" => {
                let most = number(&self.variant).unwrap_or(7);
                (5..=most).rev().map(|n| ("arm", format!("v{n}"))).collect()
            }
            _ => vec![own],
        }
    }
}

/// This machine's processor in Go's words.
pub(crate) fn machine_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Other spellings of the same.
pub(crate) fn normal(os: &str, architecture: &str, variant: &str) -> Platform {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", ""),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    let os = if os.is_empty() { "linux" } else { os };
    Platform { os: os.to_lowercase(), architecture: architecture.to_owned(), variant: variant.to_owned() }
}

impl FromStr for Platform {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(word) {
            return Err(EngineError::invalid(format!(
                "\"{text}\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
            )));
        }
        let lower: Vec<String> = parts.iter().map(|part| part.to_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        match lower.as_slice() {
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => {
                Ok(normal(os, &Self::of_machine().architecture, ""))
            }
            [architecture] => Ok(normal("linux", architecture, "")),
            [os, architecture] => Ok(normal(os, architecture, "")),
            [os, architecture, variant] => Ok(normal(os, architecture, variant)),
            _ => Err(EngineError::invalid(format!(
                "\"{text}\": cannot parse platform specifier: invalid argument"
            ))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(wanted: &str, offered: &str) -> Option<usize> {
        wanted.parse::<Platform>().unwrap().distance(&offered.parse().unwrap())
    }

    #[test]
    fn the_nearest_is_the_best() {
        assert_eq!(distance("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(distance("amd64", "linux/x86_64/v1"), Some(0));
        assert!(distance("linux/amd64", "linux/386") > Some(0));
        assert_eq!(distance("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(distance("linux/amd64", "windows/amd64"), None);
        assert_eq!(distance("linux/arm64", "linux/arm64/v8"), Some(0));
        assert!(distance("linux/arm/v7", "linux/arm/v7") < distance("linux/arm/v7", "linux/arm/v6"));
        assert_eq!(distance("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(distance("linux/s390x", "linux/amd64"), None);
        for bad in ["", "a//b", "a/b/c/d", "li nux"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
