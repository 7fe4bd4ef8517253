//! Debian's order of package versions (deb-version(7)).

use std::cmp::Ordering;

/// Compares two versions as dpkg does.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_rest) = epoch(a);
    let (b_epoch, b_rest) = epoch(b);
    let (a_upstream, a_revision) = a_rest.rsplit_once('-').unwrap_or((a_rest, ""));
    let (b_upstream, b_revision) = b_rest.rsplit_once('-').unwrap_or((b_rest, ""));
    a_epoch
        .cmp(&b_epoch)
        .then_with(|| compare_part(a_upstream, b_upstream))
        .then_with(|| compare_part(a_revision, b_revision))
}

fn epoch(version: &str) -> (u64, &str) {
    version
        .split_once(':')
        .and_then(|(epoch, rest)| Some((epoch.parse().ok()?, rest)))
        .unwrap_or((0, version))
}

/// Alternates between runs of non-digits (a tilde before the end, letters before the rest) and
/// runs of digits (by value).
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = split_at_class(a, |c| !c.is_ascii_digit());
        let (b_text, b_rest) = split_at_class(b, |c| !c.is_ascii_digit());
        let longest = a_text.len().max(b_text.len());
        for index in 0..longest {
            let order = weight(a_text.as_bytes().get(index)).cmp(&weight(b_text.as_bytes().get(index)));
            if order.is_ne() {
                return order;
            }
        }
        let (a_number, a_rest) = split_at_class(a_rest, |c| c.is_ascii_digit());
        let (b_number, b_rest) = split_at_class(b_rest, |c| c.is_ascii_digit());
        let a_number = a_number.trim_start_matches('0');
        let b_number = b_number.trim_start_matches('0');
        let order = a_number.len().cmp(&b_number.len()).then_with(|| a_number.cmp(b_number));
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn split_at_class(text: &str, class: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !class(c)).unwrap_or(text.len()))
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_dpkgs_order() {
        let ordered = [
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0a-1",
            "1.0+x-1",
            "1.9-1",
            "1.10-1",
            "6.12.9-1",
            "6.12.117-1",
            "1:0.1-1",
            "1:1.37.0-6+b9",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.01-1", "1.1-1"), Ordering::Equal);
        assert_eq!(compare("0:1", "1"), Ordering::Equal);
    }
}
