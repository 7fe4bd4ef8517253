//! Where and how a shim logs its process's output: plain data that the domain decides and that travels in
//! the shim's own file.
//!
//! A driver that talks to a server lives in the shim, next to the pipes it drains. So an engine that
//! crashes or is upgraded takes no part in delivery, nothing is written twice for it, and backpressure in
//! blocking mode is a pipe that nobody reads.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs::Metadata, os::unix::fs::MetadataExt, path::PathBuf, time::UNIX_EPOCH};

/// Everything that is done with the output. The default does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlan {
    /// The container's log driver; `none` has none.
    pub sink: Option<LogSink>,
    /// What `docker logs` reads when the driver cannot be read back.
    pub cache: Option<LogFile>,
    pub delivery: Delivery,
}

/// What happens when a driver is slower than the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// The process waits.
    #[default]
    Blocking,
    /// Lines that do not fit into a buffer of so many bytes are lost.
    NonBlocking { buffer: u64 },
}

/// A log driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogSink {
    File(LogFile),
    Syslog(SyslogSink),
    Gelf(GelfSink),
    Fluentd(FluentdSink),
    Journald {
        /// Fields of every message.
        fields: BTreeMap<String, String>,
    },
}

/// A log in files: `path` is written, `path.1` is the one before it; compressed ones end in `.gz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    pub path: PathBuf,
    pub format: LogFormat,
    /// Rotate at this many bytes; `None` never rotates.
    pub max_size: Option<u64>,
    /// How many files to keep, at least 1.
    pub max_files: u32,
    /// Compress those that are not written any more.
    pub compress: bool,
}

impl LogFile {
    /// Which file it is, whatever it is called by now. Inode numbers are used again, so the time of its
    /// making belongs to it; a compressed file carries this as its comment.
    pub fn identity(metadata: &Metadata) -> String {
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        format!("{} {}", metadata.ino(), born.unwrap_or_default().as_nanos())
    }
}

/// How a log file is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Docker's `json-file`: one `{"log","stream","attrs","time"}` object a line.
    Json { attributes: BTreeMap<String, String> },
    /// Docker's `local`: protobuf messages, each between its length and its length.
    Local,
}

/// Where a log server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogServer {
    Udp { host: String, port: u16 },
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, trust: LogTrust },
    Unix { path: PathBuf },
    UnixDatagram { path: PathBuf },
}

/// Whom a TLS connection trusts, and how it presents itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTrust {
    /// More authorities than the system's.
    pub authorities: Option<PathBuf>,
    /// Certificate and key of ours.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub skip_verify: bool,
}

/// `syslog`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogSink {
    /// `None` is the host's own daemon.
    pub server: Option<LogServer>,
    /// 0 to 23.
    pub facility: u8,
    pub format: SyslogFormat,
    pub tag: String,
    pub hostname: String,
}

/// How a syslog message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogFormat {
    /// What local daemons read: no host name.
    Unix,
    Rfc3164,
    Rfc5424,
    /// The same with microseconds.
    Rfc5424Micro,
}

/// `gelf`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GelfSink {
    /// UDP or TCP.
    pub server: LogServer,
    pub hostname: String,
    /// Fields of every message.
    pub fields: BTreeMap<String, String>,
    pub compression: GelfCompression,
    /// 0 to 9.
    pub level: u32,
    /// How often a lost TCP connection is made again, and after how many milliseconds.
    pub reconnects: u32,
    pub reconnect_delay: u64,
}

/// Compression of UDP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GelfCompression {
    Gzip,
    Zlib,
    None,
}

/// `fluentd`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FluentdSink {
    pub server: LogServer,
    pub tag: String,
    /// Fields of every record.
    pub fields: BTreeMap<String, String>,
    /// The container starts although the server cannot be reached, and never waits for it.
    pub asynchronous: bool,
    /// Bytes that may wait for an asynchronous connection.
    pub buffer: u64,
    pub retries: u32,
    /// Milliseconds before the first repetition; each later one waits half as long again.
    pub retry_wait: u64,
    pub sub_second: bool,
    pub acknowledged: bool,
    /// Milliseconds that a write may take; `None` has no limit.
    pub write_timeout: Option<u64>,
}
