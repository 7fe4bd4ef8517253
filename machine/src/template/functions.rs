//! The functions of templates, and how values become text.

use super::TemplateError;
use serde::Serialize;
use serde_json::{Value, ser::PrettyFormatter};
use std::cmp::Ordering;

const KNOWN: [&str; 16] = [
    "json",
    "prettyjson",
    "index",
    "len",
    "print",
    "println",
    "printf",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and",
    "or",
    "not",
];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Whether `and` and `or` need to know no more than `value`.
pub(super) fn is_decided(name: &str, value: Option<&Value>) -> bool {
    match name {
        "and" => value.is_some_and(|value| !is_true(value)),
        "or" => value.is_some_and(is_true),
        _ => false,
    }
}

pub(super) fn call(name: &str, values: &[Value]) -> Result<Value, TemplateError> {
    let wrong = || TemplateError::Data(format!("wrong number of arguments for {name}: {}", values.len()));
    let first = || values.first().ok_or_else(wrong);
    Ok(match name {
        "json" => first()?.to_string().into(),
        "prettyjson" => pretty(first()?).into(),
        "index" => index(first()?, &values[1..])?,
        "len" => length(first()?)?,
        "print" => values.iter().map(text).collect::<String>().into(),
        "println" => (values.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").into(),
        "printf" => printf(&text(first()?), &values[1..]).into(),
        "not" => (!is_true(first()?)).into(),
        // The last one looked at decides; `is_decided` ends the row early.
        "and" | "or" => values.last().ok_or_else(wrong)?.clone(),
        "eq" => {
            let (first, others) = (first()?, values.get(1..).filter(|others| !others.is_empty()));
            others.ok_or_else(wrong)?.iter().any(|other| is_equal(first, other)).into()
        }
        comparison => {
            let [a, b] = values else { return Err(wrong()) };
            if comparison == "ne" {
                return Ok((!is_equal(a, b)).into());
            }
            let order = compare(a, b)?;
            match comparison {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }
            .into()
        }
    })
}

pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// What Go prints with `%v`.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        other => inner_text(other),
    }
}

fn inner_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(inner_text).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields: Vec<_> =
                fields.into_iter().map(|(name, value)| format!("{name}:{}", inner_text(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

/// Four spaces, as docker-machine's.
pub(crate) fn pretty(value: &Value) -> String {
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // Writing a JSON value to memory does not fail; if it did, this shows the same data.
        Err(_) => value.to_string(),
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "type bool",
        Value::Number(_) => "type float64",
        Value::String(_) => "type string",
        Value::Array(_) => "type []interface {}",
        Value::Object(_) => "type map[string]interface {}",
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, TemplateError> {
    let mut found = value;
    for key in keys {
        found = match (found, key) {
            (Value::Object(fields), Value::String(name)) => fields.get(name).unwrap_or(&Value::Null),
            (Value::Array(items), Value::Number(number)) => number
                .as_u64()
                .and_then(|at| items.get(usize::try_from(at).ok()?))
                .ok_or_else(|| TemplateError::Data(format!("index out of range: {number}")))?,
            (other, key) => {
                let message = format!("can't index {} with {}", kind(other), kind(key));
                return Err(TemplateError::Data(message));
            }
        };
    }
    Ok(found.clone())
}

fn length(value: &Value) -> Result<Value, TemplateError> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(fields) => Ok(fields.len().into()),
        other => Err(TemplateError::Data(format!("len of {}", kind(other)))),
    }
}

fn is_equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, TemplateError> {
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().and_then(|a| b.as_f64().and_then(|b| a.partial_cmp(&b)))
        }
        _ => None,
    };
    order.ok_or_else(|| TemplateError::Data("incompatible types for comparison".to_owned()))
}

/// `%s`, `%v`, `%d` and `%t` print the value, `%q` quotes it, `%%` is a percent sign.
fn printf(format: &str, values: &[Value]) -> String {
    let mut output = String::new();
    let mut values = values.iter();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            output.push(character);
            continue;
        }
        let verb = characters.next();
        match (verb, values.clone().next()) {
            (Some('%'), _) => {
                output.push('%');
                continue;
            }
            (Some('q'), Some(value)) => output += &Value::String(inner_text(value)).to_string(),
            (Some('s' | 'v' | 'd' | 't'), Some(value)) => output += &inner_text(value),
            (Some(verb), Some(value)) => output += &format!("%!{verb}({})", inner_text(value)),
            (Some(verb), None) => output += &format!("%!{verb}(MISSING)"),
            (None, _) => output += "%!(NOVERB)",
        }
        values.next();
    }
    output
}
