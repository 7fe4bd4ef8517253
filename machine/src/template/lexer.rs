//! The words of a template: text and actions, and the tokens inside an action.

use super::TemplateError;
use serde_json::Value;

/// A piece of the template's text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action { source: String, tokens: Vec<Token> },
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.A.B`; empty for a lone dot. `glued`: directly behind a closing parenthesis.
    Field {
        path: Vec<String>,
        glued: bool,
    },
    /// `$x.A`; the name is empty for `$`.
    Variable {
        name: String,
        path: Vec<String>,
    },
    /// A string, number or boolean.
    Literal(Value),
    /// A keyword or a function.
    Word(String),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// Cuts the template into pieces. Comments are gone, and so is the space that trim markers ask to trim.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let (before, action) = match rest.split_once("{{") {
            Some((before, action)) => (before, Some(action)),
            None => (rest, None),
        };
        let trim_end = action.is_some_and(|action| action.starts_with("- ") || action.starts_with("-\n"));
        let before = if trim_next { before.trim_start() } else { before };
        let before = if trim_end { before.trim_end() } else { before };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some(action) = action else { return Ok(pieces) };
        let action = if trim_end { &action[1..] } else { action };
        let end = end_of_action(action).ok_or_else(|| TemplateError::Unclosed(text.to_owned()))?;
        let (inside, after) = (&action[..end], &action[end + 2..]);
        trim_next = inside.ends_with(" -") || inside.ends_with("\n-");
        let source = inside.strip_suffix('-').filter(|_| trim_next).unwrap_or(inside).trim().to_owned();
        if !(source.starts_with("/*") && source.ends_with("*/")) {
            let tokens = tokens(&source)?;
            pieces.push(Piece::Action { source, tokens });
        }
        rest = after;
    }
}

/// Where `}}` is, outside of strings.
fn end_of_action(action: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in action.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(open) if open == character => quote = None,
            Some(_) => {}
            None if character == '"' || character == '`' => quote = Some(character),
            None if action[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

fn tokens(source: &str) -> Result<Vec<Token>, TemplateError> {
    let unsupported = || TemplateError::Unsupported(source.to_owned());
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' | '\t' | '\n' | '\r' => {
                rest = &rest[1..];
                continue;
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '"' => {
                let length = quoted_length(rest).ok_or_else(unsupported)?;
                // Go's escapes that people use are JSON's.
                let value: String = serde_json::from_str(&rest[..length]).map_err(|_| unsupported())?;
                (Token::Literal(value.into()), length)
            }
            '`' => {
                let length = rest[1..].find('`').ok_or_else(unsupported)? + 2;
                (Token::Literal(rest[1..length - 1].into()), length)
            }
            '.' => {
                let (path, length) = path(rest).ok_or_else(unsupported)?;
                let glued = source.len() > rest.len() && source[..source.len() - rest.len()].ends_with(')');
                (Token::Field { path, glued }, length)
            }
            '$' => {
                let name = identifier(&rest[1..]);
                let after = &rest[1 + name.len()..];
                let (path, length) = if after.starts_with('.') {
                    path(after).ok_or_else(unsupported)?
                } else {
                    (Vec::new(), 0)
                };
                (Token::Variable { name: name.to_owned(), path }, 1 + name.len() + length)
            }
            '-' | '+' | '0'..='9' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
                let length = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
                let number = rest[..length].trim_start_matches('+');
                let value: Value = serde_json::from_str(number).map_err(|_| unsupported())?;
                (Token::Literal(value), length)
            }
            _ => {
                let word = identifier(rest);
                let token = match word {
                    "" => return Err(unsupported()),
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    word => Token::Word(word.to_owned()),
                };
                (token, word.len())
            }
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// `.A.B` as names and its length; `.` is no name.
fn path(text: &str) -> Option<(Vec<String>, usize)> {
    let mut names = Vec::new();
    let mut at = 0;
    while text[at..].starts_with('.') {
        let name = identifier(&text[at + 1..]);
        if name.is_empty() {
            // Only a lone dot has no name.
            return (at == 0 && !text[1..].starts_with('.')).then(|| (Vec::new(), 1));
        }
        names.push(name.to_owned());
        at += 1 + name.len();
    }
    Some((names, at))
}
