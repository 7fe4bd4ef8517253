//! `gelf`: Graylog's extended log format.

use super::{Options, Subject, address, attributes, tag};
use crate::{
    error::{EngineError, Result},
    ports::{GelfCompression, GelfSink, LogServer},
};
use jiff::Timestamp;

pub(super) const OPTIONS: &[&str] = &[
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
    "tag",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
];

pub(super) fn sink(options: &Options<'_>, subject: &Subject<'_>) -> Result<GelfSink> {
    let server = server(options.text("gelf-address"))?;
    let udp = matches!(server, LogServer::Udp { .. });
    let unknown = |key: &str| {
        let value = options.text(key);
        EngineError::invalid(format!("unknown value {value:?} for log opt {key:?} for gelf log driver"))
    };
    for key in ["gelf-compression-level", "gelf-compression-type"] {
        if options.is_set(key) && !udp {
            return Err(EngineError::invalid("compression is only supported on UDP"));
        }
    }
    for key in ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"] {
        let count = options
            .integer(key)
            .map_err(|_| EngineError::invalid(format!("{key:?} must be a positive integer")))?;
        if count.is_some_and(|count| count < 0) {
            return Err(EngineError::invalid(format!("{key:?} must be a positive integer")));
        }
        if count.is_some() && udp {
            return Err(EngineError::invalid(format!("{key:?} option is only valid for TCP")));
        }
    }
    // -1 is the library's own choice.
    let level = options.integer("gelf-compression-level").map_err(|_| unknown("gelf-compression-level"))?;
    let level = match level {
        None => 1,
        Some(-1) => 6,
        Some(level) => u32::try_from(level)
            .ok()
            .filter(|level| *level <= 9)
            .ok_or_else(|| unknown("gelf-compression-level"))?,
    };
    let compression = match options.text("gelf-compression-type") {
        "" | "gzip" => GelfCompression::Gzip,
        "zlib" => GelfCompression::Zlib,
        "none" => GelfCompression::None,
        _ => return Err(unknown("gelf-compression-type")),
    };

    let mut fields = attributes::of(options, subject, |key| {
        if key.starts_with('_') { key.to_owned() } else { format!("_{key}") }
    })?;
    let created = Timestamp::try_from(subject.created).unwrap_or_default();
    for (key, value) in [
        ("_container_id", subject.id.to_owned()),
        ("_container_name", subject.name.to_owned()),
        ("_image_id", format!("sha256:{}", subject.image_id)),
        ("_image_name", subject.config.image.clone().unwrap_or_default()),
        ("_command", tag::command(subject)),
        ("_tag", tag::of(subject, options.text("tag"), "{{.ID}}")?),
        ("_created", created.to_string()),
    ] {
        fields.entry(key.to_owned()).or_insert(value);
    }
    let unsigned = |key: &str, default: u64| {
        options.integer(key).map(|n| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(default))
    };
    Ok(GelfSink {
        server,
        hostname: subject.hostname.clone(),
        fields,
        compression,
        level,
        reconnects: u32::try_from(unsigned("gelf-tcp-max-reconnect", 3)?).unwrap_or(u32::MAX),
        reconnect_delay: unsigned("gelf-tcp-reconnect-delay", 1)?.saturating_mul(1000),
    })
}

fn server(text: &str) -> Result<LogServer> {
    if text.is_empty() {
        return Err(EngineError::invalid("gelf-address is a required parameter"));
    }
    let address = address::parse(text).ok_or_else(|| {
        EngineError::invalid(format!("gelf-address should be in form proto://address, got {text}"))
    })?;
    if !matches!(address.scheme, "udp" | "tcp") {
        return Err(EngineError::invalid("gelf: endpoint needs to be TCP or UDP"));
    }
    let host = address.host.to_owned();
    let port = address
        .port
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| EngineError::invalid("gelf: please provide gelf-address as proto://host:port"))?;
    Ok(if address.scheme == "udp" { LogServer::Udp { host, port } } else { LogServer::Tcp { host, port } })
}
