//! A provider's own OpenAPI document: Prism judges by it, and what it requires of an answer beyond what a
//! world cares about is made by it.

use crate::artifacts;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The document; `info` says where it is from.
#[derive(Debug)]
pub struct Specification {
    file: PathBuf,
    document: Value,
}

impl Specification {
    pub(super) fn read(name: &str) -> Self {
        let file = artifacts::file("src/test_cloud/specs").join(name);
        let document = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        Self { file, document }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The body of an answer with this status, with everything in it that is required.
    pub(super) fn complete(&self, method: &str, path: &str, status: u16, body: &Value) -> Value {
        match self.schema(method, path, status) {
            Some(schema) => self.completed(schema, body),
            None => body.clone(),
        }
    }

    fn schema(&self, method: &str, path: &str, status: u16) -> Option<&Value> {
        let paths = self.document["paths"].as_object()?;
        let matches = |pattern: &str| {
            let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
            pattern.len() == path.len()
                && pattern.iter().zip(&path).all(|(part, given)| part.starts_with('{') || part == given)
        };
        // An exact path goes before one with a parameter.
        let operations = paths
            .get(path)
            .or_else(|| paths.iter().find(|(name, _)| matches(name)).map(|(_, found)| found))?;
        let response = &operations[method.to_lowercase()]["responses"][status.to_string()];
        Some(&self.followed(response)["content"]["application/json"]["schema"])
    }

    fn followed<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) => self.followed(self.document.pointer(pointer).unwrap()),
            None => schema,
        }
    }

    fn completed(&self, schema: &Value, body: &Value) -> Value {
        match body {
            Value::Object(object) => {
                let mut whole = self.present(schema);
                for (name, value) in object {
                    whole[name] = match self.property(schema, name) {
                        Some(schema) => self.completed(schema, value),
                        None => value.clone(),
                    };
                }
                whole
            }
            Value::Array(items) => {
                let items = items.iter().map(|item| self.completed(&self.followed(schema)["items"], item));
                Value::Array(items.collect())
            }
            _ => body.clone(),
        }
    }

    fn property<'a>(&'a self, schema: &'a Value, name: &str) -> Option<&'a Value> {
        let schema = self.followed(schema);
        let mut parts =
            ["allOf", "oneOf", "anyOf"].iter().filter_map(|key| schema[*key].as_array()).flatten();
        schema["properties"].get(name).or_else(|| parts.find_map(|part| self.property(part, name)))
    }

    /// The smallest value that `schema` allows.
    fn smallest(&self, schema: &Value) -> Value {
        if self.followed(schema)["nullable"] == true { Value::Null } else { self.present(schema) }
    }

    /// The same of one that is there, though it might be null.
    fn present(&self, schema: &Value) -> Value {
        let schema = self.followed(schema);
        if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let alternative = ["oneOf", "anyOf"].iter().filter_map(|any| schema[*any].get(0));
        let mut merged = Map::new();
        let mut other = None;
        for part in parts.chain(alternative) {
            match self.smallest(part) {
                Value::Object(object) => merged.extend(object),
                value => other = Some(value),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if let Some(property) = schema["properties"].get(name) {
                merged.insert(name.to_owned(), self.smallest(property));
            }
        }
        match schema["type"].as_str() {
            _ if !merged.is_empty() => Value::Object(merged),
            Some("array") => json!([]),
            Some("string") if schema["format"] == "date-time" => json!("2026-01-01T00:00:00Z"),
            Some("string") if schema["pattern"].is_string() => json!("x"),
            Some("string") => json!(""),
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(false),
            Some("object") => json!({}),
            _ => other.unwrap_or_else(|| json!({})),
        }
    }
}
