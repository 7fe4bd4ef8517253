//! `RUN --mount=type=cache,target=…`: what a step of a build finds besides its stage's files. Pure.

use crate::error::{EngineError, Result};

/// One `--mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BuildMount {
    pub(super) kind: MountKind,
    /// Absolute, or relative to the working folder; empty where the kind has a place of its own.
    pub(super) target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MountKind {
    /// Files of a stage, an image or the context.
    Bind {
        from: Option<String>,
        source: String,
        writable: bool,
    },
    /// A folder that outlives the build.
    Cache {
        id: String,
        from: Option<String>,
        source: String,
        read_only: bool,
        sharing: Sharing,
        owner: Owner,
    },
    Tmpfs {
        size: Option<i64>,
    },
    /// A file, an environment variable, or both.
    Secret {
        id: String,
        file: bool,
        env: Option<String>,
        required: bool,
        owner: Owner,
    },
    Ssh {
        id: String,
        required: bool,
        owner: Owner,
    },
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    Shared,
    Private,
    Locked,
}

/// Owner and mode of what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
}

/// The `from=` of a mount that is not looked at otherwise yet.
pub(super) fn from_of(text: &str) -> Option<String> {
    fields(text).find(|(key, _)| key == "from").and_then(|(_, value)| value)
}

/// Reads one, its variables replaced.
pub(super) fn parse(text: &str) -> Result<BuildMount> {
    let mut given = Given::default();
    for (key, value) in fields(text) {
        given.take(&key, value, text)?;
    }
    given.mount()
}

/// `key=value` fields, of which some are switches.
fn fields(text: &str) -> impl Iterator<Item = (String, Option<String>)> + '_ {
    text.split(',').filter(|field| !field.is_empty()).map(|field| {
        let field = field.trim_matches('"');
        match field.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.trim().to_ascii_lowercase(), None),
        }
    })
}

#[derive(Debug, Default)]
struct Given {
    kind: Option<String>,
    from: Option<String>,
    source: Option<String>,
    target: String,
    id: Option<String>,
    env: Option<String>,
    read_only: Option<bool>,
    required: bool,
    sharing: Option<String>,
    size: Option<i64>,
    mode: Option<u32>,
    user: u32,
    group: u32,
}

impl Given {
    fn take(&mut self, key: &str, value: Option<String>, whole: &str) -> Result<()> {
        let bad = |value: &str| EngineError::invalid(format!("invalid value for {key}: {value}"));
        let switch = |value: &Option<String>| match value.as_deref() {
            None | Some("true" | "1" | "") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(bad(other)),
        };
        match key {
            "ro" | "readonly" => self.read_only = Some(switch(&value)?),
            "rw" | "readwrite" => self.read_only = Some(!switch(&value)?),
            "required" => self.required = switch(&value)?,
            _ => {
                let Some(value) = value else {
                    return Err(EngineError::invalid(format!(
                        "invalid field '{key}' must be a key=value pair"
                    )));
                };
                let number = |radix| u32::from_str_radix(&value, radix).map_err(|_| bad(&value));
                match key {
                    "type" => self.kind = Some(value.to_ascii_lowercase()),
                    "from" => self.from = Some(value),
                    "source" | "src" => self.source = Some(value),
                    "target" | "dst" | "destination" => self.target = value,
                    "id" => self.id = Some(value),
                    "env" => self.env = Some(value),
                    "sharing" => self.sharing = Some(value),
                    "size" => self.size = Some(bytes(&value).ok_or_else(|| bad(&value))?),
                    "mode" => self.mode = Some(number(8)?),
                    "uid" => self.user = number(10)?,
                    "gid" => self.group = number(10)?,
                    _ => {
                        return Err(EngineError::invalid(format!("unexpected key '{key}' in '{whole}'")));
                    }
                }
            }
        }
        Ok(())
    }

    fn mount(self) -> Result<BuildMount> {
        let owner = |mode: u32| Owner { user: self.user, group: self.group, mode: self.mode.unwrap_or(mode) };
        let source = self.source.clone().unwrap_or_default();
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let kind = match self.kind.as_deref().unwrap_or("bind") {
            "bind" => {
                MountKind::Bind { from: self.from.clone(), source, writable: self.read_only == Some(false) }
            }
            "cache" => MountKind::Cache {
                id: self.id.clone().unwrap_or_else(|| self.target.clone()),
                from: self.from.clone(),
                source,
                read_only: self.read_only == Some(true),
                sharing: match self.sharing.as_deref() {
                    None | Some("shared") => Sharing::Shared,
                    Some("private") => Sharing::Private,
                    Some("locked") => Sharing::Locked,
                    Some(other) => {
                        return Err(EngineError::invalid(format!("unsupported sharing value {other:?}")));
                    }
                },
                owner: owner(0o755),
            },
            "tmpfs" => MountKind::Tmpfs { size: self.size },
            "secret" => {
                // Its name is that of the file, and the other way round.
                let id = self.id.clone().or_else(|| self.source.clone());
                let id = id.unwrap_or_else(|| base(&self.target));
                if id.is_empty() {
                    return Err(EngineError::invalid("one of source, target required"));
                }
                MountKind::Secret {
                    id,
                    file: self.env.is_none() || !self.target.is_empty(),
                    env: self.env.clone(),
                    required: self.required,
                    owner: owner(0o400),
                }
            }
            "ssh" => MountKind::Ssh {
                id: self.id.clone().unwrap_or_else(|| "default".to_owned()),
                required: self.required,
                owner: owner(0o600),
            },
            other => return Err(EngineError::invalid(format!("unsupported mount type {other:?}"))),
        };
        let placed = !matches!(kind, MountKind::Secret { .. } | MountKind::Ssh { .. });
        if placed && matches!(self.target.trim_end_matches('/'), "" | ".") {
            return Err(EngineError::invalid("invalid mount target \"/\""));
        }
        Ok(BuildMount { kind, target: self.target })
    }
}

/// `64m`, `1g`, `1048576`.
fn bytes(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match lower.char_indices().last()? {
        (at, 'k') => (&lower[..at], 10),
        (at, 'm') => (&lower[..at], 20),
        (at, 'g') => (&lower[..at], 30),
        _ => (lower, 0),
    };
    digits.trim().parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let kind = |text: &str| parse(text).unwrap().kind;
        assert_eq!(
            kind("from=a,source=/x,target=/y,rw"),
            MountKind::Bind { from: Some("a".into()), source: "/x".into(), writable: true }
        );
        assert_eq!(
            kind("type=cache,target=/root/.cache,sharing=locked,mode=0700"),
            MountKind::Cache {
                id: "/root/.cache".into(),
                from: None,
                source: String::new(),
                read_only: false,
                sharing: Sharing::Locked,
                owner: Owner { user: 0, group: 0, mode: 0o700 },
            }
        );
        assert_eq!(kind("type=tmpfs,target=/t,size=64m"), MountKind::Tmpfs { size: Some(64 << 20) });
        let MountKind::Secret { id, file, env, required, .. } = kind("type=secret,id=k,env=KEY,required")
        else {
            panic!()
        };
        assert_eq!((id.as_str(), file, env.as_deref(), required), ("k", false, Some("KEY"), true));
        assert_eq!(from_of("type=bind,from=deps,target=/x").as_deref(), Some("deps"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, error) in [
            ("type=what,target=/x", "unsupported mount type \"what\""),
            ("target=/x,bogus=1", "unexpected key 'bogus' in 'target=/x,bogus=1'"),
            ("type=cache", "invalid mount target \"/\""),
            ("type=cache,target=/x,sharing=no", "unsupported sharing value \"no\""),
            ("type=secret", "one of source, target required"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error);
        }
    }
}
