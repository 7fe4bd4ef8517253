//! `fluentd`: the forward protocol, one `[tag, time, record, option]` in msgpack a message.

use super::{Driver, Entry, connection::Connection};
use engine::ports::FluentdSink;
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    thread,
    time::Duration,
};

/// How long an acknowledgement may take.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(30);
/// Waiting between two tries grows no further than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Fluentd {
    sink: FluentdSink,
    connection: Option<Connection>,
    messages: u64,
}

impl Fluentd {
    /// Connects, unless that is to happen in the background.
    pub(super) fn open(sink: &FluentdSink) -> io::Result<Self> {
        let mut this = Self { sink: sink.clone(), connection: None, messages: 0 };
        if !sink.asynchronous {
            this.connection = Some(this.dial()?);
        }
        Ok(this)
    }

    fn dial(&self) -> io::Result<Connection> {
        let connection = Connection::dial(&self.sink.server)?;
        connection.limit_writes(self.sink.write_timeout.map(Duration::from_millis))?;
        Ok(connection)
    }

    fn send(&mut self, message: &[u8], chunk: Option<&str>) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.dial()?,
        };
        connection.write_all(message)?;
        if let Some(chunk) = chunk {
            acknowledged(&mut connection, chunk)?;
        }
        self.connection = Some(connection);
        Ok(())
    }
}

impl Driver for Fluentd {
    fn log(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.messages += 1;
        let chunk = self.sink.acknowledged.then(|| {
            format!("{:08x}{:016x}{:08x}", std::process::id(), entry.time.as_nanosecond(), self.messages)
        });
        let message = message(&self.sink, entry, chunk.as_deref());
        let mut wait = Duration::from_millis(self.sink.retry_wait);
        let mut tries = 0;
        loop {
            let sent = self.send(&message, chunk.as_deref());
            if sent.is_ok() || tries >= self.sink.retries {
                return sent;
            }
            tries += 1;
            thread::sleep(wait);
            wait = wait.mul_f64(1.5).min(LONGEST_WAIT);
        }
    }
}

/// Reads `{"ack": chunk}`.
fn acknowledged(connection: &mut Connection, chunk: &str) -> io::Result<()> {
    match connection {
        Connection::Tcp(stream) => stream.set_read_timeout(Some(ACKNOWLEDGEMENT))?,
        Connection::Unix(stream) => stream.set_read_timeout(Some(ACKNOWLEDGEMENT))?,
        Connection::Tls(stream) => stream.get_ref().set_read_timeout(Some(ACKNOWLEDGEMENT))?,
        Connection::Udp(_) | Connection::UnixDatagram(_) => {}
    }
    let (mut heard, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        match connection.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => heard.extend_from_slice(&buffer[..read]),
        }
        // The whole answer is one small map, and the id is unlike anything else in it.
        if memchr::memmem::find(&heard, chunk.as_bytes()).is_some() {
            return Ok(());
        }
        if heard.len() > 4096 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "unexpected acknowledgement"));
        }
    }
}

fn message(sink: &FluentdSink, entry: &Entry<'_>, chunk: Option<&str>) -> Vec<u8> {
    let log = String::from_utf8_lossy(&entry.text);
    let mut record: BTreeMap<&str, String> =
        sink.fields.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    record.insert("source", entry.source.name().to_owned());
    record.insert("log", log.into_owned());
    if let Some(partial) = &entry.partial {
        record.insert("partial_message", "true".to_owned());
        record.insert("partial_id", partial.id.clone());
        record.insert("partial_ordinal", partial.ordinal.to_string());
        record.insert("partial_last", partial.last.to_string());
    }
    // An array of four.
    let mut out = vec![0x94];
    text(&mut out, &sink.tag);
    time(&mut out, entry.time, sink.sub_second);
    map(&mut out, record.len());
    for (key, value) in &record {
        text(&mut out, key);
        text(&mut out, value);
    }
    map(&mut out, usize::from(chunk.is_some()));
    if let Some(chunk) = chunk {
        text(&mut out, "chunk");
        text(&mut out, chunk);
    }
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ 0..32), _) => out.push(0xa0 | length),
        (Ok(length), _) => out.extend([0xd9, length]),
        (_, Ok(length)) => {
            out.push(0xda);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0xdb);
            out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn map(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(length @ 0..16) => out.push(0x80 | length),
        _ => {
            out.push(0xde);
            out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
}

fn time(out: &mut Vec<u8>, time: Timestamp, sub_second: bool) {
    let seconds = u32::try_from(time.as_second()).unwrap_or(u32::MAX).to_be_bytes();
    if sub_second {
        // Fluentd's EventTime: an extension of type 0 and eight bytes.
        out.extend_from_slice(&[0xd7, 0]);
        out.extend_from_slice(&seconds);
        out.extend_from_slice(&time.subsec_nanosecond().unsigned_abs().to_be_bytes());
    } else {
        out.push(0xce);
        out.extend_from_slice(&seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Partial, Source};
    use super::*;
    use engine::ports::LogServer;

    fn sink() -> FluentdSink {
        FluentdSink {
            server: LogServer::Unix { path: "/absent".into() },
            tag: "t".into(),
            fields: [("k".to_owned(), "v".to_owned())].into(),
            asynchronous: true,
            buffer: 1,
            retries: 0,
            retry_wait: 0,
            sub_second: true,
            acknowledged: false,
            write_timeout: None,
        }
    }

    #[test]
    fn a_message_is_an_array_of_four() {
        let time = Timestamp::from_nanosecond(1_000_000_002).unwrap();
        let mut entry = Entry { source: Source::Stdout, time, text: b"hi".into(), partial: None };
        assert_eq!(
            message(&sink(), &entry, None),
            b"\x94\xa1t\xd7\0\0\0\0\x01\0\0\0\x02\x83\xa1k\xa1v\xa3log\xa2hi\xa6source\xa6stdout\x80"
        );
        entry.partial = Some(Partial { id: "x".into(), ordinal: 2, last: true });
        let long = message(&FluentdSink { sub_second: false, ..sink() }, &entry, Some("c"));
        assert!(long.starts_with(b"\x94\xa1t\xce\0\0\0\x01\x87"));
        assert!(long.ends_with(b"\x81\xa5chunk\xa1c"));
    }

    #[test]
    fn lengths_grow_with_their_texts() {
        for (length, head) in [(31, vec![0xbf]), (32, vec![0xd9, 32]), (300, vec![0xda, 1, 44])] {
            let mut out = Vec::new();
            text(&mut out, &"x".repeat(length));
            assert!(out.starts_with(&head) && out.len() == length + head.len());
        }
    }
}
