//! Sizes as people write them: `2g`, `512MiB`, or a plain number.

/// A size in MiB; a plain number counts MiB.
pub(super) fn mebibytes(text: &str) -> Result<u64, String> {
    size(text, 1)
}

/// A size in whole GiB; a plain number counts GiB.
pub(super) fn gibibytes(text: &str) -> Result<u64, String> {
    size(text, 1024).and_then(|mebibytes| match mebibytes % 1024 {
        0 => Ok(mebibytes / 1024),
        _ => Err("must be whole GiB".to_owned()),
    })
}

/// `text` in MiB; a number without unit counts `plain` MiB.
fn size(text: &str, plain: u64) -> Result<u64, String> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("ib").or(text.strip_suffix('b')).unwrap_or(&text);
    let (number, unit) = match text.chars().last() {
        Some('m') => (&text[..text.len() - 1], 1),
        Some('g') => (&text[..text.len() - 1], 1024),
        Some('t') => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, plain),
    };
    let number: u64 = number.trim().parse().map_err(|_| "is no size".to_owned())?;
    match number.checked_mul(unit) {
        Some(0) => Err("must be more than nothing".to_owned()),
        Some(size) => Ok(size),
        None => Err("is too large".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(mebibytes("1024"), Ok(1024));
        assert_eq!(mebibytes("2g"), Ok(2048));
        assert_eq!(mebibytes("512MiB"), Ok(512));
        assert_eq!(gibibytes("20"), Ok(20));
        assert_eq!(gibibytes("1TB"), Ok(1024));
        for text in ["", "x", "-1", "0", "1.5g", "99999999999999999999", "18446744073709551615t"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
        assert!(gibibytes("500m").is_err());
    }
}
