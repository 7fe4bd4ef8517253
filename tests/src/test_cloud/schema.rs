//! The part of JSON Schema that providers' OpenAPI documents use: judging a document by it, and making the
//! smallest document it allows.

use regex_lite::Regex;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A provider's operations, by `METHOD /path/{with}/parameters`.
#[derive(Debug)]
pub struct Specification {
    operations: BTreeMap<String, Value>,
}

impl Specification {
    pub fn parse(text: &str) -> Self {
        let mut document: Value = serde_json::from_str(text).unwrap();
        Self { operations: serde_json::from_value(document["operations"].take()).unwrap() }
    }

    /// The operation of a request.
    pub fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let matches = |pattern: &str| {
            let (m, p) = pattern.split_once(' ').unwrap();
            let (p, path): (Vec<_>, Vec<_>) = (p.split('/').collect(), path.split('/').collect());
            m == method
                && p.len() == path.len()
                && p.iter().zip(&path).all(|(p, s)| p.starts_with('{') || p == s)
        };
        // An exact path goes before one with a parameter.
        let exact = self.operations.get(&format!("{method} {path}"));
        exact.or_else(|| self.operations.iter().find(|(name, _)| matches(name)).map(|(_, o)| o))
    }
}

/// Everything in `value` that `schema` forbids.
pub(super) fn violations(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    judge(schema, value, at, &mut found);
    found
}

fn judge(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        judge(part, value, at, found);
    }
    for any in ["oneOf", "anyOf"] {
        let Some(parts) = schema[any].as_array() else { continue };
        if !parts.iter().any(|part| violations(part, value, at).is_empty()) {
            found.push(format!("{at}: {value} is none of the alternatives"));
        }
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !fits {
        found.push(format!("{at}: {value} is no {}", schema["type"]));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        found.push(format!("{at}: {value} is none of {allowed:?}"));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && let Ok(pattern) = Regex::new(pattern)
        && !pattern.is_match(text)
    {
        found.push(format!("{at}: {text:?} does not match {}", pattern.as_str()));
    }
    if let (Some(most), Some(text)) = (schema["maxLength"].as_u64(), value.as_str())
        && text.len() as u64 > most
    {
        found.push(format!("{at}: longer than {most}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        judge(&schema["items"], item, &format!("{at}[{index}]"), found);
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, value) in object {
        match schema["properties"].get(name) {
            Some(schema) => judge(schema, value, &format!("{at}.{name}"), found),
            None if schema["additionalProperties"].is_object() => {
                judge(&schema["additionalProperties"], value, &format!("{at}.{name}"), found);
            }
            None => {}
        }
    }
}

/// The smallest document that `schema` allows.
pub(super) fn smallest(schema: &Value) -> Value {
    if schema["nullable"] == true { Value::Null } else { present(schema) }
}

/// The same of one that is there, though it might be null.
pub(super) fn present(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let alternative = ["oneOf", "anyOf"].iter().filter_map(|any| schema[*any].get(0));
    let mut merged = Map::new();
    let mut other = None;
    for part in parts.chain(alternative) {
        match smallest(part) {
            Value::Object(object) => merged.extend(object),
            value => other = Some(value),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if let Some(property) = schema["properties"].get(name) {
            merged.insert(name.to_owned(), smallest(property));
        }
    }
    match schema["type"].as_str() {
        _ if !merged.is_empty() => Value::Object(merged),
        Some("array") => json!([]),
        Some("string") if schema["pattern"].is_string() => json!("x"),
        Some("string") => json!(""),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(false),
        Some("object") => json!({}),
        _ => other.unwrap_or_else(|| json!({})),
    }
}

/// `base` with what `over` has instead.
pub(super) fn filled(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            let mut merged = base.clone();
            for (name, value) in over {
                let below = base.get(name).cloned().unwrap_or(Value::Null);
                merged.insert(name.clone(), filled(&below, value));
            }
            Value::Object(merged)
        }
        _ => over.clone(),
    }
}
