//! Log drivers: what each one's options mean, checked when a container is made and turned into a plan for
//! the shim when it starts.

mod address;
mod attributes;
mod files;
mod fluentd;
mod gelf;
mod journald;
mod options;
mod syslog;
mod tag;

use super::super::record::{Record, log_path};
use crate::{
    error::{EngineError, Result},
    ports::{Delivery, LogFile, LogPlan, LogSink},
};
use bollard_stubs::models::{ContainerConfig, HostConfig};
use options::Options;
use std::{collections::HashMap, path::Path, time::SystemTime};

/// The drivers that exist, as `docker info` lists them.
pub const NAMES: [&str; 6] = ["fluentd", "gelf", "journald", "json-file", "local", "syslog"];

/// Moby's default for `max-buffer-size`.
const BUFFER: u64 = 1_000_000;
/// Options that every driver understands.
const BUILT_IN: [&str; 6] =
    ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];

/// What a driver may say about the container.
#[derive(Debug)]
struct Subject<'a> {
    id: &'a str,
    name: &'a str,
    image_id: &'a str,
    created: SystemTime,
    config: &'a ContainerConfig,
    /// The machine's host name.
    hostname: String,
}

/// Checks a container's log configuration before it exists.
pub(in crate::container) fn check(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let id = "0".repeat(64);
    let subject = Subject {
        id: &id,
        name: "name",
        image_id: &id,
        created: SystemTime::UNIX_EPOCH,
        config,
        hostname: String::new(),
    };
    sink(host, &subject, Path::new("/")).map(drop)
}

/// What the shim of a container is to do with its output. `folder` is the container's.
pub(in crate::container) fn plan(record: &Record, folder: &Path) -> Result<LogPlan> {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let subject = Subject {
        id: &record.id,
        name: &record.name,
        image_id: record.image_id.trim_start_matches("sha256:"),
        created: record.created,
        config: &record.config,
        hostname: hostname.trim().to_owned(),
    };
    sink(&record.host, &subject, folder)
}

/// The files that `docker logs` reads; `None` when the driver cannot be read back.
pub(in crate::container) fn readable(record: &Record, folder: &Path) -> Option<LogFile> {
    let plan = plan(record, folder).ok()?;
    match plan.sink {
        Some(LogSink::File(file)) => Some(file),
        _ => plan.cache,
    }
}

/// Where `docker inspect` says that the log is: only `json-file` tells.
pub(in crate::container) fn shown_path(record: &Record, folder: &Path) -> String {
    match driver(&record.host) {
        "json-file" => log_path(folder, &record.id).to_string_lossy().into_owned(),
        _ => String::new(),
    }
}

fn driver(host: &HostConfig) -> &str {
    let named = host.log_config.as_ref().and_then(|log| log.typ.as_deref());
    named.filter(|name| !name.is_empty()).unwrap_or("json-file")
}

fn sink(host: &HostConfig, subject: &Subject<'_>, folder: &Path) -> Result<LogPlan> {
    let empty = HashMap::new();
    let given = host.log_config.as_ref().and_then(|log| log.config.as_ref()).unwrap_or(&empty);
    let name = driver(host);
    if name == "none" {
        return Ok(LogPlan::default());
    }
    let options = Options::new(name, given);
    let delivery = delivery(&options)?;
    let keep_cache = !options.boolean("cache-disabled").map_err(|_| {
        EngineError::invalid(format!("invalid value for option cache-disabled: {}", given["cache-disabled"]))
    })?;
    if !NAMES.contains(&name) {
        return Err(EngineError::invalid(format!(
            "error looking up logging plugin {name}: plugin {name:?} not found"
        )));
    }
    options.refuse_unknown(&BUILT_IN, known_options(name))?;
    let sink = match name {
        "json-file" => LogSink::File(files::json(&options, subject, log_path(folder, subject.id))?),
        "local" => LogSink::File(files::local(&options, "", folder.join("local-logs/container.log"))?),
        "syslog" => LogSink::Syslog(syslog::sink(&options, subject)?),
        "gelf" => LogSink::Gelf(gelf::sink(&options, subject)?),
        "fluentd" => LogSink::Fluentd(fluentd::sink(&options, subject)?),
        _ => journald::sink(&options, subject)?,
    };
    let cache = match sink {
        LogSink::File(_) => None,
        _ if !keep_cache => None,
        _ => Some(files::local(&options, "cache-", folder.join("container-cached.log"))?),
    };
    Ok(LogPlan { sink: Some(sink), cache, delivery })
}

fn known_options(driver: &str) -> &'static [&'static str] {
    match driver {
        "json-file" => files::JSON_OPTIONS,
        "local" => files::LOCAL_OPTIONS,
        "syslog" => syslog::OPTIONS,
        "gelf" => gelf::OPTIONS,
        "fluentd" => fluentd::OPTIONS,
        _ => journald::OPTIONS,
    }
}

fn delivery(options: &Options<'_>) -> Result<Delivery> {
    let mode = options.text("mode");
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(EngineError::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    if options.is_set("max-buffer-size") && mode != "non-blocking" {
        return Err(EngineError::invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ));
    }
    let buffer = options
        .binary_size("max-buffer-size")
        .map_err(|e| EngineError::invalid(format!("error parsing option max-buffer-size: {e}")))?;
    Ok(match mode {
        "non-blocking" => Delivery::NonBlocking { buffer: buffer.unwrap_or(BUFFER) },
        _ => Delivery::Blocking,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        container::record::tests::record,
        ports::{GelfCompression, LogFormat, LogServer, SyslogFormat},
    };
    use bollard_stubs::models::HostConfigLogConfig;

    fn planned(driver: &str, options: &[(&str, &str)]) -> Result<LogPlan> {
        let mut record = record("web");
        record.config.image = Some("busybox".into());
        record.config.env = Some(vec!["A=1".into(), "B=2".into()]);
        record.config.labels = Some([("team".to_owned(), "x y".to_owned())].into());
        record.host.log_config = Some(HostConfigLogConfig {
            typ: Some(driver.into()),
            config: Some(options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        });
        check(&record.config, &record.host)?;
        plan(&record, Path::new("/c"))
    }

    fn refusal(driver: &str, option: (&str, &str)) -> String {
        planned(driver, &[option]).unwrap_err().to_string()
    }

    #[test]
    fn files_rotate_and_carry_attributes() {
        let options = [("max-size", "10m"), ("max-file", "3"), ("compress", "true"), ("tag", "{{.Name}}/x")];
        let more = [("labels", "team,none"), ("env-regex", "^B$")];
        let plan = planned("json-file", &[&options[..], &more[..]].concat()).unwrap();
        let Some(LogSink::File(file)) = plan.sink else { panic!("{plan:?}") };
        assert_eq!((file.max_size, file.max_files, file.compress), (Some(10_000_000), 3, true));
        let LogFormat::Json { attributes } = file.format else { panic!("json") };
        let shown: Vec<String> = attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(shown, ["B=2", "tag=web/x", "team=x y"]);
        assert_eq!(plan.cache, None);

        let Some(LogSink::File(file)) = planned("local", &[]).unwrap().sink else { panic!("local") };
        assert_eq!((file.max_size, file.max_files, file.compress), (Some(20_000_000), 5, true));
    }

    #[test]
    fn network_drivers_have_a_cache_unless_told_otherwise() {
        let udp = [("gelf-address", "udp://10.0.0.1:12201"), ("gelf-compression-type", "zlib")];
        let plan = planned("gelf", &udp).unwrap();
        let Some(LogSink::Gelf(gelf)) = &plan.sink else { panic!("{plan:?}") };
        assert_eq!(gelf.server, LogServer::Udp { host: "10.0.0.1".into(), port: 12201 });
        assert_eq!(gelf.compression, GelfCompression::Zlib);
        assert_eq!(gelf.fields["_image_name"], "busybox");
        assert!(plan.cache.is_some_and(|cache| cache.path.ends_with("container-cached.log")));
        let without = planned("gelf", &[&udp[..], &[("cache-disabled", "true")]].concat()).unwrap();
        assert_eq!(without.cache, None);
    }

    #[test]
    fn addresses_formats_and_modes() {
        let options = [
            ("syslog-address", "tcp+tls://[::1]:6514"),
            ("syslog-format", "rfc5424micro"),
            ("syslog-facility", "local3"),
            ("mode", "non-blocking"),
            ("max-buffer-size", "4k"),
        ];
        let plan = planned("syslog", &options).unwrap();
        assert_eq!(plan.delivery, Delivery::NonBlocking { buffer: 4096 });
        let Some(LogSink::Syslog(syslog)) = plan.sink else { panic!("syslog") };
        assert!(matches!(syslog.server, Some(LogServer::Tls { host, port: 6514, .. }) if host == "::1"));
        assert_eq!((syslog.facility, syslog.format), (19, SyslogFormat::Rfc5424Micro));
        assert_eq!(syslog.tag.len(), 12);

        let Some(LogSink::Fluentd(fluentd)) = planned("fluentd", &[]).unwrap().sink else {
            panic!("fluentd")
        };
        assert_eq!(fluentd.server, LogServer::Tcp { host: "127.0.0.1".into(), port: 24224 });
        let unix = planned("fluentd", &[("fluentd-address", "unix:///run/f.sock"), ("fluentd-async", "1")]);
        let Some(LogSink::Fluentd(fluentd)) = unix.unwrap().sink else { panic!("fluentd") };
        assert!(fluentd.asynchronous && matches!(fluentd.server, LogServer::Unix { .. }));
    }

    #[test]
    fn mistakes_are_named_in_mobys_words() {
        for (driver, option, sentence) in [
            ("splunk", ("a", "b"), "error looking up logging plugin splunk: plugin \"splunk\" not found"),
            ("json-file", ("colour", "red"), "unknown log opt 'colour' for json-file log driver"),
            ("json-file", ("max-file", "0"), "max-file cannot be less than 1"),
            ("json-file", ("max-size", "0"), "max-size must be a positive number"),
            ("json-file", ("max-size", "much"), "invalid size: 'much'"),
            ("json-file", ("mode", "maybe"), "logger: logging mode not supported: maybe"),
            (
                "json-file",
                ("max-buffer-size", "1m"),
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "json-file",
                ("compress", "true"),
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
            (
                "local",
                ("compress", "perhaps"),
                "invalid boolean value for compress: strconv.ParseBool: parsing \"perhaps\": invalid syntax",
            ),
            ("local", ("labels", "x"), "unknown log opt 'labels' for local log driver"),
            ("gelf", ("gelf-address", "host"), "gelf-address should be in form proto://address, got host"),
            ("gelf", ("gelf-address", "unix:///x"), "gelf: endpoint needs to be TCP or UDP"),
            ("syslog", ("syslog-facility", "moon"), "invalid syslog facility"),
            ("syslog", ("syslog-format", "rfc1"), "Invalid syslog format"),
            ("syslog", ("syslog-address", "host"), "unsupported scheme: ''"),
            ("fluentd", ("fluentd-address", "ftp://x"), "unsupported scheme: 'ftp'"),
            ("fluentd", ("tag", "{{.Nope}}"), "template: log-tag: can't evaluate {{.Nope}}"),
            ("gelf", ("cache-disabled", "perhaps"), "invalid value for option cache-disabled: perhaps"),
        ] {
            assert_eq!(refusal(driver, option), sentence, "{driver} {option:?}");
        }
    }
}
