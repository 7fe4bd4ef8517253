//! `syslog`: to the host's own daemon, or over UDP, TCP, TLS and unix sockets.

use super::{Driver, Entry, Source, connection::Connection};
use engine::ports::{LogServer, SyslogFormat, SyslogSink};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Where the host's own daemon listens.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const ERROR: u32 = 3;
const INFORMATION: u32 = 6;

pub(super) struct Syslog {
    sink: SyslogSink,
    connection: Option<Connection>,
    message: Vec<u8>,
}

impl Syslog {
    /// Connects; a container whose log server is not there does not start.
    pub(super) fn open(sink: &SyslogSink) -> io::Result<Self> {
        let connection = dial(sink.server.as_ref())?;
        Ok(Self { sink: sink.clone(), connection: Some(connection), message: Vec::new() })
    }

    fn send(&mut self) -> io::Result<()> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => dial(self.sink.server.as_ref())?,
        };
        self.connection.insert(connection).write_all(&self.message)
    }
}

impl Driver for Syslog {
    fn log(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.message.clear();
        let framed = matches!(self.sink.server, Some(LogServer::Tls { .. }))
            && matches!(self.sink.format, SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro);
        message(&mut self.message, &self.sink, entry, &Zoned::new(entry.time, TimeZone::UTC));
        if framed {
            // RFC 5425 puts the length before each message.
            let mut all = format!("{} ", self.message.len()).into_bytes();
            all.append(&mut self.message);
            self.message = all;
        }
        if self.send().is_ok() {
            return Ok(());
        }
        // Once more, on a new connection.
        self.connection = None;
        self.send().inspect_err(|_| self.connection = None)
    }
}

fn dial(server: Option<&LogServer>) -> io::Result<Connection> {
    if let Some(server) = server {
        return Connection::dial(server);
    }
    for path in LOCAL.map(PathBuf::from) {
        let datagram = LogServer::UnixDatagram { path: path.clone() };
        for server in [datagram, LogServer::Unix { path }] {
            if let Ok(connection) = Connection::dial(&server) {
                return Ok(connection);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "Unix syslog delivery error"))
}

fn message(out: &mut Vec<u8>, sink: &SyslogSink, entry: &Entry<'_>, time: &Zoned) {
    let severity = if entry.source == Source::Stderr { ERROR } else { INFORMATION };
    let priority = u32::from(sink.facility) << 3 | severity;
    let (tag, host, pid) = (&sink.tag, &sink.hostname, std::process::id());
    let stamp = || time.strftime("%b %e %H:%M:%S").to_string();
    let head = match sink.format {
        SyslogFormat::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp()),
        SyslogFormat::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp()),
        SyslogFormat::Rfc5424 => {
            format!("<{priority}>1 {:.0} {host} {tag} {pid} {tag} - ", time.timestamp())
        }
        SyslogFormat::Rfc5424Micro => {
            let micros = Timestamp::from_microsecond(time.timestamp().as_microsecond()).unwrap_or_default();
            format!("<{priority}>1 {micros:.6} {host} {tag} {pid} {tag} - ")
        }
    };
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&entry.text);
    if !entry.text.ends_with(b"\n") {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_formats() {
        let time = Timestamp::from_nanosecond(1_700_000_000_123_456_789).unwrap();
        let entry = Entry { source: Source::Stderr, time, text: b"hi".into(), partial: None };
        let pid = std::process::id();
        for (format, expected) in [
            (SyslogFormat::Unix, format!("<27>Nov 14 22:13:20 t[{pid}]: hi\n")),
            (SyslogFormat::Rfc3164, format!("<27>Nov 14 22:13:20 h t[{pid}]: hi\n")),
            (SyslogFormat::Rfc5424, format!("<27>1 2023-11-14T22:13:20Z h t {pid} t - hi\n")),
            (SyslogFormat::Rfc5424Micro, format!("<27>1 2023-11-14T22:13:20.123456Z h t {pid} t - hi\n")),
        ] {
            let sink =
                SyslogSink { server: None, facility: 3, format, tag: "t".into(), hostname: "h".into() };
            let mut out = Vec::new();
            message(&mut out, &sink, &entry, &Zoned::new(time, TimeZone::UTC));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
