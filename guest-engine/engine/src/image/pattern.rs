//! Patterns of names, as Go's `path.Match` reads them: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]`
//! are classes, a backslash takes the meaning from what follows.

/// A pattern that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub(super) struct BadPattern;

/// Ready to be matched.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// What is between stars: the first stands at the beginning, the last at the end.
    pieces: Vec<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Is(char),
    Any,
    Class { not: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut pieces = vec![Vec::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let part = match character {
                '*' => {
                    pieces.push(Vec::new());
                    continue;
                }
                '?' => Part::Any,
                '[' => class(&mut characters)?,
                '\\' => Part::Is(characters.next().ok_or(BadPattern)?),
                other => Part::Is(other),
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(part);
            }
        }
        Ok(Self { pieces })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let mut at = 0;
        let last = self.pieces.len() - 1;
        for (number, piece) in self.pieces.iter().enumerate() {
            // What a star takes reaches to the next slash; the first place that fits leaves most to the rest.
            let reach = match number {
                0 => 0,
                _ => text[at..].iter().position(|&c| c == '/').unwrap_or(text.len() - at),
            };
            let fits = |start: &usize| {
                let rest = &text[*start..];
                let ends = number < last || rest.len() == piece.len();
                ends && rest.len() >= piece.len() && piece.iter().zip(rest).all(|(part, c)| part.takes(*c))
            };
            match (at..=at + reach).find(fits) {
                Some(start) => at = start + piece.len(),
                None => return false,
            }
        }
        true
    }
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Is(wanted) => *wanted == character,
            Self::Any => character != '/',
            Self::Class { not, ranges } => {
                ranges.iter().any(|(low, high)| (low..=high).contains(&&character)) != *not
            }
        }
    }
}

/// Behind its opening bracket.
fn class(characters: &mut std::str::Chars<'_>) -> Result<Part, BadPattern> {
    let mut ranges = Vec::new();
    let not = characters.as_str().starts_with('^');
    if not {
        characters.next();
    }
    loop {
        if !ranges.is_empty() && characters.as_str().starts_with(']') {
            characters.next();
            return Ok(Part::Class { not, ranges });
        }
        let low = class_character(characters)?;
        let high = if characters.as_str().starts_with('-') {
            characters.next();
            class_character(characters)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn class_character(characters: &mut std::str::Chars<'_>) -> Result<char, BadPattern> {
    match characters.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => characters.next().ok_or(BadPattern),
        Some(other) => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_matches() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*x", "xxx", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(text), expected, "{pattern} {text}");
        }
        for bad in ["[", "[]a]", "[a", "[^", "[a-]", "[-x]", "a[", "\\"] {
            assert_eq!(Pattern::parse(bad).unwrap_err(), BadPattern, "{bad}");
        }
    }
}
