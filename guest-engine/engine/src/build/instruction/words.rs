//! How an instruction's rest is cut into words, with quotes and escapes still on them.

use crate::error::{EngineError, Result};

/// The first word and what follows it.
pub(super) fn split_first(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.split_once(char::is_whitespace) {
        Some((first, rest)) => (first, rest.trim_start()),
        None => (text, ""),
    }
}

/// A JSON list of strings; `None` when it is no list. What stands behind it is nothing, as to dockerd.
pub(super) fn json_list(text: &str) -> Result<Option<Vec<String>>> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Vec<serde_json::Value>>();
    let Some(Ok(list)) = text.trim_start().starts_with('[').then(|| values.next()).flatten() else {
        return Ok(None);
    };
    list.into_iter()
        .map(|value| match value {
            serde_json::Value::String(text) => Ok(text),
            _ => Err(EngineError::invalid(NOT_STRINGS)),
        })
        .collect::<Result<Vec<String>>>()
        .map(Some)
}

/// What is said of `["a", 1]`.
pub(crate) const NOT_STRINGS: &str = "when using JSON array syntax, arrays must be comprised of strings only";

/// Where the first word ends, in bytes: at a space that is neither quoted nor escaped.
pub(super) fn end_of_word(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, c) if c == escape => {
                chars.next();
            }
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => return index,
            (None, _) => {}
        }
    }
    text.len()
}

/// All words.
pub(super) fn words(text: &str, escape: char) -> Vec<String> {
    let mut rest = text.trim();
    let mut words = Vec::new();
    while !rest.is_empty() {
        let (word, more) = rest.split_at(end_of_word(rest, escape));
        words.push(word.to_owned());
        rest = more.trim_start();
    }
    words
}

/// `a=1 b="2 3"`, or the old form `a everything else`.
pub(super) fn name_values(text: &str, escape: char, keyword: &str) -> Result<Vec<(String, String)>> {
    let words = words(text, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let (name, value) = split_first(text);
        if value.is_empty() {
            return Err(EngineError::invalid(format!("{keyword} must have two arguments")));
        }
        return Ok(vec![(name.to_owned(), value.trim_end().to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(EngineError::invalid(format!("{keyword} names can not be blank"))),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(EngineError::invalid(format!(
                "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
            ))),
        })
        .collect()
}

/// Go's durations: `1h2m3.5s`, `100ms`. At least a millisecond, as the flags of HEALTHCHECK ask.
pub(super) fn nanoseconds(text: &str, flag: &str) -> Result<i64> {
    let bad = |what: &str| EngineError::invalid(format!("time: {what} duration {text:?}"));
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| bad("invalid"))?;
        rest = &rest[digits..];
        if rest.is_empty() {
            return Err(bad("missing unit in"));
        }
        let units =
            [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let named = units.into_iter().find(|(unit, _)| *unit == &rest[..end]);
        let (unit, factor) = named.ok_or_else(|| bad(&format!("unknown unit {:?} in", &rest[..end])))?;
        rest = &rest[unit.len()..];
        total += number * factor;
    }
    if total == 0.0 && !text.is_empty() {
        return Ok(0);
    }
    if !(1e6..9e18).contains(&total) {
        return Err(EngineError::invalid(format!("Interval \"{flag}\" cannot be less than 1ms")));
    }
    // In range, as just checked.
    Ok(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(nanoseconds("1m30s", "x").unwrap(), 90_000_000_000);
        assert_eq!(nanoseconds("1.5s", "x").unwrap(), 1_500_000_000);
        assert_eq!(nanoseconds("0s", "x").unwrap(), 0);
        for (bad, error) in [
            ("5", "time: missing unit in duration \"5\""),
            ("x", "time: invalid duration \"x\""),
            ("1ns", "Interval \"x\" cannot be less than 1ms"),
            ("3y", "time: unknown unit \"y\" in duration \"3y\""),
        ] {
            assert_eq!(nanoseconds(bad, "x").unwrap_err().to_string(), error);
        }
    }
}
