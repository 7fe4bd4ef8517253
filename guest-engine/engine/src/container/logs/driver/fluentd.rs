//! `fluentd`: the forward protocol of Fluentd and Fluent Bit.

use super::{Options, Subject, address, attributes, tag};
use crate::{
    error::{EngineError, Result},
    ports::{FluentdSink, LogServer, LogTrust},
};
use std::{path::PathBuf, time::Duration};

pub(super) const OPTIONS: &[&str] = &[
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "tag",
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
];

const PORT: u16 = 24224;
const BUFFER: u64 = 1024 * 1024;
const RETRY_WAIT: Duration = Duration::from_secs(1);

pub(super) fn sink(options: &Options<'_>, subject: &Subject<'_>) -> Result<FluentdSink> {
    if !options.text("fluentd-async").is_empty() && !options.text("fluentd-async-connect").is_empty() {
        return Err(EngineError::invalid(
            "conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'",
        ));
    }
    let retries = match options.integer("fluentd-max-retries")? {
        None => i32::MAX as u32,
        Some(count) => u32::try_from(count).map_err(|_| {
            EngineError::invalid("invalid value for fluentd-max-retries: must not be negative")
        })?,
    };
    // Only sensible between 100 ms and 10 s; the connection is renewed when it is lost.
    if let Some(interval) = options.duration("fluentd-async-reconnect-interval")?
        && interval != Duration::ZERO
        && !(Duration::from_millis(100)..=Duration::from_secs(10)).contains(&interval)
    {
        return Err(EngineError::invalid(
            "invalid value for fluentd-async-reconnect-interval: value must be between 100ms and 10s",
        ));
    }
    options.duration("fluentd-read-timeout")?;
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut fields = attributes::of(options, subject, str::to_owned)?;
    fields.entry("container_id".to_owned()).or_insert_with(|| subject.id.to_owned());
    fields.entry("container_name".to_owned()).or_insert_with(|| format!("/{}", subject.name));
    Ok(FluentdSink {
        server: server(options.text("fluentd-address"))?,
        tag: tag::of(subject, options.text("tag"), "{{.ID}}")?,
        fields,
        asynchronous: options.boolean("fluentd-async")? || options.boolean("fluentd-async-connect")?,
        buffer: options.binary_size("fluentd-buffer-limit")?.unwrap_or(BUFFER),
        retries,
        retry_wait: milliseconds(options.duration("fluentd-retry-wait")?.unwrap_or(RETRY_WAIT)),
        sub_second: options.boolean("fluentd-sub-second-precision")?,
        acknowledged: options.boolean("fluentd-request-ack")?,
        write_timeout: options.duration("fluentd-write-timeout")?.filter(|t| !t.is_zero()).map(milliseconds),
    })
}

fn server(text: &str) -> Result<LogServer> {
    let invalid = || EngineError::invalid(format!("invalid fluentd-address {text}"));
    let port = |port: Option<&str>| port.map_or(Ok(PORT), |port| port.parse().map_err(|_| invalid()));
    if text.is_empty() {
        return Ok(LogServer::Tcp { host: "127.0.0.1".to_owned(), port: PORT });
    }
    let Some(address) = address::parse(text) else {
        let (host, written) = address::split(text);
        return Ok(LogServer::Tcp { host: host.to_owned(), port: port(written)? });
    };
    let host = address.host.to_owned();
    match address.scheme {
        "unix" if address.path.is_empty() || address.path == "/" => {
            Err(EngineError::invalid(format!("{}: path is empty", invalid())))
        }
        "unix" => Ok(LogServer::Unix { path: PathBuf::from(address.path) }),
        "tcp" => Ok(LogServer::Tcp { host, port: port(address.port)? }),
        "tls" => Ok(LogServer::Tls { host, port: port(address.port)?, trust: LogTrust::default() }),
        scheme => Err(EngineError::invalid(format!("unsupported scheme: '{scheme}'"))),
    }
}
