//! Whether the host's mounts can be exchanged with a container as its binds ask.

use super::{mounts::MountKind, record::Record};
use crate::error::{EngineError, Result};
use std::path::{Path, PathBuf};

/// Refuses in moby's words what the kernel would silently make a one-way copy of.
pub(super) async fn check(record: &Record) -> Result<()> {
    let binds = record.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind(bind) if bind.propagation.ends_with("shared") => Some((&bind.source, true)),
        MountKind::Bind(bind) if bind.propagation.ends_with("slave") => Some((&bind.source, false)),
        _ => None,
    });
    let mut mounts = None;
    for (source, shared_only) in binds {
        let path = tokio::fs::canonicalize(source).await;
        let path = path.map_err(|e| EngineError::system(format!("lstat {source}")).because(e))?;
        if mounts.is_none() {
            let text = tokio::fs::read_to_string("/proc/self/mountinfo").await;
            mounts = Some(text.map_err(|e| EngineError::system("Could not read the mounts").because(e))?);
        }
        let Some((point, exchanged)) = mounted_on(mounts.as_deref().unwrap_or_default(), &path) else {
            continue;
        };
        let wanted = if shared_only { "a shared mount" } else { "a shared or slave mount" };
        if !(exchanged.shared || (exchanged.slave && !shared_only)) {
            return Err(EngineError::system(format!(
                "path {} is mounted on {} but it is not {wanted}",
                path.display(),
                point.display()
            )));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exchanged {
    shared: bool,
    slave: bool,
}

/// The mount that `path` lies in, from `mountinfo`; of several at one place the last, which covers the others.
fn mounted_on(mountinfo: &str, path: &Path) -> Option<(PathBuf, Exchanged)> {
    let all = mountinfo.lines().filter_map(|line| {
        let fields = line.split(" - ").next()?;
        let mut fields = fields.split(' ').skip(4);
        let point = PathBuf::from(unescape(fields.next()?));
        let rest: Vec<&str> = fields.collect();
        let has = |tag: &str| rest.iter().any(|field| field.starts_with(tag));
        Some((point, Exchanged { shared: has("shared:"), slave: has("master:") }))
    });
    all.filter(|(point, _)| path.starts_with(point)).max_by_key(|(point, _)| point.components().count())
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// What the container's root exchanges with the host: the strongest that any of its binds asks for.
pub(super) fn of_root(record: &Record) -> &'static str {
    let asked = |word: &str| {
        record.mounts.iter().any(|mount| match &mount.kind {
            MountKind::Bind(bind) => bind.propagation.ends_with(word),
            _ => false,
        })
    };
    match () {
        () if asked("shared") => "shared",
        () if asked("slave") => "slave",
        () => "private",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{mounts, record::tests::record};

    #[test]
    fn the_covering_mount_counts() {
        let info = "20 1 8:1 / / rw shared:1 - ext4 /dev/vda rw\n\
                    21 20 0:5 / /data rw,noatime master:4 - tmpfs tmpfs rw\n\
                    22 20 0:6 / /data\\040x rw - tmpfs tmpfs rw\n\
                    23 20 0:7 / /data rw shared:7 master:4 - tmpfs tmpfs rw\n";
        let on = |path: &str| mounted_on(info, Path::new(path)).unwrap();
        assert_eq!(on("/srv"), ("/".into(), Exchanged { shared: true, slave: false }));
        assert_eq!(on("/data/deep"), ("/data".into(), Exchanged { shared: true, slave: true }));
        assert_eq!(on("/data x/y"), ("/data x".into(), Exchanged { shared: false, slave: false }));
        assert_eq!(on("/database").0, Path::new("/"));
    }

    #[test]
    fn sharing_reaches_the_root() {
        let mut record = record("web");
        assert_eq!(of_root(&record), "private");
        record.host.binds = Some(vec!["/a:/a:rslave".into(), "/b:/b".into()]);
        record.mounts = mounts::requested(&record.host).unwrap();
        assert_eq!(of_root(&record), "slave");
        record.host.binds = Some(vec!["/a:/a:rslave".into(), "/b:/b:rshared".into()]);
        record.mounts = mounts::requested(&record.host).unwrap();
        assert_eq!(of_root(&record), "shared");
    }
}
