//! `.dockerignore`: Go's path patterns, `**`, and exceptions with `!`, of which the last match decides.
//!
//! Clients leave ignored files out of the context themselves; what remains for us are the Dockerfile and the
//! ignore file, which they must send and which are not to be copied when a pattern names them.

/// The patterns of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignore {
    patterns: Vec<(bool, Vec<String>)>,
}

impl Ignore {
    pub(crate) fn parse(text: &str) -> Self {
        let mut patterns = Vec::new();
        for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (exception, line) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let mut segments: Vec<String> = Vec::new();
            for segment in line.split('/') {
                match segment {
                    "" | "." => {}
                    ".." => drop(segments.pop()),
                    segment => segments.push(segment.to_owned()),
                }
            }
            if !segments.is_empty() {
                patterns.push((exception, segments));
            }
        }
        Self { patterns }
    }

    pub(crate) fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|(exception, _)| *exception)
    }

    /// Whether the file, or a folder that it is in, is left out.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut ignored = false;
        for (exception, pattern) in &self.patterns {
            if *exception == ignored && (1..=parts.len()).any(|end| segments_match(pattern, &parts[..end])) {
                ignored = !exception;
            }
        }
        ignored
    }
}

fn segments_match(pattern: &[String], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([first, rest @ ..], path) if first == "**" => {
            // At the end, everything below; elsewhere any number of folders.
            (rest.is_empty() && !path.is_empty())
                || (0..=path.len()).any(|skip| !rest.is_empty() && segments_match(rest, &path[skip..]))
        }
        ([first, rest @ ..], [part, more @ ..]) => glob(first, part) && segments_match(rest, more),
        _ => false,
    }
}

/// Go's `filepath.Match` within one path segment: `*`, `?`, `[a-z]`, `[^a]`, `\x`. A pattern that is
/// malformed matches nothing.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and how much it has taken: linear, not exponential.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            None => None,
            Some(_) => text.get(t).and_then(|c| one(&pattern[p..], *c)),
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((at, taken))) if taken < text.len() => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            (None, _) => return false,
        }
    }
}

/// How many characters of the pattern stand for `c`, if they do.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '\\' => (pattern.get(1)? == &c).then_some(2),
        '[' => {
            let negated = pattern.get(1) == Some(&'^');
            let mut at = 1 + usize::from(negated);
            let start = at;
            let mut found = false;
            while pattern.get(at)? != &']' || at == start {
                let mut take = || {
                    let escaped = pattern.get(at) == Some(&'\\');
                    at += usize::from(escaped);
                    let taken = pattern.get(at).copied();
                    at += 1;
                    taken
                };
                let low = take()?;
                let high = if pattern.get(at) == Some(&'-') && pattern.get(at + 1) != Some(&']') {
                    at += 1;
                    let high = *pattern.get(at)?;
                    at += 1;
                    high
                } else {
                    low
                };
                found |= (low..=high).contains(&c);
            }
            (found != negated).then_some(at + 1)
        }
        plain => (*plain == c).then_some(1),
    }
}

/// Whether a source path has wildcards.
pub(crate) fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_match_as_in_go() {
        for (pattern, text, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", ".txt", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xaxx", false),
            ("[", "[", false),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_last_match_decides_and_patterns_start_at_the_root() {
        let ignore = Ignore::parse("# c\n*.log\n/target/\n**/tmp\n!keep.log\ndocs/**\nDockerfile\n");
        for (path, expected) in [
            ("a.log", true),
            ("sub/a.log", false),
            ("keep.log", false),
            ("target/x/y", true),
            ("a/b/tmp/c", true),
            ("tmp", true),
            ("docs/a", true),
            ("docs", false),
            ("Dockerfile", true),
            ("src", false),
        ] {
            assert_eq!(ignore.matches(path), expected, "{path}");
        }
    }
}
