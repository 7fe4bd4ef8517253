//! The `tag` option: a Go template of the container's names. Fields and `index .ContainerLabels "x"` are
//! understood; a template that needs more is refused.

use super::Subject;
use crate::error::{EngineError, Result};

/// Fills in `template`; the empty one is `default`.
pub(super) fn of(subject: &Subject<'_>, template: &str, default: &str) -> Result<String> {
    let template = if template.is_empty() { default } else { template };
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, action)) = rest.split_once("{{") {
        text.push_str(before);
        let unfinished = || EngineError::invalid("template: log-tag:1: unclosed action");
        let (inside, behind) = action.split_once("}}").ok_or_else(unfinished)?;
        let expression = inside.trim_matches('-').trim();
        let value = field(subject, expression).ok_or_else(|| {
            EngineError::invalid(format!("template: log-tag: can't evaluate {{{{{inside}}}}}"))
        })?;
        text.push_str(&value);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

fn field(subject: &Subject<'_>, expression: &str) -> Option<String> {
    let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
    let expression = expression.strip_prefix('(').and_then(|e| e.strip_suffix(')')).unwrap_or(expression);
    if let Some(label) = expression.strip_prefix("index .ContainerLabels ") {
        let label = label.trim().strip_prefix('"')?.strip_suffix('"')?;
        return Some(subject.config.labels.iter().flatten().find(|(k, _)| *k == label)?.1.clone());
    }
    Some(match expression {
        ".ID" => short(subject.id),
        ".FullID" | ".ContainerID" => subject.id.to_owned(),
        ".Name" => subject.name.to_owned(),
        ".ContainerName" => format!("/{}", subject.name),
        ".ImageID" => short(&format!("sha256:{}", subject.image_id)),
        ".ImageFullID" | ".ContainerImageID" => format!("sha256:{}", subject.image_id),
        ".ImageName" | ".ContainerImageName" => subject.config.image.clone().unwrap_or_default(),
        ".DaemonName" => "docker".to_owned(),
        ".Hostname" => subject.hostname.clone(),
        ".Command" => command(subject),
        _ => return None,
    })
}

/// Entrypoint and arguments in one line.
pub(super) fn command(subject: &Subject<'_>) -> String {
    let words = subject.config.entrypoint.iter().flatten().chain(subject.config.cmd.iter().flatten());
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}
