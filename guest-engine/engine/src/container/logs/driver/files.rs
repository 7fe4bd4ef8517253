//! `json-file`, `local`, and the cache that is written like `local`.

use super::{Options, Subject, attributes, tag};
use crate::{
    error::{EngineError, Result},
    ports::{LogFile, LogFormat},
};
use std::path::PathBuf;

pub(super) const JSON_OPTIONS: &[&str] =
    &["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];
pub(super) const LOCAL_OPTIONS: &[&str] = &["max-file", "max-size", "compress"];

/// Docker's defaults for `local`.
const LOCAL_SIZE: u64 = 20_000_000;
const LOCAL_FILES: i64 = 5;

pub(super) fn json(options: &Options<'_>, subject: &Subject<'_>, path: PathBuf) -> Result<LogFile> {
    let max_size = match options.text("max-size") {
        "-1" => None,
        _ => options.decimal_size("max-size")?,
    };
    if max_size == Some(0) {
        return Err(EngineError::invalid("max-size must be a positive number"));
    }
    let max_files = match options.integer("max-file")? {
        Some(count) if count < 1 => return Err(EngineError::invalid("max-file cannot be less than 1")),
        count => u32::try_from(count.unwrap_or(1)).unwrap_or(u32::MAX),
    };
    let compress = options.boolean("compress")?;
    if compress && (max_files < 2 || max_size.is_none()) {
        return Err(EngineError::invalid(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ));
    }
    let mut attributes = attributes::of(options, subject, str::to_owned)?;
    let tag = tag::of(subject, options.text("tag"), "")?;
    if !tag.is_empty() {
        attributes.insert("tag".to_owned(), tag);
    }
    Ok(LogFile { path, format: LogFormat::Json { attributes }, max_size, max_files, compress })
}

/// The options' names begin with `prefix`.
pub(super) fn local(options: &Options<'_>, prefix: &str, path: PathBuf) -> Result<LogFile> {
    let key = |name: &str| format!("{prefix}{name}");
    let invalid = |name: &'static str| {
        let text = options.text(&key(name)).to_owned();
        move |e: EngineError| EngineError::invalid(format!("invalid value for {name}: {text}: {e}"))
    };
    let max_size = options.decimal_size(&key("max-size")).map_err(invalid("max-size"))?;
    let max_files = options.integer(&key("max-file")).map_err(invalid("max-file"))?.unwrap_or(LOCAL_FILES);
    if max_files < 0 {
        return Err(EngineError::invalid("max-file must not be negative"));
    }
    let compress = !options.is_set(&key("compress"))
        || options
            .boolean(&key("compress"))
            .map_err(|e| EngineError::invalid(format!("invalid boolean value for compress: {e}")))?;
    if compress && max_files <= 1 {
        return Err(EngineError::invalid("compression cannot be enabled when max file count is 1"));
    }
    Ok(LogFile {
        path,
        format: LogFormat::Local,
        max_size: Some(max_size.filter(|size| *size > 0).unwrap_or(LOCAL_SIZE)),
        max_files: u32::try_from(max_files.max(1)).unwrap_or(u32::MAX),
        compress,
    })
}
