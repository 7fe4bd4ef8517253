//! Docker's `local` format: a protobuf `LogEntry` between its length and its length, big endian, so that
//! it can be read from either end.

use super::Entry;

/// Appends an entry to `out`.
pub(super) fn encode(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    bytes(out, 1, entry.source.name().as_bytes());
    let nanos = i64::try_from(entry.time.as_nanosecond()).unwrap_or(i64::MAX);
    number(out, 2, nanos.cast_unsigned());
    bytes(out, 3, &entry.text);
    if let Some(partial) = &entry.partial {
        number(out, 4, 1);
        let mut metadata = Vec::with_capacity(partial.id.len() + 16);
        number(&mut metadata, 1, u64::from(partial.last));
        bytes(&mut metadata, 2, partial.id.as_bytes());
        number(&mut metadata, 3, u64::from(partial.ordinal));
        bytes(out, 5, &metadata);
    }
    let length = u32::try_from(out.len() - begin - 4).unwrap_or(u32::MAX).to_be_bytes();
    out[begin..begin + 4].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::super::{Partial, Source};
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn an_entry_stands_between_its_lengths() {
        let time = Timestamp::from_nanosecond(1_000_000_000).unwrap();
        let mut entry = Entry { source: Source::Stderr, time, text: b"hi".into(), partial: None };
        let mut out = Vec::new();
        encode(&mut out, &entry);
        assert_eq!(out, b"\0\0\0\x12\x0a\x06stderr\x10\x80\x94\xeb\xdc\x03\x1a\x02hi\0\0\0\x12");
        entry.partial = Some(Partial { id: "ab".into(), ordinal: 1, last: false });
        let mut out = Vec::new();
        encode(&mut out, &entry);
        assert!(out.ends_with(b"\x1a\x02hi\x20\x01\x2a\x08\x08\x00\x12\x02ab\x18\x01\0\0\0\x1e"));
    }
}
