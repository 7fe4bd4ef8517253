//! Docker's `json-file` format: one object a line, as moby's encoder writes it.

use super::{Entry, Source};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Writes entries as JSON objects.
#[derive(Debug)]
pub(super) struct JsonEncoder {
    /// `,"attrs":{…}`, or nothing.
    attributes: Vec<u8>,
    /// Everything of an object that follows the text; the entries of one read share it.
    tail: Vec<u8>,
    tail_of: Option<(Source, Timestamp)>,
}

impl JsonEncoder {
    pub(super) fn new(attributes: &BTreeMap<String, String>) -> Self {
        let mut text = Vec::new();
        if !attributes.is_empty() {
            text.extend_from_slice(b",\"attrs\":");
            // A map of strings: serialising cannot fail.
            text.extend(serde_json::to_vec(attributes).unwrap_or_default());
        }
        Self { attributes: text, tail: Vec::new(), tail_of: None }
    }

    /// Appends an entry to `out`.
    pub(super) fn encode(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        if self.tail_of != Some((entry.source, entry.time)) {
            self.tail_of = Some((entry.source, entry.time));
            self.tail.clear();
            self.tail.extend_from_slice(b"\",\"stream\":\"");
            self.tail.extend_from_slice(entry.source.name().as_bytes());
            self.tail.push(b'"');
            self.tail.extend_from_slice(&self.attributes);
            self.tail.extend_from_slice(format!(",\"time\":\"{:.9}\"}}\n", entry.time).as_bytes());
        }
        out.extend_from_slice(b"{\"log\":\"");
        escape(out, &entry.text);
        if entry.ends_line() {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(&self.tail);
    }
}

/// True for bytes that go into a JSON string as they are, in moby's encoder.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        byte += 1;
    }
    plain
};

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let plain_until = |from: usize| {
        text[from..].iter().position(|&byte| !PLAIN[usize::from(byte)]).map_or(text.len(), |at| from + at)
    };
    let mut from = 0;
    loop {
        let stop = plain_until(from);
        out.extend_from_slice(&text[from..stop]);
        let Some(&byte) = text.get(stop) else { return };
        from = stop + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x80 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            _ => from = stop + escape_unicode(out, &text[stop..]),
        }
    }
}

/// Escapes the run of non-ASCII bytes at the start of `text`; says how many there were.
fn escape_unicode(out: &mut Vec<u8>, text: &[u8]) -> usize {
    let length = text.iter().position(u8::is_ascii).unwrap_or(text.len());
    for part in text[..length].utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '\u{2028}' => out.extend_from_slice(b"\\u2028"),
                '\u{2029}' => out.extend_from_slice(b"\\u2029"),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for _ in part.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_objects_as_dockerd_writes_them() {
        let time = Timestamp::from_nanosecond(1_700_000_000_123_000_000).unwrap();
        let entry = Entry {
            source: Source::Stdout,
            time,
            text: b"a <b> \"c\"\t\x01\xff\xc3\xa4".into(),
            partial: None,
        };
        let mut out = Vec::new();
        JsonEncoder::new(&BTreeMap::new()).encode(&mut out, &entry);
        let text = "{\"log\":\"a \\u003cb\\u003e \\\"c\\\"\\t\\u0001\\ufffdä\\n\",\"stream\":\"stdout\",";
        let time = "\"time\":\"2023-11-14T22:13:20.123000000Z\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), format!("{text}{time}"));
        let mut out = Vec::new();
        let attributes = [("k".to_owned(), "\"v\"".to_owned())].into();
        JsonEncoder::new(&attributes).encode(&mut out, &entry);
        let attributes = "\"attrs\":{\"k\":\"\\\"v\\\"\"},";
        assert_eq!(String::from_utf8(out).unwrap(), format!("{text}{attributes}{time}"));
    }
}
