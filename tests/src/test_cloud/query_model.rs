//! AWS's own model of its query protocol as the judge of both sides: requests are read by it, answers are
//! written by it, and what it does not know is a violation.

use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt::Write as _};

#[derive(Debug)]
pub(super) struct Model {
    operations: Value,
    shapes: Value,
}

/// A parameter's value, or what is below its name.
#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    below: BTreeMap<String, Self>,
}

impl Model {
    pub(super) fn parse(text: &str) -> Self {
        let mut document: Value = serde_json::from_str(text).unwrap();
        Self { operations: document["operations"].take(), shapes: document["shapes"].take() }
    }

    /// The parameters of `action` as a document, and everything in them that the model forbids.
    pub(super) fn read(&self, action: &str, form: &BTreeMap<String, String>) -> (Value, Vec<String>) {
        let mut root = Node::default();
        for (name, value) in form.iter().filter(|(name, _)| *name != "Action" && *name != "Version") {
            let parts = name.split('.');
            let node = parts.fold(&mut root, |node, part| node.below.entry(part.to_owned()).or_default());
            node.value = Some(value.clone());
        }
        let mut wrong = Vec::new();
        let Some(shape) = self.operations[action]["input"].as_str() else {
            return (json!({}), vec![format!("{action} is no operation")]);
        };
        let document = self.judge(shape, &root, action, &mut wrong);
        (document, wrong)
    }

    fn judge(&self, shape: &str, node: &Node, at: &str, wrong: &mut Vec<String>) -> Value {
        let shape = &self.shapes[shape];
        let text = node.value.clone().unwrap_or_default();
        match shape["type"].as_str().unwrap() {
            "structure" => {
                let members = shape["members"].as_object().unwrap();
                let mut document = Map::new();
                for (name, below) in &node.below {
                    let Some((member, of)) = members.iter().find(|(m, of)| asked_as(m, of) == *name) else {
                        wrong.push(format!("{at} has no {name}"));
                        continue;
                    };
                    let at = format!("{at}.{member}");
                    document
                        .insert(member.clone(), self.judge(of["shape"].as_str().unwrap(), below, &at, wrong));
                }
                for name in shape["required"].as_array().into_iter().flatten() {
                    if !document.contains_key(name.as_str().unwrap()) {
                        wrong.push(format!("{at} lacks {name}"));
                    }
                }
                Value::Object(document)
            }
            "list" => {
                let mut numbers: Vec<usize> =
                    node.below.keys().filter_map(|number| number.parse().ok()).collect();
                numbers.sort_unstable();
                if numbers.len() != node.below.len() || !numbers.iter().copied().eq(1..=numbers.len()) {
                    wrong.push(format!("{at} is not numbered from one"));
                }
                let of = shape["member"]["shape"].as_str().unwrap();
                let item = |number: &usize| {
                    self.judge(of, &node.below[&number.to_string()], &format!("{at}[{number}]"), wrong)
                };
                Value::Array(numbers.iter().map(item).collect())
            }
            "integer" | "long" => {
                let Ok(number) = text.parse::<i64>() else {
                    wrong.push(format!("{at}: {text:?} is no number"));
                    return Value::Null;
                };
                let least = shape["min"].as_i64().unwrap_or(i64::MIN);
                let most = shape["max"].as_i64().unwrap_or(i64::MAX);
                if !(least..=most).contains(&number) {
                    wrong.push(format!("{at}: {number} is not in {least}..={most}"));
                }
                json!(number)
            }
            "boolean" => {
                if !matches!(text.as_str(), "true" | "false") {
                    wrong.push(format!("{at}: {text:?} is neither true nor false"));
                }
                json!(text == "true")
            }
            _ => {
                if let Some(allowed) = shape["enum"].as_array()
                    && !allowed.contains(&json!(text))
                {
                    wrong.push(format!("{at}: {text:?} is none of {allowed:?}"));
                }
                if !node.below.is_empty() {
                    wrong.push(format!("{at} is a text"));
                }
                json!(text)
            }
        }
    }

    /// The answer of `action`, and everything in it that the model does not know.
    pub(super) fn write(&self, action: &str, document: &Value) -> (String, Vec<String>) {
        let mut xml = format!("<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">");
        let mut wrong = Vec::new();
        if let Some(shape) = self.operations[action]["output"].as_str() {
            self.element(shape, document, action, &mut xml, &mut wrong);
        } else {
            xml += "<return>true</return>";
        }
        _ = write!(xml, "<requestId>1</requestId></{action}Response>");
        (xml, wrong)
    }

    fn element(&self, shape: &str, value: &Value, at: &str, xml: &mut String, wrong: &mut Vec<String>) {
        let shape = &self.shapes[shape];
        match (shape["type"].as_str().unwrap(), value) {
            ("structure", Value::Object(object)) => {
                for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
                    let Some(of) = shape["members"].get(name) else {
                        wrong.push(format!("{at} has no {name}"));
                        continue;
                    };
                    let tag = of["locationName"].as_str().unwrap_or(name);
                    _ = write!(xml, "<{tag}>");
                    self.element(of["shape"].as_str().unwrap(), value, &format!("{at}.{name}"), xml, wrong);
                    _ = write!(xml, "</{tag}>");
                }
            }
            ("list", Value::Array(items)) => {
                let tag = shape["member"]["locationName"].as_str().unwrap_or("member");
                for item in items {
                    _ = write!(xml, "<{tag}>");
                    self.element(shape["member"]["shape"].as_str().unwrap(), item, at, xml, wrong);
                    _ = write!(xml, "</{tag}>");
                }
            }
            ("structure" | "list", other) => wrong.push(format!("{at}: {other} has no parts")),
            (_, Value::String(text)) => *xml += &text.replace('&', "&amp;").replace('<', "&lt;"),
            (_, other) => *xml += &other.to_string(),
        }
    }
}

/// The name of a member in requests.
fn asked_as(member: &str, of: &Value) -> String {
    if let Some(name) = of["queryName"].as_str() {
        return name.to_owned();
    }
    let name = of["locationName"].as_str().unwrap_or(member);
    name[..1].to_uppercase() + &name[1..]
}
