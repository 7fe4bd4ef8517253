//! The part of Go's templates that scripts use with `--format`: text with `{{.Field.Path}}`,
//! `{{json .Field}}` and `{{prettyjson .Field}}`. Anything else is refused by name.

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Vec<String>),
    Json { path: Vec<String>, pretty: bool },
}

/// The template is not one we can fill in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("Template parsing error: unclosed action in {0:?}")]
    Unclosed(String),
    /// More of Go's templates than we know.
    #[error(
        "Template parsing error: {0:?} is not supported; {{{{.Field.Path}}}} and {{{{json .Field}}}} are"
    )]
    Unsupported(String),
}

impl Template {
    /// Parses; `\t` and `\n` written with a backslash become what they say.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let unescaped = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut rest = unescaped.as_str();
        while let Some((before, action)) = rest.split_once("{{") {
            let (action, after) =
                action.split_once("}}").ok_or_else(|| TemplateError::Unclosed(text.to_owned()))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::parse(action.trim())?);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// Fills in. A field that is not there is `<no value>`, as in Go.
    pub fn render(&self, data: &Value) -> String {
        self.pieces.iter().map(|piece| piece.render(data)).collect()
    }

    /// The last name of every field, as headings.
    pub fn headings(&self) -> String {
        let heading = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(path) | Piece::Json { path, .. } => {
                path.last().map(|name| name.to_uppercase()).unwrap_or_default()
            }
        };
        self.pieces.iter().map(heading).collect()
    }
}

impl Piece {
    fn parse(action: &str) -> Result<Self, TemplateError> {
        let unsupported = || TemplateError::Unsupported(action.to_owned());
        let words: Vec<&str> = action.split_whitespace().collect();
        match words.as_slice() {
            [field] => Ok(Self::Field(path(field).ok_or_else(unsupported)?)),
            ["json", field] => Ok(Self::Json { path: path(field).ok_or_else(unsupported)?, pretty: false }),
            ["prettyjson", field] => {
                Ok(Self::Json { path: path(field).ok_or_else(unsupported)?, pretty: true })
            }
            _ => Err(unsupported()),
        }
    }

    fn render(&self, data: &Value) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Field(path) => match lookup(data, path) {
                None | Some(Value::Null) => "<no value>".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            },
            Self::Json { path, pretty: false } => lookup(data, path).unwrap_or(&Value::Null).to_string(),
            Self::Json { path, pretty: true } => format!("{:#}", lookup(data, path).unwrap_or(&Value::Null)),
        }
    }
}

/// `.A.B` as names; `.` is the whole.
fn path(field: &str) -> Option<Vec<String>> {
    let names = field.strip_prefix('.')?;
    if names.is_empty() {
        return Some(Vec::new());
    }
    let name = |name: &str| {
        let valid = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        valid.then(|| name.to_owned())
    };
    names.split('.').map(name).collect()
}

fn lookup<'a>(data: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(data, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> String {
        let data = json!({ "Driver": { "IPAddress": "10.0.0.1", "CPU": 2, "X": null }, "Name": "dev" });
        Template::parse(template).unwrap().render(&data)
    }

    #[test]
    fn fields_and_json_are_filled_in() {
        assert_eq!(render("{{.Driver.IPAddress}}"), "10.0.0.1");
        assert_eq!(render("{{ .Name }}:\\t{{.Driver.CPU}}"), "dev:\t2");
        assert_eq!(render("{{json .Driver.IPAddress}}"), "\"10.0.0.1\"");
        assert_eq!(render("{{.Nope.At.All}} {{.Driver.X}}"), "<no value> <no value>");
        assert_eq!(render("no fields"), "no fields");
    }

    #[test]
    fn what_we_do_not_know_is_refused_by_name() {
        for template in
            ["{{range .A}}x{{end}}", "{{if .A}}", "{{.A | json}}", "{{index .A 1}}", "{{}}", "{{.A..B}}"]
        {
            assert!(matches!(Template::parse(template), Err(TemplateError::Unsupported(_))), "{template}");
        }
        assert!(matches!(Template::parse("{{.A"), Err(TemplateError::Unclosed(_))));
    }
}
