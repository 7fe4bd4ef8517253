//! Filters over the build cache in the small language that BuildKit's clients send: `type==regular,shared`.

use super::usage::Usage;
use crate::error::{EngineError, Result};
use regex::Regex;

/// Entries to which all of its tests apply.
#[derive(Clone, Debug)]
pub struct UsageFilter(Vec<Test>);

#[derive(Clone, Debug)]
struct Test {
    field: String,
    is: Is,
}

#[derive(Clone, Debug)]
enum Is {
    There,
    Equal(String),
    Unequal(String),
    Like(Regex),
}

impl UsageFilter {
    pub fn parse(text: &str) -> Result<Self> {
        text.split(',').map(|test| Test::parse(test.trim())).collect::<Result<_>>().map(Self)
    }

    /// Whether one of them matches, or there is none.
    pub(super) fn any(filters: &[Self], usage: &Usage) -> bool {
        filters.is_empty() || filters.iter().any(|filter| filter.matches(usage))
    }

    fn matches(&self, usage: &Usage) -> bool {
        self.0.iter().all(|test| test.matches(usage))
    }
}

impl Test {
    fn parse(text: &str) -> Result<Self> {
        let bad = |what: &str| EngineError::invalid(format!("filters: parse error: [{text}]: {what}"));
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let (field, rest) = text.split_at(end);
        let value = |rest: &str| rest.trim_matches('"').to_owned();
        let is = match (rest.get(..2), rest.get(2..)) {
            _ if field.is_empty() => return Err(bad("expected field or quoted")),
            _ if rest.is_empty() => Is::There,
            (Some(_), Some(more)) if more.starts_with(['=', '~', '!']) => {
                return Err(bad(&format!("unsupported operator {:?}", &rest[..3])));
            }
            (Some("=="), Some(more)) => Is::Equal(value(more)),
            (Some("!="), Some(more)) => Is::Unequal(value(more)),
            (Some("~="), Some(more)) => {
                Is::Like(Regex::new(&value(more)).map_err(|_| bad("not a regular expression"))?)
            }
            _ => return Err(bad("expected an operator ==|!=|~=")),
        };
        Ok(Self { field: field.to_owned(), is })
    }

    fn matches(&self, usage: &Usage) -> bool {
        let field = field(usage, &self.field);
        let value = field.clone().unwrap_or_default();
        match &self.is {
            Is::There => field.is_some(),
            Is::Equal(wanted) => field.is_some() && value == *wanted,
            Is::Unequal(other) => value != *other,
            Is::Like(pattern) => pattern.is_match(&value),
        }
    }
}

/// A field's text; switches are there or not, without one.
fn field(usage: &Usage, name: &str) -> Option<String> {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let switch = |on: bool| on.then(String::new);
    match name {
        "id" => text(&usage.id),
        "parents" => usage.parent.clone(),
        "description" => text(&usage.description),
        "type" => text(usage.kind.name()),
        "inuse" => switch(usage.in_use),
        "mutable" => switch(usage.kind.is_mutable()),
        "immutable" => switch(!usage.kind.is_mutable()),
        "shared" => switch(usage.shared),
        "private" => switch(!usage.shared),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_buildkits() {
        let usage = Usage { id: "abc1".into(), description: "RUN make".into(), ..Usage::default() };
        let matches = |text: &str| UsageFilter::parse(text).unwrap().matches(&usage);
        for yes in
            ["id~=^abc", "type==regular", "private", "type!=source.local", "immutable,id==abc1", "parents!=x"]
        {
            assert!(matches(yes), "{yes}");
        }
        for no in ["shared", "inuse==true", "private==true", "id==abc", "type==regular,mutable", "bogus"] {
            assert!(!matches(no), "{no}");
        }
        for (bad, told) in [
            ("description~==make", "unsupported operator \"~==\""),
            ("", "expected field"),
            ("id=x", "expected an operator"),
            ("id~=(", "not a regular expression"),
        ] {
            let error = UsageFilter::parse(bad).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
