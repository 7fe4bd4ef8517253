//! Whether an image is for this machine, or for the platform that a client asks for.

use crate::error::{EngineError, ErrorKind, Result};
use std::fmt;

/// Operating system, architecture and variant in Go's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

impl Platform {
    /// This machine's.
    pub fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: String::new() }
    }

    /// Reads `linux`, `arm64` or `linux/arm64/v8`.
    fn parse(text: &str) -> Result<Self> {
        let invalid = |what: &str| EngineError::invalid(format!("{text:?}: {what}: invalid argument"));
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let parts: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
        if !parts.iter().all(|part| plain(part)) {
            return Err(invalid("is an invalid component of a platform specifier"));
        }
        let here = Self::here();
        let known = |name: &str| match name {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        match parts.as_slice() {
            [one] if one == "linux" => Ok(here),
            [one] => Ok(Self { architecture: known(one), ..here }),
            [os, architecture] => {
                Ok(Self { os: os.clone(), architecture: known(architecture), variant: String::new() })
            }
            [os, architecture, variant] => {
                Ok(Self { os: os.clone(), architecture: known(architecture), variant: variant.clone() })
            }
            _ => Err(invalid("cannot parse platform specifier")),
        }
    }

    /// What one leaves open, both agree on.
    fn matches(&self, other: &Self) -> bool {
        let same = |a: &str, b: &str| a.is_empty() || b.is_empty() || a == b;
        same(&self.os, &other.os)
            && same(&self.architecture, &other.architecture)
            && same(&self.variant, &other.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// Checks the image `reference`, which is for `image`, against what a client asks for. Answers a warning.
pub(super) fn check(reference: &str, image: &Platform, asked: Option<&str>) -> Result<Option<String>> {
    let asked = asked.filter(|asked| !asked.is_empty()).map(Platform::parse).transpose()?;
    let here = Platform::here();
    match asked {
        Some(asked) if !image.matches(&asked) => Err(EngineError::new(
            ErrorKind::NotFound,
            format!(
                "image with reference {reference} was found but does not match the specified platform: wanted \
                 {asked}, actual: {image}"
            ),
        )),
        None if !image.matches(&here) => Ok(Some(format!(
            "The requested image's platform ({image}) does not match the detected host platform ({here}) and no \
             specific platform was requested"
        ))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    #[test]
    fn platforms_are_read_and_compared() {
        assert_eq!(platform("linux"), Platform::here());
        assert_eq!(platform("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(platform("linux/arm/v7").to_string(), "linux/arm/v7");
        assert!(platform("linux/arm64").matches(&platform("linux/arm64/v8")));
        for bad in ["a/b/c/d", "linux//x", "li nux"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn another_platform_is_refused_when_asked_for_and_warned_about_when_found() {
        let image = platform("linux/riscv64");
        assert_eq!(check("x", &image, Some("linux/riscv64")).unwrap(), None);
        assert!(check("x", &image, None).unwrap().is_some());
        let error = check("x", &image, Some("linux/s390x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(check("x", &Platform::default(), None).unwrap(), None);
    }
}
