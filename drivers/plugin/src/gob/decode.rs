//! From a stream to values. Nothing that a stream says is taken on trust: lengths, depths and types are
//! bounded.

use super::types::{DEFINITION, Type, TypeId, built_in};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
};

/// Longest message. What plugins say has a thousandth of it.
const LONGEST: u64 = 4 << 20;
/// Most entries of a list or a map.
const MOST: u64 = 1 << 16;
/// Deepest value in a value.
const DEEPEST: usize = 32;
/// Most types of a stream.
const MOST_TYPES: usize = 1024;

/// A decoded value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// An interface that holds nothing.
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Bytes(Vec<u8>),
    String(String),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    /// Fields that are not zero, by name.
    Struct(BTreeMap<String, Self>),
    /// A value in an interface, with the name that its type was registered by.
    Named(String, Box<Self>),
}

/// A stream that is no gob.
#[derive(Debug)]
pub(crate) enum GobError {
    /// Its end, between two messages.
    End,
    /// It cannot be read, or ends in the middle.
    Io(io::Error),
    /// It makes no sense.
    Corrupt(&'static str),
}

/// Reads a stream.
#[derive(Debug)]
pub(crate) struct Decoder<R> {
    reader: R,
    /// The message at hand, and how much of it has been read.
    message: Vec<u8>,
    at: usize,
    types: BTreeMap<TypeId, Type>,
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, message: Vec::new(), at: 0, types: built_in() }
    }

    /// The next value.
    pub(crate) fn next(&mut self) -> Result<Value, GobError> {
        let id = self.type_of_value(false)?;
        let value = self.value(id, 0)?;
        if self.at < self.message.len() {
            return Err(GobError::Corrupt("a message is longer than its value"));
        }
        Ok(value)
    }

    /// The type of the value that comes next; types that are defined before it are taken note of.
    fn type_of_value(&mut self, in_interface: bool) -> Result<TypeId, GobError> {
        loop {
            if self.at == self.message.len() {
                self.receive()?;
            }
            let id = self.int()?;
            if id >= 0 {
                return Ok(id);
            }
            let definition = self.structure(DEFINITION, 0)?;
            let id = id.checked_neg().ok_or(GobError::Corrupt("a type has no number"))?;
            if self.types.len() >= MOST_TYPES || self.types.contains_key(&id) {
                return Err(GobError::Corrupt("a type is defined twice, or there are too many"));
            }
            self.types.insert(id, defined(&definition)?);
            if self.at < self.message.len() {
                if !in_interface {
                    return Err(GobError::Corrupt("a message is longer than its definition"));
                }
                // The length of what follows in this message.
                self.uint()?;
            }
        }
    }

    /// A value that is in no other; one that is no struct has a zero before it.
    fn value(&mut self, id: TypeId, depth: usize) -> Result<Value, GobError> {
        if matches!(self.types.get(&id), Some(Type::Struct(_))) {
            return self.structure(id, depth);
        }
        if self.uint()? != 0 {
            return Err(GobError::Corrupt("a lone value has a field number"));
        }
        self.element(id, depth)
    }

    fn structure(&mut self, id: TypeId, depth: usize) -> Result<Value, GobError> {
        let Some(Type::Struct(fields)) = self.types.get(&id).cloned() else {
            return Err(GobError::Corrupt("a struct is of no struct type"));
        };
        let mut found = BTreeMap::new();
        let mut next = 0_usize;
        loop {
            let Some(step) = usize::try_from(self.uint()?).ok().and_then(|step| step.checked_sub(1)) else {
                return Ok(Value::Struct(found));
            };
            let field = next.saturating_add(step);
            let unknown = GobError::Corrupt("a struct has a field that its type has not");
            let (name, id) = fields.get(field).ok_or(unknown)?;
            next = field + 1;
            let value = self.element(*id, depth + 1)?;
            found.insert(name.clone(), value);
        }
    }

    fn element(&mut self, id: TypeId, depth: usize) -> Result<Value, GobError> {
        if depth > DEEPEST {
            return Err(GobError::Corrupt("values are nested too deep"));
        }
        let kind = self.types.get(&id).cloned().ok_or(GobError::Corrupt("a type is not defined"))?;
        Ok(match kind {
            Type::Bool => Value::Bool(self.uint()? != 0),
            Type::Int => Value::Int(self.int()?),
            Type::Uint => Value::Uint(self.uint()?),
            Type::Float => Value::Float(self.float()?),
            Type::Complex => Value::List(vec![Value::Float(self.float()?), Value::Float(self.float()?)]),
            Type::Bytes | Type::Opaque => Value::Bytes(self.bytes()?.to_vec()),
            Type::String => Value::String(self.text()?),
            Type::List(element) => {
                let count = self.count()?;
                let list = (0..count).map(|_| self.element(element, depth + 1));
                Value::List(list.collect::<Result<_, _>>()?)
            }
            Type::Map(key, element) => {
                let count = self.count()?;
                let pairs = (0..count)
                    .map(|_| Ok((self.element(key, depth + 1)?, self.element(element, depth + 1)?)));
                Value::Map(pairs.collect::<Result<_, GobError>>()?)
            }
            Type::Struct(_) => self.structure(id, depth)?,
            Type::Interface => {
                let name = self.text()?;
                if name.is_empty() {
                    return Ok(Value::Nil);
                }
                let id = self.type_of_value(true)?;
                // The length of the value, for those who want to leave it out.
                self.uint()?;
                Value::Named(name, Box::new(self.value(id, depth + 1)?))
            }
        })
    }

    fn receive(&mut self) -> Result<(), GobError> {
        let length = self.length()?;
        if length > LONGEST {
            return Err(GobError::Corrupt("a message is too long"));
        }
        self.message.clear();
        self.at = 0;
        let read = (&mut self.reader).take(length).read_to_end(&mut self.message).map_err(GobError::Io)?;
        if u64::try_from(read) != Ok(length) {
            return Err(GobError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// A message's length stands in the stream, not in a message.
    fn length(&mut self) -> Result<u64, GobError> {
        let mut first = [0];
        loop {
            match self.reader.read(&mut first) {
                Ok(0) => return Err(GobError::End),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(GobError::Io(error)),
            }
        }
        let mut rest = [0; 8];
        let rest = &mut rest[..more(first[0])?];
        self.reader.read_exact(rest).map_err(GobError::Io)?;
        Ok(if rest.is_empty() { first[0].into() } else { big_endian(rest) })
    }

    fn uint(&mut self) -> Result<u64, GobError> {
        let first = self.take(1)?[0];
        match more(first)? {
            0 => Ok(first.into()),
            rest => Ok(big_endian(self.take(rest)?)),
        }
    }

    fn int(&mut self) -> Result<i64, GobError> {
        let bits = self.uint()?;
        let magnitude = (bits >> 1).cast_signed();
        Ok(if bits & 1 == 1 { !magnitude } else { magnitude })
    }

    fn float(&mut self) -> Result<f64, GobError> {
        Ok(f64::from_bits(self.uint()?.swap_bytes()))
    }

    fn count(&mut self) -> Result<u64, GobError> {
        match self.uint()? {
            count if count <= MOST => Ok(count),
            _ => Err(GobError::Corrupt("a list is too long")),
        }
    }

    fn bytes(&mut self) -> Result<&[u8], GobError> {
        let length = self.uint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn text(&mut self) -> Result<String, GobError> {
        // Go's strings may hold anything.
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    fn take(&mut self, count: usize) -> Result<&[u8], GobError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.message.len());
        let end = end.ok_or(GobError::Corrupt("a message is shorter than its value"))?;
        let taken = &self.message[self.at..end];
        self.at = end;
        Ok(taken)
    }
}

/// How many bytes follow the first one of a number.
fn more(first: u8) -> Result<usize, GobError> {
    match first {
        0..=0x7f => Ok(0),
        0xf8..=0xff => Ok(usize::from(!first) + 1),
        _ => Err(GobError::Corrupt("a number is too large")),
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The type that a definition defines.
fn defined(definition: &Value) -> Result<Type, GobError> {
    let id = |value: &Value, name| match value.field(name) {
        Some(Value::Int(id)) => Ok(*id),
        _ => Err(GobError::Corrupt("a definition lacks a type")),
    };
    if let Some(list) = definition.field("Array").or(definition.field("Slice")) {
        return Ok(Type::List(id(list, "Elem")?));
    }
    if let Some(map) = definition.field("Map") {
        return Ok(Type::Map(id(map, "Key")?, id(map, "Elem")?));
    }
    let Some(structure) = definition.field("Struct") else { return Ok(Type::Opaque) };
    let fields = match structure.field("Field") {
        Some(Value::List(fields)) => fields.as_slice(),
        _ => &[],
    };
    let field = |field: &Value| {
        let name = field.field("Name").and_then(Value::text).unwrap_or_default().to_owned();
        Ok((name, id(field, "Id")?))
    };
    Ok(Type::Struct(fields.iter().map(field).collect::<Result<_, GobError>>()?))
}

impl Value {
    /// A field of a struct, in an interface or not; absent where it is zero.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(fields) => fields.get(name),
            Self::Named(_, value) => value.field(name),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for GobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("it has ended"),
            Self::Io(error) => error.fmt(f),
            Self::Corrupt(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go's encoder made of each of these.
    fn recorded(name: &str) -> Vec<u8> {
        let recorded = include_str!("../../tests/recorded.txt");
        let line = recorded.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
        let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
        (0..line.len()).step_by(2).map(byte).collect()
    }

    fn decoded(bytes: &[u8]) -> Vec<Value> {
        let mut decoder = Decoder::new(bytes);
        let mut values = Vec::new();
        loop {
            match decoder.next() {
                Ok(value) => values.push(value),
                Err(GobError::End) => return values,
                Err(error) => panic!("{error:?} after {values:?}"),
            }
        }
    }

    fn structure<const N: usize>(fields: [(&str, Value); N]) -> Value {
        Value::Struct(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn named(name: &str, value: Value) -> Value {
        Value::Named(name.to_owned(), Box::new(value))
    }

    #[test]
    fn answers() {
        let [first, version, second, empty] = decoded(&recorded("answers")).try_into().unwrap();
        let method = text("RPCServerDriver.GetVersion");
        assert_eq!(first, structure([("ServiceMethod", method), ("Seq", Value::Uint(1))]));
        assert_eq!((version, empty), (Value::Int(1), structure([])));
        assert_eq!(second.field("Error"), Some(&text("no quota")));
    }

    #[test]
    fn numbers() {
        let wanted =
            [-1, 0, 127, 128, -129, 1 << 40].map(Value::Int).into_iter().chain([Value::Uint(1 << 63)]);
        assert_eq!(decoded(&recorded("numbers")), wanted.collect::<Vec<_>>());
    }

    /// Each type is defined in the middle of the list, where its first value comes.
    #[test]
    fn options_of_all_kinds() {
        let Some(Value::List(flags)) = decoded(&recorded("flags")).pop() else { panic!("no list") };
        let region = structure([
            ("Name", text("toy-region")),
            ("Usage", text("Region")),
            ("EnvVar", text("TOY_REGION")),
            ("Value", text("fra")),
        ]);
        let tags = Value::List(vec![text("a"), text("b")]);
        let wanted = [
            named("*mcnflag.StringFlag", region),
            named("*mcnflag.IntFlag", structure([("Name", text("toy-size")), ("Value", Value::Int(2))])),
            named("*mcnflag.BoolFlag", structure([("Name", text("toy-fast"))])),
            named("*mcnflag.StringSliceFlag", structure([("Name", text("toy-tag")), ("Value", tags)])),
            named("*mcnflag.StringFlag", structure([("Name", text("toy-token"))])),
        ];
        assert_eq!(flags, wanted);
    }

    #[test]
    fn interfaces_in_interfaces() {
        let values = decoded(&recorded("nested"));
        let flags = |first, second| Value::List(vec![Value::Bool(first), Value::Bool(second)]);
        let deep = structure([
            ("Inner", named("string", text("deep"))),
            ("Number", Value::Float(17.5)),
            ("List", flags(false, false)),
        ]);
        let whole = structure([
            ("Inner", named("main.nested", deep)),
            ("Small", Value::Int(-3)),
            ("List", flags(true, false)),
            ("When", Value::Map(vec![(text("x"), Value::Int(1))])),
        ]);
        assert_eq!(values, [named("main.nested", whole.clone()), named("main.nested", whole)]);
    }

    /// Whatever is cut off or changed is an error or another value, and never a panic or a long wait.
    #[test]
    fn damage_is_survived() {
        for name in ["answers", "numbers", "flags", "options", "nested"] {
            let whole = recorded(name);
            for at in 0..whole.len() {
                let mut decoder = Decoder::new(&whole[..at]);
                while decoder.next().is_ok() {}
                for change in [0x00, 0x01, 0x7f, 0x80, 0xf8, 0xff] {
                    let mut damaged = whole.clone();
                    damaged[at] = change;
                    let mut decoder = Decoder::new(&damaged[..]);
                    while decoder.next().is_ok() {}
                }
            }
        }
    }
}
