//! Whether an image is for this machine, or for the platform that a client asks for.

use crate::{
    error::{EngineError, ErrorKind, Result},
    platform::Platform,
};

/// Whether an image for `image` serves who asks for `wanted`; one that does not say what it is for does.
fn fits(wanted: &Platform, image: &Platform) -> bool {
    let image = Platform::of_image(&image.os, &image.architecture, Some(&image.variant));
    image.architecture.is_empty() || wanted.distance(&image).is_some()
}

/// Checks the image `reference`, which is for `image`, against what a client asks for. Answers a warning.
pub(super) fn check(reference: &str, image: &Platform, asked: Option<&str>) -> Result<Option<String>> {
    let asked = asked.filter(|asked| !asked.is_empty()).map(str::parse::<Platform>).transpose()?;
    let here = Platform::of_machine();
    match asked {
        Some(asked) if !fits(&asked, image) => Err(EngineError::new(
            ErrorKind::NotFound,
            format!(
                "image with reference {reference} was found but does not match the specified platform: wanted \
                 {asked}, actual: {image}"
            ),
        )),
        None if !fits(&here, image) => Ok(Some(format!(
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
        text.parse().unwrap()
    }

    #[test]
    fn what_runs_on_it_fits() {
        assert!(fits(&platform("linux/arm64"), &platform("linux/arm64/v8")));
        assert!(fits(&platform("linux/amd64"), &platform("linux/386")));
        assert!(!fits(&platform("linux/386"), &platform("linux/amd64")));
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
