//! One line of a `json-file` log.

use crate::ports::{OutputFrame, StreamKind};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use std::borrow::Cow;

/// What was written, where and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) stream: StreamKind,
    pub(super) time: Timestamp,
    pub(super) text: String,
}

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    time: Timestamped,
}

struct Timestamped(Timestamp);

impl<'de> Deserialize<'de> for Timestamped {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Line {
    /// Reads a line of the file; `None` when it is damaged, which a crash may leave once.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let stored: Stored<'_> = serde_json::from_slice(line).ok()?;
        let stream = if stored.stream == "stderr" { StreamKind::Stderr } else { StreamKind::Stdout };
        Some(Self { stream, time: stored.time.0, text: stored.log.into_owned() })
    }

    /// As a client sees it, behind its time if asked for.
    pub(super) fn into_frame(self, timestamps: bool) -> OutputFrame {
        let data = if timestamps { format!("{:.9} {}", self.time, self.text) } else { self.text };
        OutputFrame { stream: self.stream, data: Bytes::from(data) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_frame() {
        let line = br#"{"log":"a \"b\"\n","stream":"stderr","time":"2026-11-24T03:00:00.5Z"}"#;
        let parsed = Line::parse(line).unwrap();
        assert_eq!((parsed.stream, parsed.text.as_str()), (StreamKind::Stderr, "a \"b\"\n"));
        assert_eq!(parsed.into_frame(true).data, "2026-11-24T03:00:00.500000000Z a \"b\"\n");
        assert_eq!(Line::parse(b"{\"log\":\"x"), None);
    }
}
