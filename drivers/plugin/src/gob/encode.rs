//! The few values that a host sends, as Go's encoder writes them.

use super::types::{BOOL, BYTES, INT, INTERFACE, STRING, TypeId, UINT};
use std::{collections::BTreeMap, fmt};

// The numbers we give to the types we define.
const REQUEST: TypeId = 65;
const EMPTY: TypeId = 66;
const FLAGS: TypeId = 67;
const VALUES: TypeId = 68;
const TEXTS: TypeId = 69;

/// The value of an option.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum FlagValue {
    Bool(bool),
    Int(i64),
    Text(String),
    Texts(Vec<String>),
}

// What was given may be a secret, and must not reach a log.
impl fmt::Debug for FlagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlagValue")
    }
}

/// Writes one stream: what it has defined once is not defined again.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    defined: Vec<TypeId>,
}

impl Encoder {
    /// What comes before each argument: the method, and the number of the call.
    pub(crate) fn request(&mut self, method: &str, call: u64) -> Vec<u8> {
        let fields = [("ServiceMethod", STRING), ("Seq", UINT)];
        let mut out = self.define(REQUEST, |body| struct_type(body, "Request", REQUEST, &fields));
        let mut body = Vec::new();
        int(&mut body, REQUEST);
        uint(&mut body, 1);
        text(&mut body, method);
        if call != 0 {
            uint(&mut body, 1);
            uint(&mut body, call);
        }
        uint(&mut body, 0);
        message(&mut out, &body);
        out
    }

    /// `struct{}`
    pub(crate) fn empty(&mut self) -> Vec<u8> {
        let mut out = self.define(EMPTY, |body| struct_type(body, "", EMPTY, &[]));
        let mut body = Vec::new();
        int(&mut body, EMPTY);
        uint(&mut body, 0);
        message(&mut out, &body);
        out
    }

    /// `[]byte`
    pub(crate) fn bytes(bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        int(&mut body, BYTES);
        uint(&mut body, 0);
        uint(&mut body, count(bytes));
        body.extend_from_slice(bytes);
        let mut out = Vec::new();
        message(&mut out, &body);
        out
    }

    /// An interface that holds a struct registered as `name`, whose one field is
    /// `Values map[string]interface{}`.
    pub(crate) fn flags(&mut self, name: &str, values: &BTreeMap<String, FlagValue>) -> Vec<u8> {
        let mut out = self.define(FLAGS, |body| struct_type(body, "RPCFlags", FLAGS, &[("Values", VALUES)]));
        out.extend(self.define(VALUES, |body| {
            uint(body, 4);
            common(body, "map[string]interface {}", VALUES);
            fields(body, &[STRING, INTERFACE]);
        }));
        out.extend(self.define(TEXTS, |body| {
            uint(body, 2);
            common(body, "[]string", TEXTS);
            fields(body, &[STRING]);
        }));
        let mut flags = Vec::new();
        if !values.is_empty() {
            uint(&mut flags, 1);
            uint(&mut flags, u64::try_from(values.len()).unwrap_or_default());
            for (name, value) in values {
                text(&mut flags, name);
                flag(&mut flags, value);
            }
        }
        uint(&mut flags, 0);
        let mut body = Vec::new();
        int(&mut body, INTERFACE);
        uint(&mut body, 0);
        in_interface(&mut body, name, FLAGS, &flags);
        message(&mut out, &body);
        out
    }

    /// The message that defines a type, the first time.
    fn define(&mut self, id: TypeId, definition: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.defined.contains(&id) {
            self.defined.push(id);
            let mut body = Vec::new();
            int(&mut body, -id);
            definition(&mut body);
            message(&mut out, &body);
        }
        out
    }
}

fn flag(out: &mut Vec<u8>, value: &FlagValue) {
    let mut body = vec![0];
    let (name, id) = match value {
        FlagValue::Bool(on) => {
            uint(&mut body, u64::from(*on));
            ("bool", BOOL)
        }
        FlagValue::Int(number) => {
            int(&mut body, *number);
            ("int", INT)
        }
        FlagValue::Text(value) => {
            text(&mut body, value);
            ("string", STRING)
        }
        FlagValue::Texts(texts) => {
            uint(&mut body, u64::try_from(texts.len()).unwrap_or_default());
            texts.iter().for_each(|value| text(&mut body, value));
            ("[]string", TEXTS)
        }
    };
    in_interface(out, name, id, &body);
}

fn in_interface(out: &mut Vec<u8>, name: &str, id: TypeId, value: &[u8]) {
    text(out, name);
    int(out, id);
    uint(out, count(value));
    out.extend_from_slice(value);
}

fn struct_type(out: &mut Vec<u8>, name: &str, id: TypeId, members: &[(&str, TypeId)]) {
    uint(out, 3);
    common(out, name, id);
    if !members.is_empty() {
        uint(out, 1);
        uint(out, u64::try_from(members.len()).unwrap_or_default());
        for (name, id) in members {
            uint(out, 1);
            text(out, name);
            uint(out, 1);
            int(out, *id);
            uint(out, 0);
        }
    }
    fields(out, &[]);
}

/// The first field of every definition.
fn common(out: &mut Vec<u8>, name: &str, id: TypeId) {
    uint(out, 1);
    if name.is_empty() {
        uint(out, 2);
    } else {
        uint(out, 1);
        text(out, name);
        uint(out, 1);
    }
    int(out, id);
    uint(out, 0);
}

/// The last fields of a definition, which are types, and its end.
fn fields(out: &mut Vec<u8>, types: &[TypeId]) {
    for id in types {
        uint(out, 1);
        int(out, *id);
    }
    uint(out, 0);
    uint(out, 0);
}

fn message(out: &mut Vec<u8>, body: &[u8]) {
    uint(out, count(body));
    out.extend_from_slice(body);
}

fn text(out: &mut Vec<u8>, text: &str) {
    uint(out, count(text.as_bytes()));
    out.extend_from_slice(text.as_bytes());
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or_default()
}

fn uint(out: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        Ok(small @ 0..=0x7f) => out.push(small),
        _ => {
            let bytes = number.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let length = u8::try_from(bytes.len() - zeros).unwrap_or_default();
            out.push(length.wrapping_neg());
            out.extend_from_slice(&bytes[zeros..]);
        }
    }
}

fn int(out: &mut Vec<u8>, number: i64) {
    let bits = if number < 0 { (!number << 1) | 1 } else { number << 1 };
    uint(out, bits.cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::{
        super::decode::{Decoder, Value},
        *,
    };

    #[test]
    fn calls_are_what_go_writes() {
        let recorded = include_str!("../../tests/recorded.txt");
        let mut encoder = Encoder::default();
        let mut out = encoder.request("RPCServerDriver.GetVersion", 1);
        out.extend(encoder.empty());
        out.extend(encoder.request("RPCServerDriver.SetConfigRaw", 2));
        out.extend(Encoder::bytes(b"{}"));
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(recorded.lines().next(), Some(format!("call {hex}").as_str()));
    }

    #[test]
    fn options_are_read_back() {
        let values = BTreeMap::from([
            ("a".to_owned(), FlagValue::Bool(true)),
            ("b".to_owned(), FlagValue::Int(-300)),
            ("c".to_owned(), FlagValue::Text("x".repeat(300))),
            ("d".to_owned(), FlagValue::Texts(vec!["y".to_owned(), String::new()])),
        ]);
        let mut encoder = Encoder::default();
        let mut bytes = encoder.flags("*rpcdriver.RPCFlags", &values);
        bytes.extend(encoder.flags("*rpcdriver.RPCFlags", &BTreeMap::new()));
        let mut decoder = Decoder::new(&bytes[..]);
        let Value::Named(name, flags) = decoder.next().unwrap() else { panic!("no interface") };
        assert_eq!(name, "*rpcdriver.RPCFlags");
        let Some(Value::Map(pairs)) = flags.field("Values") else { panic!("no values") };
        let named = |name: &str, value| Value::Named(name.to_owned(), Box::new(value));
        let texts = vec![Value::String("y".to_owned()), Value::String(String::new())];
        let wanted = [
            named("bool", Value::Bool(true)),
            named("int", Value::Int(-300)),
            named("string", Value::String("x".repeat(300))),
            named("[]string", Value::List(texts)),
        ];
        assert_eq!(pairs.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>(), wanted);
        assert!(matches!(decoder.next().unwrap(), Value::Named(_, flags) if flags.field("Values").is_none()));
    }
}
