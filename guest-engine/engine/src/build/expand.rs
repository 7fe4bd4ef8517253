//! Words of a Dockerfile: quotes taken off and variables replaced, by the rules of the classic builder.

mod pattern;

/// Where values come from.
pub(crate) trait Lookup {
    /// The value of a variable; `None` when it is not set.
    fn get(&self, name: &str) -> Option<String>;
}

impl Lookup for [(String, String)] {
    fn get(&self, name: &str) -> Option<String> {
        self.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
}

const UNCLOSED: &str = "syntax error: missing '}'";
/// Nested `${a:-${b:-…}}`.
const DEPTH: usize = 32;

/// One word with its variables replaced.
pub(crate) fn word(text: &str, escape: char, env: &(impl Lookup + ?Sized)) -> Result<String, String> {
    Expander { escape, ..Expander::new(text, env) }.until(None)
}

/// A command as the title of its step: what is known of its variables put in, its quotes left on.
pub(crate) fn shown(text: &str, escape: char, env: &(impl Lookup + ?Sized)) -> Result<String, String> {
    Expander { escape, shown: true, ..Expander::new(text, env) }.until(None)
}

/// Variables replaced and quotes left alone: what happens to a here-document. Whatever character escapes in
/// its Dockerfile, here it is the backslash, before any character.
pub(crate) fn document(text: &str, env: &(impl Lookup + ?Sized)) -> Result<String, String> {
    Expander { raw: true, ..Expander::new(text, env) }.until(None)
}

/// The words that a word becomes once its variables are replaced.
pub(crate) fn words(text: &str, escape: char, env: &(impl Lookup + ?Sized)) -> Result<Vec<String>, String> {
    let expanded = word(text, escape, env)?;
    Ok(expanded.split_whitespace().map(str::to_owned).collect())
}

struct Expander<'a, L: Lookup + ?Sized> {
    rest: Vec<char>,
    at: usize,
    escape: char,
    env: &'a L,
    depth: usize,
    /// Quotes are nothing special.
    raw: bool,
    /// Quotes stay, and variables that are not set.
    shown: bool,
}

impl<'a, L: Lookup + ?Sized> Expander<'a, L> {
    fn new(text: &str, env: &'a L) -> Self {
        let rest = text.chars().collect();
        Self { rest, at: 0, escape: '\\', env, depth: 0, raw: false, shown: false }
    }

    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// Up to `end`, which is taken, or the end of the text.
    fn until(&mut self, end: Option<char>) -> Result<String, String> {
        let mut result = String::new();
        loop {
            let Some(c) = self.next() else {
                return match end {
                    Some(end) => Err(format!("unexpected end of statement while looking for matching {end}")),
                    None => Ok(result),
                };
            };
            match c {
                c if Some(c) == end => return Ok(result),
                '$' => result.push_str(&self.dollar()?),
                quote @ ('\'' | '"') if !self.raw => {
                    result.extend(self.shown.then_some(quote));
                    match quote {
                        '"' => self.double(&mut result)?,
                        _ => self.single(&mut result)?,
                    }
                    result.extend(self.shown.then_some(quote));
                }
                c if c == self.escape => match self.next() {
                    Some(next) => result.push(next),
                    None => result.push(c),
                },
                c => result.push(c),
            }
        }
    }

    fn single(&mut self, result: &mut String) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => result.push(c),
                None => {
                    return Err("unexpected end of statement while looking for matching single-quote".into());
                }
            }
        }
    }

    fn double(&mut self, result: &mut String) -> Result<(), String> {
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('$') => result.push_str(&self.dollar()?),
                Some(c) if c == self.escape => match self.next() {
                    Some(next) if matches!(next, '"' | '$') || next == self.escape => result.push(next),
                    Some(next) => result.extend([c, next]),
                    None => result.push(c),
                },
                Some(c) => result.push(c),
                None => {
                    return Err("unexpected end of statement while looking for matching double-quote".into());
                }
            }
        }
    }

    /// What stands for a variable, behind its `$`.
    fn dollar(&mut self) -> Result<String, String> {
        let start = self.at;
        let name = self.rest[start..].iter().skip_while(|c| **c == '{').copied();
        let unset = self.shown && {
            let name = Expander { rest: name.collect(), ..Expander::new("", self.env) }.name();
            self.env.get(&name).is_none()
        };
        let value = self.value()?;
        Ok(match unset {
            true => ['$'].iter().chain(&self.rest[start..self.at]).collect(),
            false => value,
        })
    }

    fn value(&mut self) -> Result<String, String> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                self.env.get(&name).unwrap_or_default()
            });
        }
        self.next();
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("too many nested substitutions".into());
        }
        match self.peek() {
            None => return Err(UNCLOSED.into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        let value = self.env.get(&name);
        let result = match self.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => match self.next() {
                Some(operator @ ('-' | '+' | '?')) => {
                    let set = value.is_some();
                    self.modified(&name, value.filter(|value| !value.is_empty()), operator, set)
                }
                Some(other) => Err(format!("unsupported modifier (:{other}) in substitution")),
                None => Err(UNCLOSED.into()),
            },
            Some(operator @ ('-' | '+' | '?')) => self.modified(&name, value, operator, false),
            Some(side @ ('#' | '%')) => {
                let longest = self.peek() == Some(side);
                self.at += usize::from(longest);
                let pattern = self.pattern('}')?;
                let value = value.unwrap_or_default();
                Ok(pattern::without(&value, &pattern, side == '#', longest))
            }
            Some('/') => {
                let everywhere = self.peek() == Some('/');
                self.at += usize::from(everywhere);
                let pattern = self.pattern('/')?;
                let replacement = self.plain_until('}')?;
                Ok(pattern::replaced(&value.unwrap_or_default(), &pattern, &replacement, everywhere))
            }
            Some(other) => Err(format!("unsupported modifier ({other}) in substitution")),
            None => Err(UNCLOSED.into()),
        };
        self.depth -= 1;
        result
    }

    fn modified(
        &mut self,
        name: &str,
        value: Option<String>,
        operator: char,
        set: bool,
    ) -> Result<String, String> {
        let word = self.plain_until('}')?;
        match (operator, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) if !word.is_empty() => Err(format!("{name}: {word}")),
            (_, None) if set => Err(format!("{name}: is not allowed to be empty")),
            (_, None) => Err(format!("{name}: is not allowed to be unset")),
        }
    }

    fn plain_until(&mut self, end: char) -> Result<String, String> {
        let raw = std::mem::replace(&mut self.raw, false);
        let word = self.until(Some(end));
        self.raw = raw;
        word
    }

    /// A pattern keeps its escapes: `\\*` is a star.
    fn pattern(&mut self, end: char) -> Result<String, String> {
        let mut pattern = String::new();
        loop {
            match self.next() {
                None => return Err(format!("unexpected end of statement while looking for matching {end}")),
                Some(c) if c == end => return Ok(pattern),
                Some('$') => pattern.push_str(&self.dollar()?),
                Some(c) if c == self.escape => {
                    let next = self.next();
                    if next != Some('/') {
                        pattern.push('\\');
                    }
                    pattern.extend(next);
                }
                Some(c) => pattern.push(c),
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let fits = c == '_' || c.is_alphanumeric();
            // Parameters of the shell itself: never set here.
            if name.is_empty() && c.is_ascii_digit() {
                while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
                    name.push(digit);
                    self.next();
                }
                return name;
            }
            if name.is_empty() && matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.next();
                return c.to_string();
            }
            if !fits {
                break;
            }
            name.push(c);
            self.next();
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_the_shells_rules() {
        let env = [("A", "1"), ("EMPTY", ""), ("L", "80 443"), ("P", "a/b/c.tar")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expand = |text: &str| word(text, '\\', env.as_slice()).unwrap();
        for (text, expected) in [
            ("x$A/${A}y", "x1/1y"),
            ("$NO-${NO}", "-"),
            ("${NO:-d$A}", "d1"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:+yes}${NO:+no}", "yes"),
            ("'$A'", "$A"),
            ("\"$A b\"", "1 b"),
            ("\\$A", "$A"),
            ("\"\\$A\\n\"", "$A\\n"),
            ("a\\ b", "a b"),
            ("$ a$", "$ a$"),
            ("$$x $? $- $10x", "x   x"),
            ("${NO:-${EMPTY:-deep}}", "deep"),
            ("${P#*/} ${P##*/} ${P%/*} ${P%%/*} ${P#x}", "b/c.tar c.tar a/b a a/b/c.tar"),
            ("${P/a/x} ${P//[\\/]/-} ${P//?.tar/} ${P//\\//.}", "x/b/c.tar a-b-c.tar a/b/ a.b.c.tar"),
        ] {
            assert_eq!(expand(text), expected, "{text}");
        }
        for (text, expected) in [
            ("RUN echo \"$A\" '$A' $NO ${NO:-x} $", "RUN echo \"1\" '$A' $NO ${NO:-x} $"),
            ("RUN ${A:+a \"b\"} ${EMPTY}", "RUN a \"b\" "),
        ] {
            assert_eq!(shown(text, '\\', env.as_slice()).unwrap(), expected);
        }
        assert_eq!(words("$L 22", '\\', env.as_slice()).unwrap(), ["80", "443", "22"]);
        assert_eq!(document("it's $A \\$A \\n \"x\"\n", env.as_slice()).unwrap(), "it's 1 $A n \"x\"\n");
        for (text, error) in [
            ("${NO:?give it}", "NO: give it"),
            ("${A,x}", "unsupported modifier (,) in substitution"),
            ("${A:=x}", "unsupported modifier (:=) in substitution"),
            ("${", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("'x", "unexpected end of statement while looking for matching single-quote"),
        ] {
            assert_eq!(word(text, '\\', env.as_slice()).unwrap_err(), error);
        }
    }
}
