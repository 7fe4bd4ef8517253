//! The messages, as `EXTERNAL.md` describes them. One JSON object to a line.

use crate::{Access, Capabilities, DriverError, Instance, InstanceState, Leftover, OptionKind, OptionSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{error::Error, path::PathBuf, time::Duration};

/// Longest message. A description with hundreds of options has a hundredth of it.
pub(super) const LONGEST: usize = 4 * 1024 * 1024;

/// JSON-RPC's code for a method that is not there.
const UNKNOWN_METHOD: i64 = -32601;
/// JSON-RPC's code for parameters that make no sense.
pub(super) const BAD_PARAMETERS: i64 = -32602;
/// The code of a call that ended because it was cancelled.
pub(super) const CANCELLED: i64 = -32800;

const INVALID_SPEC: i64 = 1;
const PREREQUISITE: i64 = 2;
const NOT_FOUND: i64 = 3;
const NOT_RUNNING: i64 = 4;
const TIMEOUT: i64 = 5;
const PROVIDER: i64 = 6;

/// Whatever comes in a line, either way.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) jsonrpc: String,
    pub(super) id: Option<u64>,
    pub(super) method: Option<String>,
    #[serde(default)]
    pub(super) params: Value,
    /// Present in an answer that is no error, even when it is `null`.
    #[serde(default, deserialize_with = "present")]
    pub(super) result: Option<Value>,
    pub(super) error: Option<Failure>,
}

/// An answer that is an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) code: i64,
    pub(super) message: String,
    #[serde(default)]
    pub(super) data: FailureData,
}

/// What some errors carry besides their sentence.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct FailureData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) protocol: u64,
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) capabilities: Abilities,
    #[serde(default)]
    pub(super) options: Vec<OptionSaid>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Abilities {
    pub(super) local: bool,
    pub(super) seed_channel: bool,
    pub(super) runs_when_created: bool,
    pub(super) borrowed_host: bool,
    pub(super) resize: bool,
    pub(super) contents: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OptionSaid {
    pub(super) name: String,
    #[serde(default)]
    pub(super) env: Option<String>,
    pub(super) help: String,
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) default: Option<Default>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Flag,
    Text,
    Secret,
    Number,
    List,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Default {
    Text(String),
    Number(u64),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Remarks {
    #[serde(default)]
    pub(super) remarks: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) instance: Instance,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) instance: Option<Instance>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) state: InstanceState,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reached {
    pub(super) access: Access,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Console {
    pub(super) lines: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConsoleFile {
    pub(super) path: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) leftovers: Vec<Leftover>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Step {
    pub(super) call: u64,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cancel {
    pub(super) call: u64,
}

/// A request.
pub(super) fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A message that wants no answer.
pub(super) fn notification(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// An answer.
pub(super) fn answer(id: u64, outcome: Result<Value, Failure>) -> Value {
    match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    }
}

impl Failure {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: FailureData::default() }
    }

    pub(super) fn unknown_method(method: &str) -> Self {
        Self::new(UNKNOWN_METHOD, format!("There is no method {method:?}"))
    }

    /// As the driver's trait has it. `program` answered so to `method`.
    pub(super) fn into_error(self, program: &str, method: &'static str) -> DriverError {
        let what = super::readable(&self.message);
        let hint = self.data.hint.as_deref().map(super::readable).unwrap_or_default();
        let id = self.data.id.as_deref().map(super::readable).unwrap_or_default();
        match self.code {
            INVALID_SPEC => DriverError::InvalidSpec(what),
            PREREQUISITE => DriverError::Prerequisite { what, hint },
            NOT_FOUND => DriverError::NotFound { id },
            NOT_RUNNING => DriverError::NotRunning { id },
            TIMEOUT => {
                DriverError::Timeout { what, limit: Duration::from_millis(self.data.limit_ms.unwrap_or(0)) }
            }
            UNKNOWN_METHOD => DriverError::Unsupported { what: program.to_owned(), method },
            _ => DriverError::Provider { what },
        }
    }
}

/// Whether the error says that the driver does not have the method.
pub(super) fn is_unknown_method(error: &DriverError) -> bool {
    matches!(error, DriverError::Unsupported { .. })
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        let message = sentences(&error);
        let of = |code, data| Self { code, message: message.clone(), data };
        let plain = FailureData::default;
        match error {
            DriverError::InvalidSpec(_) => of(INVALID_SPEC, plain()),
            DriverError::Prerequisite { hint, .. } => {
                of(PREREQUISITE, FailureData { hint: Some(hint), ..plain() })
            }
            DriverError::NotFound { id } => of(NOT_FOUND, FailureData { id: Some(id), ..plain() }),
            DriverError::NotRunning { id } => of(NOT_RUNNING, FailureData { id: Some(id), ..plain() }),
            DriverError::Timeout { what, limit } => {
                let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                let data = FailureData { limit_ms: Some(limit_ms), ..plain() };
                // The sentence is made of these two on the other side.
                Self { code: TIMEOUT, message: what, data }
            }
            DriverError::Unsupported { .. } => of(UNKNOWN_METHOD, plain()),
            DriverError::Provider { .. } | DriverError::File { .. } => of(PROVIDER, plain()),
        }
    }
}

/// The error's sentence with those of its sources.
fn sentences(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

impl From<Capabilities> for Abilities {
    fn from(has: Capabilities) -> Self {
        Self {
            local: has.local,
            seed_channel: has.seed_channel,
            runs_when_created: has.runs_when_created,
            borrowed_host: has.borrowed_host,
            resize: has.resize,
            contents: has.contents.iter().map(|&file| file.to_owned()).collect(),
        }
    }
}

impl From<&OptionSpec> for OptionSaid {
    fn from(spec: &OptionSpec) -> Self {
        let (kind, default) = match spec.kind {
            OptionKind::Flag => (Kind::Flag, None),
            OptionKind::List => (Kind::List, None),
            OptionKind::Secret => (Kind::Secret, None),
            OptionKind::Text(default) => (Kind::Text, default.map(|text| Default::Text(text.to_owned()))),
            OptionKind::Number(default) => (Kind::Number, default.map(Default::Number)),
        };
        Self {
            name: spec.name.to_owned(),
            env: spec.env.map(str::to_owned),
            help: spec.help.to_owned(),
            kind,
            default,
        }
    }
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
