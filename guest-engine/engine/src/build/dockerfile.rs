//! From a Dockerfile's text to logical lines: directives, comments, continuations, here-documents.
//!
//! The reading is the classic builder's own: a logical line is what is left of its physical lines without
//! continuation marks, comments and empty lines in between; it is also what `Step 1/4 : …` shows.

use crate::error::{EngineError, Result};

/// Lines of one Dockerfile, and bytes of one logical line: far above real ones.
const LINES: usize = 100_000;
const LENGTH: usize = 4 << 20;

/// One logical line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where it begins, from 1.
    pub number: usize,
    /// Its last line.
    pub end: usize,
    /// The line as users wrote it, in one piece.
    pub text: String,
    /// Lines of nothing stand between those that it goes on in.
    pub gaps: bool,
    pub heredocs: Vec<Heredoc>,
}

/// `<<EOF` and what follows up to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heredoc {
    pub name: String,
    pub content: String,
    /// Variables in it are replaced: its name was not quoted.
    pub expand: bool,
}

impl Heredoc {
    /// What stands below the line that announces it.
    pub(crate) fn lines(&self) -> String {
        format!("\n{}{}", self.content, self.name)
    }

    /// Its first line, for the title of a step.
    pub(crate) fn summary(&self) -> String {
        let text = self.content.trim();
        match text.split_once('\n') {
            Some((first, _)) => format!("{}...", first.trim_end_matches('\r')),
            None => text.to_owned(),
        }
    }
}

/// A Dockerfile in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    pub lines: Vec<Line>,
    /// The escape character: `\` or, by a directive, a backquote.
    pub escape: char,
    /// The frontend that the first line asks for.
    pub syntax: Option<String>,
    /// What it says of its own checks.
    pub check: Option<String>,
}

/// Fails at a line, as dockerd says it.
pub(crate) fn at_line(number: usize, what: impl std::fmt::Display) -> EngineError {
    EngineError::invalid(format!("dockerfile parse error on line {number}: {what}"))
}

impl Dockerfile {
    /// Reads a whole Dockerfile, or the instructions of an image's trigger.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Directives { escape, syntax, check } = directives(text)?;
        let mut lines = Vec::new();
        let mut physical = text.lines().enumerate().take(LINES);
        while let Some((index, first)) = physical.next() {
            let number = index + 1;
            if is_comment(first) || first.trim().is_empty() {
                continue;
            }
            let (mut logical, mut goes_on) = continued(first.trim_start(), escape);
            let (mut end, mut gaps) = (number, false);
            while goes_on {
                let Some((index, next)) = physical.next() else { break };
                end = index + 1;
                if is_comment(next) {
                    continue;
                }
                if next.trim().is_empty() {
                    gaps = true;
                    continue;
                }
                let (more, on) = continued(next, escape);
                logical.push_str(&more);
                goes_on = on;
                if logical.len() > LENGTH {
                    return Err(at_line(number, "the instruction is too long"));
                }
            }
            let logical = logical.trim_end().to_owned();
            let mut heredocs =
                if takes_heredocs(&logical) { announced(&logical, escape) } else { Vec::new() };
            for (heredoc, strip_tabs) in &mut heredocs {
                let mut ended = false;
                for (index, line) in physical.by_ref() {
                    end = index + 1;
                    let line = if *strip_tabs { line.trim_start_matches('\t') } else { line };
                    if line == heredoc.name {
                        ended = true;
                        break;
                    }
                    heredoc.content.push_str(line);
                    heredoc.content.push('\n');
                }
                if !ended {
                    return Err(at_line(number, "unterminated heredoc"));
                }
            }
            let heredocs = heredocs.into_iter().map(|(heredoc, _)| heredoc).collect();
            lines.push(Line { number, end, text: logical, gaps, heredocs });
        }
        if text.lines().nth(LINES).is_some() {
            return Err(EngineError::invalid(format!("the Dockerfile has more than {LINES} lines")));
        }
        Ok(Self { lines, escape, syntax, check })
    }
}

struct Directives {
    escape: char,
    syntax: Option<String>,
    check: Option<String>,
}

/// `# escape=`, `# syntax=` and `# check=` at the very top: up to the first line that is none of them.
fn directives(text: &str) -> Result<Directives> {
    let (mut escape, mut syntax, mut check) = (None, None, None);
    for line in text.lines() {
        let Some(comment) = line.trim().strip_prefix('#') else { break };
        let Some((key, value)) = comment.split_once('=') else { break };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let place = match key.as_str() {
            "escape" => &mut escape,
            "syntax" => &mut syntax,
            "check" => &mut check,
            _ => break,
        };
        if value.is_empty() {
            break;
        }
        if place.replace(value).is_some() {
            return Err(EngineError::invalid(format!("only one {key} parser directive can be used")));
        }
    }
    let escape = match escape {
        None | Some("\\") => '\\',
        Some("`") => '`',
        Some(other) => {
            return Err(EngineError::invalid(format!(
                "invalid escape token '{other}' does not match ` or \\"
            )));
        }
    };
    Ok(Directives { escape, syntax: syntax.map(str::to_owned), check: check.map(str::to_owned) })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The line without its continuation mark, and whether it had one: an escape that is escaped is none.
fn continued(line: &str, escape: char) -> (String, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest.to_owned(), true),
        _ => (line.to_owned(), false),
    }
}

fn takes_heredocs(line: &str) -> bool {
    let mut words = line.split_whitespace().map(str::to_ascii_uppercase);
    let mut first = words.next().unwrap_or_default();
    if first == "ONBUILD" {
        first = words.next().unwrap_or_default();
    }
    matches!(first.as_str(), "ADD" | "COPY" | "RUN")
}

/// Words outside quotes that begin with `<<` (also behind a file descriptor's number).
fn announced(line: &str, escape: char) -> Vec<(Heredoc, bool)> {
    let mut found = Vec::new();
    let mut quote = None;
    let mut chars = line.char_indices().peekable();
    let mut at_word = true;
    while let Some((start, c)) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, c) if c == escape => {
                chars.next();
            }
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '<') if at_word && line[start..].starts_with("<<") => {
                let rest = &line[start + 2..];
                let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
                let word: &str = rest.split_whitespace().next().unwrap_or_default();
                let starts_there = rest.starts_with(word);
                let name: String = word.chars().filter(|c| !matches!(c, '\'' | '"')).collect();
                let plain = !name.is_empty() && !name.contains(['<', '>', '|', ';', '&', '(', ')', '$']);
                if starts_there && plain {
                    let expand = name.len() == word.len();
                    found.push((Heredoc { name, content: String::new(), expand }, strip_tabs));
                }
                let end = start + line[start..].find(char::is_whitespace).unwrap_or(line.len() - start);
                while chars.next_if(|(index, _)| *index < end).is_some() {}
            }
            _ => {}
        }
        at_word = c.is_whitespace() || (at_word && c.is_ascii_digit());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(dockerfile: &str) -> Vec<String> {
        Dockerfile::parse(dockerfile).unwrap().lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_joined_and_comments_left_out() {
        let dockerfile = "# hi\nFROM a\n\n  RUN x && \\\n# no\n\n    y \\  \n z\nCMD [\"a\"]\n";
        assert_eq!(texts(dockerfile), ["FROM a", "RUN x &&     y  z", "CMD [\"a\"]"]);
    }

    #[test]
    fn the_escape_character_can_be_another() {
        let parsed = Dockerfile::parse("# escape=`\nRUN dir `\n c:\\\n").unwrap();
        assert_eq!((parsed.escape, parsed.lines[0].text.as_str()), ('`', "RUN dir  c:\\"));
        assert!(Dockerfile::parse("# escape=x\nFROM a").is_err());
    }

    #[test]
    fn directives_end_at_what_is_none() {
        let parsed = Dockerfile::parse("# Check=skip=all\n# other=1\n# escape=`\nRUN a \\\n b\n").unwrap();
        assert_eq!((parsed.escape, parsed.lines[0].text.as_str()), ('\\', "RUN a  b"));
        assert_eq!(parsed.check.as_deref(), Some("skip=all"));
        let twice = Dockerfile::parse("# syntax=a\n# syntax=b\nFROM a").unwrap_err().to_string();
        assert_eq!(twice, "only one syntax parser directive can be used");
    }

    #[test]
    fn an_escaped_escape_at_the_end_of_a_line_ends_it() {
        assert_eq!(texts("RUN a \\\\\nRUN b \\\n c"), ["RUN a \\\\", "RUN b  c"]);
    }

    #[test]
    fn empty_lines_in_an_instruction_are_noticed() {
        let lines = Dockerfile::parse("RUN a \\\n# b\n c\nRUN a \\\n\n b").unwrap().lines;
        assert_eq!([lines[0].gaps, lines[1].gaps], [false, true]);
    }

    #[test]
    fn here_documents_end_at_their_names() {
        let text =
            "RUN <<EOF\n# stays\necho \\\nx\nEOF\nCOPY <<'A' <<-B /d/\n$x\nA\n\ty\n\tB\nRUN echo \"<<C\"\n";
        let lines = Dockerfile::parse(text).unwrap().lines;
        assert_eq!(lines[0].heredocs[0].content, "# stays\necho \\\nx\n");
        let two = &lines[1].heredocs;
        assert_eq!((two[0].expand, two[0].content.as_str()), (false, "$x\n"));
        assert_eq!((two[1].expand, two[1].content.as_str()), (true, "y\n"));
        assert!(lines[2].heredocs.is_empty());
        let cut = Dockerfile::parse("FROM a\nRUN <<EOF\nx").unwrap_err().to_string();
        assert_eq!(cut, "dockerfile parse error on line 2: unterminated heredoc");
    }
}
