//! From tokens to a tree. Functions and variables are checked here, so that a wrong template fails before
//! anything is printed.

use super::{
    TemplateError, functions,
    lexer::{self, Piece, Token},
};
use serde_json::Value;
use std::{iter::Peekable, vec::IntoIter};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `$x := …` and `$x = …`.
    Set {
        variable: String,
        declare: bool,
        value: Pipeline,
    },
    If {
        condition: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
    With {
        variable: Option<String>,
        value: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Range {
        key: Option<String>,
        item: Option<String>,
        over: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

/// Calls, each of which gets the result of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) calls: Vec<Call>,
}

/// A value, or a function with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Value(Operand),
    Function { name: String, arguments: Vec<Operand> },
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Field(Vec<String>),
    Variable {
        name: String,
        path: Vec<String>,
    },
    Literal(Value),
    Nested {
        pipeline: Pipeline,
        path: Vec<String>,
    },
    /// A function without arguments as an argument.
    Word(String),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser =
        Parser { whole: text, pieces: lexer::pieces(text)?.into_iter(), variables: vec![String::new()] };
    let (nodes, end) = parser.nodes()?;
    match end {
        Stop::Text => Ok(nodes),
        Stop::End => Err(TemplateError::Unexpected("end".to_owned())),
        Stop::Else(_) => Err(TemplateError::Unexpected("else".to_owned())),
    }
}

struct Parser<'a> {
    whole: &'a str,
    pieces: IntoIter<Piece>,
    /// Those in scope.
    variables: Vec<String>,
}

/// What ended a list of nodes.
enum Stop {
    Text,
    End,
    /// What follows the word: nothing, or `if …` or `with …`.
    Else(Option<Action>),
}

struct Action {
    source: String,
    tokens: Vec<Token>,
}

impl Parser<'_> {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (source, mut tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { source, tokens } => (source, tokens),
            };
            match tokens.first() {
                Some(Token::Word(word)) if word == "end" && tokens.len() == 1 => {
                    return Ok((nodes, Stop::End));
                }
                Some(Token::Word(word)) if word == "else" => {
                    tokens.remove(0);
                    let rest = (!tokens.is_empty()).then_some(Action { source, tokens });
                    return Ok((nodes, Stop::Else(rest)));
                }
                _ => nodes.push(self.action(Action { source, tokens })?),
            }
        }
        Ok((nodes, Stop::Text))
    }

    fn action(&mut self, action: Action) -> Result<Node, TemplateError> {
        let Action { source, mut tokens } = action;
        let keyword = match tokens.first() {
            Some(Token::Word(word)) if ["if", "with", "range"].contains(&word.as_str()) => word.clone(),
            Some(Token::Word(word))
                if ["define", "template", "block", "break", "continue"].contains(&word.as_str()) =>
            {
                return Err(TemplateError::Unsupported(source));
            }
            _ => return self.plain(&source, tokens),
        };
        tokens.remove(0);
        let outer = self.variables.len();
        let (names, value) = self.declaration(&source, tokens)?;
        let node = self.block(&source, &keyword, names, value)?;
        self.variables.truncate(outer);
        Ok(node)
    }

    fn block(
        &mut self,
        source: &str,
        keyword: &str,
        mut names: Vec<String>,
        value: Pipeline,
    ) -> Result<Node, TemplateError> {
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            Stop::Text => return Err(TemplateError::Unclosed(self.whole.to_owned())),
            Stop::End => Vec::new(),
            // `{{else if}}` is a block of its own, closed by the same `{{end}}`.
            Stop::Else(Some(action)) => vec![self.action(action)?],
            Stop::Else(None) => match self.nodes()? {
                (nodes, Stop::End) => nodes,
                (_, Stop::Text) => return Err(TemplateError::Unclosed(self.whole.to_owned())),
                (_, Stop::Else(_)) => return Err(TemplateError::Unexpected("else".to_owned())),
            },
        };
        let most = if keyword == "range" { 2 } else { 1 };
        if names.len() > most || (keyword == "if" && !names.is_empty()) {
            return Err(TemplateError::Unsupported(source.to_owned()));
        }
        let item = names.pop();
        Ok(match keyword {
            "if" => Node::If { condition: value, body, otherwise },
            "with" => Node::With { variable: item, value, body, otherwise },
            _ => Node::Range { key: names.pop(), item, over: value, body, otherwise },
        })
    }

    fn plain(&mut self, source: &str, tokens: Vec<Token>) -> Result<Node, TemplateError> {
        let assigns = matches!(tokens.get(1), Some(Token::Assign));
        if assigns && let Some(Token::Variable { name, path }) = tokens.first() {
            self.known(name)?;
            if !path.is_empty() {
                return Err(TemplateError::Unsupported(source.to_owned()));
            }
            let value = self.pipeline(source, tokens[2..].to_vec())?;
            return Ok(Node::Set { variable: name.clone(), declare: false, value });
        }
        let (mut names, value) = self.declaration(source, tokens)?;
        match (names.pop(), names.is_empty()) {
            (None, _) => Ok(Node::Print(value)),
            (Some(variable), true) => Ok(Node::Set { variable, declare: true, value }),
            (Some(_), false) => Err(TemplateError::Unsupported(source.to_owned())),
        }
    }

    /// `$a, $b := pipeline`, or a pipeline alone.
    fn declaration(
        &mut self,
        source: &str,
        tokens: Vec<Token>,
    ) -> Result<(Vec<String>, Pipeline), TemplateError> {
        let Some(at) = tokens.iter().position(|token| *token == Token::Declare) else {
            return Ok((Vec::new(), self.pipeline(source, tokens)?));
        };
        let mut names = Vec::new();
        for (number, token) in tokens[..at].iter().enumerate() {
            match token {
                Token::Variable { name, path } if path.is_empty() && !name.is_empty() => {
                    names.push(name.clone());
                }
                Token::Comma if number % 2 == 1 => {}
                _ => return Err(TemplateError::Unsupported(source.to_owned())),
            }
        }
        let value = self.pipeline(source, tokens[at + 1..].to_vec())?;
        self.variables.extend(names.iter().cloned());
        Ok((names, value))
    }

    fn pipeline(&self, source: &str, tokens: Vec<Token>) -> Result<Pipeline, TemplateError> {
        let mut tokens = tokens.into_iter().peekable();
        let pipeline = self.calls(source, &mut tokens)?;
        match tokens.next() {
            None => Ok(pipeline),
            Some(_) => Err(TemplateError::Unsupported(source.to_owned())),
        }
    }

    fn calls(&self, source: &str, tokens: &mut Peekable<IntoIter<Token>>) -> Result<Pipeline, TemplateError> {
        let unsupported = || TemplateError::Unsupported(source.to_owned());
        let mut calls = Vec::new();
        loop {
            let mut operands = Vec::new();
            while let Some(token) = tokens.next_if(|token| !matches!(token, Token::Pipe | Token::Close)) {
                operands.push(self.operand(source, token, tokens)?);
            }
            if operands.is_empty() {
                return Err(unsupported());
            }
            let call = match operands.remove(0) {
                Operand::Word(name) => Call::Function { name, arguments: operands },
                // Only a function takes arguments, and so only a function can follow a pipe.
                value if operands.is_empty() && calls.is_empty() => Call::Value(value),
                _ => return Err(unsupported()),
            };
            calls.push(call);
            if tokens.next_if_eq(&Token::Pipe).is_none() {
                return Ok(Pipeline { calls });
            }
        }
    }

    fn operand(
        &self,
        source: &str,
        token: Token,
        tokens: &mut Peekable<IntoIter<Token>>,
    ) -> Result<Operand, TemplateError> {
        Ok(match token {
            Token::Field { path, .. } => Operand::Field(path),
            Token::Variable { name, path } => {
                self.known(&name)?;
                Operand::Variable { name, path }
            }
            Token::Literal(value) => Operand::Literal(value),
            Token::Word(name) if functions::is_known(&name) => Operand::Word(name),
            Token::Word(name) => return Err(TemplateError::UnknownFunction(name)),
            Token::Open => {
                let pipeline = self.calls(source, tokens)?;
                if tokens.next() != Some(Token::Close) {
                    return Err(TemplateError::Unsupported(source.to_owned()));
                }
                let path = match tokens.next_if(|token| matches!(token, Token::Field { glued: true, .. })) {
                    Some(Token::Field { path, .. }) => path,
                    _ => Vec::new(),
                };
                Operand::Nested { pipeline, path }
            }
            _ => return Err(TemplateError::Unsupported(source.to_owned())),
        })
    }

    fn known(&self, name: &str) -> Result<(), TemplateError> {
        if self.variables.iter().any(|variable| variable == name) {
            return Ok(());
        }
        Err(TemplateError::UnknownVariable(format!("${name}")))
    }
}
