//! `gelf`: one JSON object a message; over UDP compressed and cut into chunks, over TCP ended by a zero.

use super::{Driver, Entry, Source, connection::Connection};
use engine::ports::{GelfCompression, GelfSink, LogServer};
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    io::{self, Write},
    thread,
    time::Duration,
};

/// Largest datagram, as in Graylog's own library.
const CHUNK: usize = 1420;
/// Magic number, message id, number of the chunk, count of chunks.
const HEADER: usize = 12;
const MOST_CHUNKS: usize = 128;
const ERROR: u8 = 3;
const INFORMATION: u8 = 6;

pub(super) struct Gelf {
    sink: GelfSink,
    connection: Option<Connection>,
    /// `,"_field":…}`, the end of every message.
    fields: Vec<u8>,
    messages: u64,
}

impl Gelf {
    pub(super) fn open(sink: &GelfSink) -> io::Result<Self> {
        let connection = Connection::dial(&sink.server).map_err(|error| {
            let (LogServer::Udp { host, port } | LogServer::Tcp { host, port }) = &sink.server else {
                return error;
            };
            let text = format!("gelf: cannot connect to GELF endpoint: {host}:{port} {error}");
            io::Error::new(error.kind(), text)
        })?;
        let fields: Map<String, Value> =
            sink.fields.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect();
        // The opening brace becomes the comma.
        let mut fields = serde_json::to_vec(&fields)?;
        fields[0] = b',';
        Ok(Self { sink: sink.clone(), connection: Some(connection), fields, messages: 0 })
    }

    fn message(&self, entry: &Entry<'_>) -> io::Result<Vec<u8>> {
        let level = if entry.source == Source::Stderr { ERROR } else { INFORMATION };
        let seconds = entry.time.as_millisecond() as f64 / 1000.0;
        let text = String::from_utf8_lossy(&entry.text);
        let mut out = Vec::with_capacity(text.len() + self.fields.len() + 128);
        out.extend_from_slice(b"{\"version\":\"1.1\",\"host\":");
        serde_json::to_writer(&mut out, &self.sink.hostname)?;
        out.extend_from_slice(b",\"short_message\":");
        serde_json::to_writer(&mut out, &text)?;
        out.extend_from_slice(format!(",\"timestamp\":{seconds},\"level\":{level}").as_bytes());
        out.extend_from_slice(&self.fields);
        Ok(out)
    }

    fn compressed<'a>(&self, message: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
        let level = Compression::new(self.sink.level);
        Ok(match self.sink.compression {
            GelfCompression::None => Cow::Borrowed(message),
            GelfCompression::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), level);
                packed.write_all(message)?;
                Cow::Owned(packed.finish()?)
            }
            GelfCompression::Zlib => {
                let mut packed = ZlibEncoder::new(Vec::new(), level);
                packed.write_all(message)?;
                Cow::Owned(packed.finish()?)
            }
        })
    }

    fn send_datagrams(&mut self, message: &[u8]) -> io::Result<()> {
        let packed = self.compressed(message)?.into_owned();
        self.messages += 1;
        let id = u64::from(std::process::id()) << 32 | self.messages & u64::from(u32::MAX);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::dial(&self.sink.server)?),
        };
        if packed.len() <= CHUNK {
            return connection.write_all(&packed);
        }
        let chunks = packed.chunks(CHUNK - HEADER);
        let count = chunks.len();
        if count > MOST_CHUNKS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "msg too large, would need too many chunks",
            ));
        }
        for (number, chunk) in chunks.enumerate() {
            let mut datagram = vec![0x1e, 0x0f];
            datagram.extend_from_slice(&id.to_be_bytes());
            datagram.extend(u8::try_from(number).into_iter().chain(u8::try_from(count)));
            datagram.extend_from_slice(chunk);
            connection.write_all(&datagram)?;
        }
        Ok(())
    }

    fn send_stream(&mut self, mut message: Vec<u8>) -> io::Result<()> {
        message.push(0);
        let mut tries = 0;
        loop {
            let connection = match self.connection.take() {
                Some(connection) if !connection.is_closed() => Ok(connection),
                _ => Connection::dial(&self.sink.server),
            };
            let sent = connection.and_then(|mut connection| {
                connection.write_all(&message)?;
                self.connection = Some(connection);
                Ok(())
            });
            if sent.is_ok() || tries >= self.sink.reconnects {
                return sent;
            }
            tries += 1;
            thread::sleep(Duration::from_millis(self.sink.reconnect_delay));
        }
    }
}

impl Driver for Gelf {
    fn log(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let message = self.message(entry)?;
        if matches!(self.sink.server, LogServer::Udp { .. }) {
            self.send_datagrams(&message)
        } else {
            self.send_stream(message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use jiff::Timestamp;
    use std::{io::Read, net::UdpSocket};

    #[test]
    fn long_messages_arrive_in_chunks() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let sink = GelfSink {
            server: LogServer::Udp { host: "127.0.0.1".into(), port: server.local_addr().unwrap().port() },
            hostname: "h".into(),
            fields: [("_a".to_owned(), "b".to_owned())].into(),
            compression: GelfCompression::Gzip,
            level: 1,
            reconnects: 0,
            reconnect_delay: 0,
        };
        let mut gelf = Gelf::open(&sink).unwrap();
        // Hashes do not compress.
        let mut text = String::new();
        for number in 0..300_u32 {
            let digest = <sha2::Sha256 as sha2::Digest>::digest(number.to_be_bytes());
            text.extend(digest.iter().map(|byte| char::from(b'!' + byte % 90)));
        }
        let time = Timestamp::from_millisecond(1_700_000_000_250).unwrap();
        gelf.log(&Entry { source: Source::Stderr, time, text: text.as_bytes().into(), partial: None })
            .unwrap();
        let (mut packed, mut buffer, mut number) = (Vec::new(), [0; 2000], 0);
        loop {
            let length = server.recv(&mut buffer).unwrap();
            let datagram = &buffer[..length];
            assert!(datagram.starts_with(&[0x1e, 0x0f]) && datagram[10] == number);
            packed.extend_from_slice(&datagram[HEADER..]);
            number += 1;
            if number == datagram[11] {
                break;
            }
        }
        let mut message = String::new();
        GzDecoder::new(&packed[..]).read_to_string(&mut message).unwrap();
        let message: Value = serde_json::from_str(&message).unwrap();
        assert_eq!(message["short_message"], text);
        assert_eq!((&message["level"], &message["_a"]), (&3.into(), &"b".into()));
        assert_eq!(message["timestamp"], 1_700_000_000.25);
    }
}
