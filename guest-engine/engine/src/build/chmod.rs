//! What `--chmod` says: an octal number, or changes as chmod(1) has them.

use crate::error::{EngineError, Result};

const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const ALL: u32 = 0o777;
const OTHERS: u32 = 0o007;
const EXECUTE: u32 = 0o111;
/// What `+w` without a class leaves out: dockerd's own mask.
const MASK: u32 = 0o022;

/// How modes are changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chmod {
    Octal(u32),
    Changes(Vec<Change>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Bits of the classes that it is for; none when no class is named.
    classes: u32,
    operator: char,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Bits(u32),
    /// `X`
    ExecuteIfAny,
    /// What another class may.
    As(char),
}

impl Chmod {
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Octal).ok_or_else(|| {
                EngineError::invalid(format!(
                    "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                ))
            });
        }
        let changes = text.split(',').map(clause).collect::<Option<Vec<_>>>();
        let changes = changes.map(|changes| Self::Changes(changes.concat()));
        changes.ok_or_else(|| EngineError::invalid(format!("invalid chmod parameter: '{text}'")))
    }

    /// The mode that a file or folder gets which has `mode`.
    pub(super) fn apply(&self, mode: u32, folder: bool) -> u32 {
        let changes = match self {
            Self::Octal(mode) => return *mode,
            Self::Changes(changes) => changes,
        };
        changes.iter().fold(mode, |now, change| {
            let bits = match change.what {
                What::Bits(bits) => bits,
                What::ExecuteIfAny if folder || mode & EXECUTE != 0 => EXECUTE,
                What::ExecuteIfAny => 0,
                What::As(class) => {
                    let shift = match class {
                        'u' => 6,
                        'g' => 3,
                        _ => 0,
                    };
                    (now >> shift & OTHERS) * 0o111
                }
            };
            let bits = match change.classes {
                0 => bits & !MASK,
                classes => bits & (classes | STICKY),
            };
            match (change.operator, change.classes) {
                ('+', _) => now | bits,
                ('-', _) => now & !bits,
                (_, 0) => now & !(SET_ID | ALL) | bits,
                (_, classes) => now & !classes | bits,
            }
        })
    }
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`
fn clause(text: &str) -> Option<Vec<Change>> {
    let start = text.find(['+', '-', '='])?;
    let classes = text[..start].chars().try_fold(0, |classes, class| {
        Some(
            classes
                | match class {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o0007,
                    'a' => SET_ID | ALL,
                    _ => return None,
                },
        )
    })?;
    let only_others = classes != 0 && classes & !OTHERS == 0;
    let mut changes = Vec::new();
    let mut rest = &text[start..];
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
        let (mut bits, mut more) = (0, Vec::new());
        for letter in rest[1..end].chars() {
            match letter {
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= EXECUTE,
                's' if only_others => {}
                's' => bits |= SET_ID,
                't' if only_others => {}
                't' => bits |= STICKY,
                // Without a meaning elsewhere.
                'X' if operator == '+' => more.push(What::ExecuteIfAny),
                'X' => {}
                'u' | 'g' | 'o' => more.push(What::As(letter)),
                _ => return None,
            }
        }
        if bits != 0 || (operator == '=' && more.is_empty()) {
            changes.push(Change { classes, operator, what: What::Bits(bits) });
        }
        // What one operator gives from several sources comes together.
        let operator = if operator == '=' && bits != 0 { '+' } else { operator };
        changes.extend(more.into_iter().map(|what| Change { classes, operator, what }));
        rest = &rest[end..];
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_with_chmod() {
        for (text, mode, folder, expected) in [
            ("755", 0o600, false, 0o755),
            ("4755", 0o600, false, 0o4755),
            ("0", 0o644, false, 0),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("+w", 0o444, false, 0o644),
            ("a+w", 0o444, false, 0o666),
            ("go-w", 0o777, false, 0o755),
            ("go=", 0o755, false, 0o700),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("a+rX", 0o640, false, 0o644),
            ("a+rX", 0o700, false, 0o755),
            ("a+rX", 0o600, true, 0o755),
            ("g=u", 0o640, false, 0o660),
            ("go=u-w", 0o750, false, 0o755),
            ("u=u", 0o750, false, 0o750),
            ("o+g", 0o750, false, 0o755),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("=rw,+X", 0o711, false, 0o755),
            ("u=rwx,go=rx", 0o4600, false, 0o755),
        ] {
            let chmod = Chmod::parse(text).unwrap();
            assert_eq!(format!("{:o}", chmod.apply(mode, folder)), format!("{expected:o}"), "{text}");
        }
        for text in ["", "8", "99999", "17777", "rwx", "z+x", "u+q", "u", "u+x,", "+x g", "0x1"] {
            assert!(
                Chmod::parse(text).unwrap_err().to_string().contains("invalid chmod parameter"),
                "{text}"
            );
        }
    }
}
