//! Filling in a parsed template.

use super::{
    TemplateError, functions,
    syntax::{Call, Node, Operand, Pipeline},
};
use serde_json::Value;

pub(super) fn render(nodes: &[Node], data: &Value) -> Result<String, TemplateError> {
    let mut scope = Scope { variables: vec![(String::new(), data.clone())], output: String::new() };
    scope.nodes(nodes, data)?;
    Ok(scope.output)
}

struct Scope {
    /// Innermost last; `$` is the one without a name.
    variables: Vec<(String, Value)>,
    output: String,
}

impl Scope {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let outer = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.output += text,
            Node::Print(pipeline) => self.output += &functions::text(&self.pipeline(pipeline, dot)?),
            Node::Set { variable, declare, value } => {
                let value = self.pipeline(value, dot)?;
                let known = self.variables.iter_mut().rev().find(|(name, _)| name == variable);
                match known {
                    Some((_, known)) if !declare => *known = value,
                    _ => self.variables.push((variable.clone(), value)),
                }
            }
            Node::If { condition, body, otherwise } => {
                let holds = functions::is_true(&self.pipeline(condition, dot)?);
                self.nodes(if holds { body } else { otherwise }, dot)?;
            }
            Node::With { variable, value, body, otherwise } => {
                let value = self.pipeline(value, dot)?;
                if functions::is_true(&value) {
                    let outer = self.variables.len();
                    self.variables.extend(variable.clone().map(|name| (name, value.clone())));
                    self.nodes(body, &value)?;
                    self.variables.truncate(outer);
                } else {
                    self.nodes(otherwise, dot)?;
                }
            }
            Node::Range { key, item, over, body, otherwise } => {
                let items = items(self.pipeline(over, dot)?)?;
                if items.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                for (at, value) in items {
                    let outer = self.variables.len();
                    self.variables.extend(key.clone().map(|name| (name, at)));
                    self.variables.extend(item.clone().map(|name| (name, value.clone())));
                    self.nodes(body, &value)?;
                    self.variables.truncate(outer);
                }
            }
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for call in &pipeline.calls {
            last = Some(match call {
                Call::Value(operand) => self.operand(operand, dot)?,
                Call::Function { name, arguments } => {
                    let mut values = Vec::with_capacity(arguments.len() + 1);
                    for argument in arguments {
                        values.push(self.operand(argument, dot)?);
                        if functions::is_decided(name, values.last()) {
                            break;
                        }
                    }
                    values.extend(last.take());
                    functions::call(name, &values)?
                }
            });
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Field(path) => lookup(dot, path),
            Operand::Variable { name, path } => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                lookup(known.map_or(&Value::Null, |(_, value)| value), path)
            }
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Nested { pipeline, path } => lookup(&self.pipeline(pipeline, dot)?, path),
            Operand::Word(name) => functions::call(name, &[]),
        }
    }
}

/// Follows `path`; what is not there is nothing, and so is what would be in it.
fn lookup(value: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut found = value;
    for name in path {
        found = match found {
            Value::Object(fields) => fields.get(name).unwrap_or(&Value::Null),
            Value::Null => &Value::Null,
            other => {
                let message = format!("can't evaluate field {name} in {}", functions::kind(other));
                return Err(TemplateError::Data(message));
            }
        };
    }
    Ok(found.clone())
}

/// What `range` goes through, with the key of each.
fn items(value: Value) -> Result<Vec<(Value, Value)>, TemplateError> {
    Ok(match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            fields.into_iter().map(|(name, field)| (name.into(), field)).collect()
        }
        other => {
            return Err(TemplateError::Data(format!("range can't iterate over {}", functions::text(&other))));
        }
    })
}
