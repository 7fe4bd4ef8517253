//! `journald`: its native protocol, one datagram a message.

use super::{Driver, Entry, Source};
use std::{collections::BTreeMap, io, os::unix::net::UnixDatagram};

const SOCKET: &str = "/run/systemd/journal/socket";

pub(super) struct Journald {
    socket: UnixDatagram,
    fields: Vec<u8>,
}

impl Journald {
    pub(super) fn open(fields: &BTreeMap<String, String>) -> io::Result<Self> {
        let disabled = |_| io::Error::new(io::ErrorKind::NotFound, "journald is not enabled on this host");
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET).map_err(disabled)?;
        let mut constant = Vec::new();
        for (name, value) in fields {
            field(&mut constant, name, value.as_bytes());
        }
        Ok(Self { socket, fields: constant })
    }
}

impl Driver for Journald {
    fn log(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let message = message(&self.fields, entry);
        if self.socket.send(&message).is_ok() {
            return Ok(());
        }
        // journald was restarted: its socket is another one.
        self.socket.connect(SOCKET)?;
        self.socket.send(&message).map(drop)
    }
}

fn message(fields: &[u8], entry: &Entry<'_>) -> Vec<u8> {
    let mut out = fields.to_vec();
    let priority: &[u8] = if entry.source == Source::Stderr { b"3" } else { b"6" };
    field(&mut out, "PRIORITY", priority);
    field(&mut out, "SYSLOG_TIMESTAMP", entry.time.to_string().as_bytes());
    if let Some(partial) = &entry.partial {
        if !partial.last {
            field(&mut out, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        field(&mut out, "CONTAINER_PARTIAL_ID", partial.id.as_bytes());
        field(&mut out, "CONTAINER_PARTIAL_ORDINAL", partial.ordinal.to_string().as_bytes());
        field(&mut out, "CONTAINER_PARTIAL_LAST", partial.last.to_string().as_bytes());
    }
    field(&mut out, "MESSAGE", &entry.text);
    out
}

/// `NAME=value`, or with an explicit length when the value has several lines.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_message_is_its_fields() {
        let time = Timestamp::from_second(1).unwrap();
        let entry = Entry { source: Source::Stderr, time, text: b"a\nb".into(), partial: None };
        assert_eq!(
            message(b"CONTAINER_NAME=x\n", &entry),
            b"CONTAINER_NAME=x\nPRIORITY=3\nSYSLOG_TIMESTAMP=1970-01-01T00:00:01Z\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n"
        );
    }
}
