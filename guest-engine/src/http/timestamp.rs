//! Moments as clients write them: `1700000000`, `1700000000.5`, RFC 3339, or how long ago (`10m`).

use jiff::{SignedDuration, Timestamp};

/// Not a moment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse value as time or duration: {0:?}")]
pub(super) struct TimestampError(String);

/// `None` for the empty string and for `0`, which clients send when they mean nothing.
pub(super) fn parse(text: &str) -> Result<Option<Timestamp>, TimestampError> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let moment = unix(text).or_else(|| text.parse().ok()).or_else(|| {
        let ago = text.parse::<SignedDuration>().ok()?;
        Timestamp::now().checked_sub(ago).ok()
    });
    moment.map(Some).ok_or_else(|| TimestampError(text.to_owned()))
}

/// Seconds and up to nine digits of a fraction.
fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_understood() {
        let nanos = |text: &str| parse(text).unwrap().unwrap().as_nanosecond();
        assert_eq!(nanos("1700000000"), 1_700_000_000_000_000_000);
        assert_eq!(nanos("1700000000.25"), 1_700_000_000_250_000_000);
        assert_eq!(nanos("1700000000.000000001"), 1_700_000_000_000_000_001);
        assert_eq!(nanos("1970-01-01T00:00:01Z"), 1_000_000_000);
        let ago = parse("1h30m").unwrap().unwrap().duration_since(Timestamp::now()).as_secs();
        assert!((-5401..=-5399).contains(&ago), "{ago}");
        assert_eq!(parse(""), Ok(None));
        for bad in ["x", "1.", "1.0000000001", "-", "1.-5"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
