//! What a tar says of an entry besides its kind.

use engine::pax::PaxRecord;
use rustix::fs::{Gid, Mode, Timespec, Uid};
use std::io::{self, Read};
use tar::Entry;

/// Of one entry.
pub(super) struct Attributes {
    pub mode: Mode,
    pub owner: (Uid, Gid),
    pub time: Timespec,
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Attributes {
    /// Of its header and the extended one before it.
    pub(super) fn of<R: Read>(entry: &Entry<'_, R>, pax: Vec<PaxRecord>) -> io::Result<Self> {
        let mut time = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut xattrs = Vec::new();
        for (key, value) in pax {
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                // An archive has no say in how layers are stacked.
                if !name.starts_with("trusted.overlay.") && !name.starts_with("user.overlay.") {
                    xattrs.push((name.to_owned(), value));
                }
            } else if key == "mtime"
                && let Some(parsed) = std::str::from_utf8(&value).ok().and_then(pax_time)
            {
                time = parsed;
            }
        }
        let header = entry.header();
        if time.tv_sec == 0 && time.tv_nsec == 0 {
            let seconds = number(&header.as_old().mtime, || header.mtime())?;
            time.tv_sec = i64::try_from(seconds).unwrap_or(0);
        }
        // The pax numbers have been merged into the header by the tar crate.
        let id = |number: u64| {
            u32::try_from(number)
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "owner out of range"))
        };
        let old = header.as_old();
        let uid = id(number(&old.uid, || header.uid())?)?;
        let gid = id(number(&old.gid, || header.gid())?)?;
        let mode = number(&old.mode, || header.mode().map(u64::from))?;
        let mode = Mode::from_raw_mode(u32::try_from(mode & 0o7777).unwrap_or(0));
        Ok(Self { mode, owner: (Uid::from_raw(uid), Gid::from_raw(gid)), time, xattrs })
    }
}

/// An empty field is zero, as for every other reader of tars.
fn number(field: &[u8], read: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { read() }
}

/// `SECONDS[.FRACTION]`.
fn pax_time(text: &str) -> Option<Timespec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(Timespec { tv_sec: seconds.parse().ok()?, tv_nsec: digits.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_have_nanoseconds() {
        let time = pax_time("1700000000.5").unwrap();
        assert_eq!((time.tv_sec, time.tv_nsec), (1_700_000_000, 500_000_000));
        assert!(pax_time("x").is_none());
    }
}
