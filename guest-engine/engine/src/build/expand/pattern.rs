//! The shell's patterns in `${name#pattern}`, `${name%pattern}` and `${name/pattern/replacement}`: `*`, `?`,
//! `[a-z]` and escapes.

/// The value without what the pattern matches at its start (or end): the shortest match, or the longest.
pub(super) fn without(value: &str, pattern: &str, at_start: bool, longest: bool) -> String {
    let mut ends: Vec<usize> = value.char_indices().map(|(index, _)| index).chain([value.len()]).collect();
    // From the shortest match to the longest.
    if !at_start {
        ends.reverse();
    }
    if longest {
        ends.reverse();
    }
    let cut = ends.into_iter().find(|&end| {
        let (before, after) = value.split_at(end);
        matches(pattern, if at_start { before } else { after })
    });
    match cut {
        Some(end) if at_start => value[end..].to_owned(),
        Some(end) => value[..end].to_owned(),
        None => value.to_owned(),
    }
}

/// The value with the first (or every) longest match replaced.
pub(super) fn replaced(value: &str, pattern: &str, replacement: &str, everywhere: bool) -> String {
    if pattern.is_empty() {
        return value.to_owned();
    }
    let mut result = String::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let ends = rest.char_indices().map(|(index, c)| index + c.len_utf8()).rev();
        match ends.into_iter().find(|&end| matches(pattern, &rest[..end])) {
            Some(end) => {
                result.push_str(replacement);
                rest = &rest[end..];
                if !everywhere {
                    break;
                }
            }
            None => {
                result.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    result.push_str(rest);
    result
}

/// Unlike in paths, `*` and `?` stand for slashes too.
fn matches(pattern: &str, text: &str) -> bool {
    super::super::ignore::glob(pattern, text)
}
