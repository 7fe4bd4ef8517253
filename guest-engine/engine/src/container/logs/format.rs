//! One message of a log file, in Docker's `json-file` and `local` formats.

use crate::ports::{LogFormat, OutputFrame, StreamKind};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap};

/// A longer message is damage, not output: the shim cuts at 16 KiB.
const LONGEST: usize = 4 << 20;

/// What was written, where and when.
#[derive(Debug, PartialEq)]
pub(super) struct Message<'a> {
    pub(super) stream: StreamKind,
    time: Moment<'a>,
    text: Cow<'a, [u8]>,
    /// A whole line, whose newline `text` lacks.
    newline: bool,
    attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Moment<'a> {
    /// RFC 3339.
    Text(Cow<'a, str>),
    /// Nanoseconds since the epoch.
    Number(i64),
}

/// What is at the beginning of a piece of a file.
#[derive(Debug, PartialEq)]
pub(super) enum Decoded<'a> {
    /// A message of so many bytes.
    Message(Message<'a>, usize),
    /// So many bytes that nobody can read; a crash may leave some.
    Damage(usize),
    /// The rest has not been written or read yet.
    Incomplete,
}

/// Reads the message at the beginning of `bytes`.
pub(super) fn decode<'a>(format: &LogFormat, bytes: &'a [u8]) -> Decoded<'a> {
    match format {
        LogFormat::Json { .. } => match memchr::memchr(b'\n', bytes) {
            Some(end) => match json(&bytes[..end]) {
                Some(message) => Decoded::Message(message, end + 1),
                None => Decoded::Damage(end + 1),
            },
            None if bytes.len() > LONGEST => Decoded::Damage(bytes.len()),
            None => Decoded::Incomplete,
        },
        LogFormat::Local => {
            let Some((length, rest)) = bytes.split_first_chunk() else { return Decoded::Incomplete };
            let length = u32::from_be_bytes(*length) as usize;
            if length > LONGEST {
                return Decoded::Damage(bytes.len());
            }
            match rest.split_at_checked(length) {
                Some((message, behind)) if behind.len() >= 4 => match local(message) {
                    Some(message) => Decoded::Message(message, length + 8),
                    None => Decoded::Damage(length + 8),
                },
                _ => Decoded::Incomplete,
            }
        }
    }
}

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    attrs: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

fn json(line: &[u8]) -> Option<Message<'_>> {
    let stored: Stored<'_> = serde_json::from_slice(line).ok()?;
    let text = match stored.log {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    Some(Message {
        stream: stream(stored.stream.as_bytes()),
        time: Moment::Text(stored.time),
        text,
        newline: false,
        attributes: stored.attrs,
    })
}

/// A protobuf `LogEntry`: source 1, nanoseconds 2, line 3, partial 4, partial metadata 5 (last is its 1).
fn local(bytes: &[u8]) -> Option<Message<'_>> {
    let mut message = Message {
        stream: StreamKind::Stdout,
        time: Moment::Number(0),
        text: Cow::Borrowed(&[]),
        newline: true,
        attributes: BTreeMap::new(),
    };
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(source)) => message.stream = stream(source),
            (2, Field::Number(nanos)) => message.time = Moment::Number(nanos.cast_signed()),
            (3, Field::Bytes(line)) => message.text = Cow::Borrowed(line),
            (4, Field::Number(partial)) => message.newline = partial == 0,
            (5, Field::Bytes(metadata)) => {
                let mut inner = Fields(metadata);
                message.newline = false;
                while let Some(field) = inner.next()? {
                    message.newline |= matches!(field, (1, Field::Number(1)));
                }
            }
            _ => {}
        }
    }
    Some(message)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field; `Some(None)` at the end, `None` for what is no protobuf.
    #[expect(clippy::option_option, reason = "end and damage are different things")]
    fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        Some(Some((key >> 3, field)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

fn stream(name: &[u8]) -> StreamKind {
    if name == b"stderr" { StreamKind::Stderr } else { StreamKind::Stdout }
}

impl Message<'_> {
    /// When it was written; `None` when that cannot be told.
    pub(super) fn time(&self) -> Option<Timestamp> {
        match &self.time {
            Moment::Text(text) => text.parse().ok(),
            Moment::Number(nanos) => Timestamp::from_nanosecond(i128::from(*nanos)).ok(),
        }
    }

    /// As a client sees it: behind its time and its attributes, if asked for.
    pub(super) fn into_frame(self, timestamps: bool, details: bool) -> OutputFrame {
        let stream = self.stream;
        if !timestamps && !details && !self.newline {
            return OutputFrame { stream, data: Bytes::from(self.text.into_owned()) };
        }
        let mut data = Vec::with_capacity(self.text.len() + 64);
        if timestamps {
            match &self.time {
                // Nine digits and `Z`: nothing to convert.
                Moment::Text(text) if text.len() == 30 => data.extend_from_slice(text.as_bytes()),
                _ => data.extend_from_slice(format!("{:.9}", self.time().unwrap_or_default()).as_bytes()),
            }
            data.push(b' ');
        }
        if details {
            for (number, (key, value)) in self.attributes.iter().enumerate() {
                if number > 0 {
                    data.push(b',');
                }
                escape(&mut data, key);
                data.push(b'=');
                escape(&mut data, value);
            }
            data.push(b' ');
        }
        data.extend_from_slice(&self.text);
        if self.newline {
            data.push(b'\n');
        }
        OutputFrame { stream, data: Bytes::from(data) }
    }
}

/// Percent-encoding as in a query, which is how dockerd shows attributes.
fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push(b'+'),
            b'-' | b'_' | b'.' | b'~' => out.push(byte),
            _ if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: LogFormat = LogFormat::Json { attributes: BTreeMap::new() };

    fn frame(format: &LogFormat, bytes: &[u8], details: bool) -> (StreamKind, Vec<u8>, usize) {
        let Decoded::Message(message, used) = decode(format, bytes) else { panic!("{bytes:?}") };
        let frame = message.into_frame(true, details);
        (frame.stream, frame.data.to_vec(), used)
    }

    #[test]
    fn a_json_line_becomes_a_frame() {
        let line = br#"{"log":"a \"b\"\n","stream":"stderr","attrs":{"k":"x y/z","a":"1"},"time":"2026-11-24T03:00:00.5Z"}
"#;
        let (stream, data, used) = frame(&JSON, line, true);
        assert_eq!((stream, used), (StreamKind::Stderr, line.len()));
        assert_eq!(data, b"2026-11-24T03:00:00.500000000Z a=1,k=x+y%2Fz a \"b\"\n");
        assert_eq!(decode(&JSON, b"{\"log\":\"x"), Decoded::Incomplete);
        assert_eq!(decode(&JSON, b"{\"log\":\"x\nmore"), Decoded::Damage(10));
    }

    #[test]
    fn a_local_message_becomes_a_frame() {
        let message = b"\x0a\x06stdout\x10\x80\x94\xeb\xdc\x03\x1a\x02hi";
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let whole = [&length[..], message, &length[..], b"next"].concat();
        let (stream, data, used) = frame(&LogFormat::Local, &whole, false);
        assert_eq!((stream, used), (StreamKind::Stdout, message.len() + 8));
        assert_eq!(data, b"1970-01-01T00:00:01.000000000Z hi\n");
        for end in 0..whole.len() - 4 {
            assert_eq!(decode(&LogFormat::Local, &whole[..end]), Decoded::Incomplete, "{end}");
        }
        // A piece of a long line: not its last one.
        let partial = [&message[..], b"\x2a\x06\x08\x00\x12\x02ab"].concat();
        let length = u32::try_from(partial.len()).unwrap().to_be_bytes();
        let (_, data, _) = frame(&LogFormat::Local, &[&length[..], &partial, &length[..]].concat(), false);
        assert!(data.ends_with(b"Z hi"));
        assert_eq!(decode(&LogFormat::Local, b"\xff\xff\xff\xffxx"), Decoded::Damage(6));
    }
}
