//! `syslog`

use super::{Options, Subject, address, tag};
use crate::{
    error::{EngineError, Result},
    ports::{LogServer, LogTrust, SyslogFormat, SyslogSink},
};
use std::path::PathBuf;

pub(super) const OPTIONS: &[&str] = &[
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "tag",
];

/// By number.
const FACILITIES: [&str; 12] =
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
const DAEMON: u8 = 3;
const PORT: u16 = 514;

pub(super) fn sink(options: &Options<'_>, subject: &Subject<'_>) -> Result<SyslogSink> {
    Ok(SyslogSink {
        server: server(options)?,
        facility: facility(options.text("syslog-facility"))?,
        format: match options.text("syslog-format") {
            "" => SyslogFormat::Unix,
            "rfc3164" => SyslogFormat::Rfc3164,
            "rfc5424" => SyslogFormat::Rfc5424,
            "rfc5424micro" => SyslogFormat::Rfc5424Micro,
            _ => return Err(EngineError::invalid("Invalid syslog format")),
        },
        tag: tag::of(subject, options.text("tag"), "{{.ID}}")?,
        hostname: subject.hostname.clone(),
    })
}

fn server(options: &Options<'_>) -> Result<Option<LogServer>> {
    let text = options.text("syslog-address");
    if text.is_empty() {
        return Ok(None);
    }
    let unsupported = |scheme: &str| EngineError::invalid(format!("unsupported scheme: '{scheme}'"));
    let address = address::parse(text).ok_or_else(|| unsupported(""))?;
    if matches!(address.scheme, "unix" | "unixgram") {
        let path = PathBuf::from(address.path);
        if std::fs::metadata(&path).is_err() {
            return Err(EngineError::invalid(format!("stat {}: no such file or directory", address.path)));
        }
        return Ok(Some(if address.scheme == "unix" {
            LogServer::Unix { path }
        } else {
            LogServer::UnixDatagram { path }
        }));
    }
    let host = address.host.to_owned();
    let port = match address.port {
        None => PORT,
        Some(port) => port.parse().map_err(|_| EngineError::invalid(format!("invalid port {port:?}")))?,
    };
    match address.scheme {
        "udp" => Ok(Some(LogServer::Udp { host, port })),
        "tcp" => Ok(Some(LogServer::Tcp { host, port })),
        "tcp+tls" => Ok(Some(LogServer::Tls { host, port, trust: trust(options) })),
        scheme => Err(unsupported(scheme)),
    }
}

fn trust(options: &Options<'_>) -> LogTrust {
    let file = |key: &str| Some(options.text(key)).filter(|path| !path.is_empty()).map(PathBuf::from);
    LogTrust {
        authorities: file("syslog-tls-ca-cert"),
        identity: file("syslog-tls-cert").zip(file("syslog-tls-key")),
        // Its presence decides, not its value.
        skip_verify: options.is_set("syslog-tls-skip-verify"),
    }
}

fn facility(text: &str) -> Result<u8> {
    if text.is_empty() {
        return Ok(DAEMON);
    }
    let named = FACILITIES.iter().position(|name| *name == text).and_then(|number| u8::try_from(number).ok());
    let local = text.strip_prefix("local").and_then(|n| n.parse::<u8>().ok()).filter(|n| *n < 8);
    let number = text.parse::<u8>().ok().filter(|number| *number < 24);
    named.or(local.map(|n| n + 16)).or(number).ok_or_else(|| EngineError::invalid("invalid syslog facility"))
}
