//! `journald`, where the host has its socket.

use super::{Options, Subject, attributes, tag};
use crate::{error::Result, ports::LogSink};

pub(super) const OPTIONS: &[&str] = &["labels", "labels-regex", "env", "env-regex", "tag"];

pub(super) fn sink(options: &Options<'_>, subject: &Subject<'_>) -> Result<LogSink> {
    let mut fields = attributes::of(options, subject, field_name)?;
    let tag = tag::of(subject, options.text("tag"), "{{.ID}}")?;
    for (key, value) in [
        ("CONTAINER_ID", crate::id::short(subject.id)),
        ("CONTAINER_ID_FULL", subject.id),
        ("CONTAINER_NAME", subject.name),
        ("CONTAINER_TAG", &tag),
        ("IMAGE_NAME", subject.config.image.as_deref().unwrap_or_default()),
        ("SYSLOG_IDENTIFIER", &tag),
    ] {
        fields.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    fields.remove("");
    Ok(LogSink::Journald { fields })
}

/// Upper case letters, digits and underscores, and no underscore in front.
fn field_name(key: &str) -> String {
    let name: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    name.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_are_what_the_journal_takes() {
        assert_eq!(field_name("com.example-Team"), "COM_EXAMPLE_TEAM");
        assert_eq!(field_name("__x"), "X");
    }
}
