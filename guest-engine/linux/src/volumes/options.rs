//! `mount -o` as the `local` volume driver takes it.

use engine::{EngineError, error::Result, ports::VolumeSource};
use nix::mount::{MsFlags, mount as mount_at};
use std::{
    net::{IpAddr, ToSocketAddrs},
    path::Path,
};

/// Words that are flags, and whether they set or clear theirs. The rest is the file system's.
const FLAGS: [(&str, bool, MsFlags); 28] = [
    ("ro", true, MsFlags::MS_RDONLY),
    ("rw", false, MsFlags::MS_RDONLY),
    ("nosuid", true, MsFlags::MS_NOSUID),
    ("suid", false, MsFlags::MS_NOSUID),
    ("nodev", true, MsFlags::MS_NODEV),
    ("dev", false, MsFlags::MS_NODEV),
    ("noexec", true, MsFlags::MS_NOEXEC),
    ("exec", false, MsFlags::MS_NOEXEC),
    ("sync", true, MsFlags::MS_SYNCHRONOUS),
    ("async", false, MsFlags::MS_SYNCHRONOUS),
    ("dirsync", true, MsFlags::MS_DIRSYNC),
    ("mand", true, MsFlags::MS_MANDLOCK),
    ("nomand", false, MsFlags::MS_MANDLOCK),
    ("noatime", true, MsFlags::MS_NOATIME),
    ("atime", false, MsFlags::MS_NOATIME),
    ("nodiratime", true, MsFlags::MS_NODIRATIME),
    ("diratime", false, MsFlags::MS_NODIRATIME),
    ("relatime", true, MsFlags::MS_RELATIME),
    ("norelatime", false, MsFlags::MS_RELATIME),
    ("strictatime", true, MsFlags::MS_STRICTATIME),
    ("nostrictatime", false, MsFlags::MS_STRICTATIME),
    ("bind", true, MsFlags::MS_BIND),
    ("rbind", true, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
    ("defaults", true, MsFlags::empty()),
    ("private", true, MsFlags::MS_PRIVATE),
    ("rprivate", true, MsFlags::MS_PRIVATE.union(MsFlags::MS_REC)),
    ("slave", true, MsFlags::MS_SLAVE),
    ("rslave", true, MsFlags::MS_SLAVE.union(MsFlags::MS_REC)),
];

/// Mounts what the options name.
pub(super) fn mount(source: &VolumeSource, at: &Path) -> Result<()> {
    let network = matches!(source.filesystem.as_str(), "nfs" | "nfs4" | "cifs");
    let mut words = source.options.clone();
    if network {
        for word in &mut words {
            if let Some(host) = word.strip_prefix("addr=") {
                *word = format!("addr={}", address_of(host)?);
            }
        }
    }
    let (flags, data) = understood(&words);
    let propagation = MsFlags::MS_PRIVATE | MsFlags::MS_SLAVE;
    let first = flags - propagation;
    let device = Some(source.device.as_str());
    let filesystem = Some(source.filesystem.as_str());
    let mounted = mount_at(device, at, filesystem, first, Some(data.as_str()))
        .and_then(|()| match first.contains(MsFlags::MS_BIND | MsFlags::MS_RDONLY) {
            // A bind takes its flags in a second step.
            true => mount_at(None::<&str>, at, None::<&str>, first | MsFlags::MS_REMOUNT, None::<&str>),
            false => Ok(()),
        })
        .and_then(|()| match flags.intersects(propagation) {
            true => mount_at(
                None::<&str>,
                at,
                None::<&str>,
                flags & (propagation | MsFlags::MS_REC),
                None::<&str>,
            ),
            false => Ok(()),
        });
    mounted.map_err(|error| {
        let data =
            if data.is_empty() { String::new() } else { format!(", data: {}", without_password(&data)) };
        let flags = if first.is_empty() { String::new() } else { format!(", flags: {:#x}", first.bits()) };
        EngineError::system(format!(
            "mount {}:{}{flags}{data}: {}",
            source.device,
            at.display(),
            error.desc().to_lowercase()
        ))
    })
}

fn understood(words: &[String]) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for word in words {
        match FLAGS.iter().find(|(known, ..)| known == word) {
            Some((_, true, flag)) => flags |= *flag,
            Some((_, false, flag)) => flags -= *flag,
            None => data.push(word),
        }
    }
    (flags, data.join(","))
}

/// The kernel wants numbers.
fn address_of(host: &str) -> Result<IpAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let failed = || EngineError::system(format!("error resolving passed in network volume address: {host}"));
    let mut found = (host, 0).to_socket_addrs().map_err(|error| failed().because(error))?;
    found.next().map(|address| address.ip()).ok_or_else(failed)
}

fn without_password(data: &str) -> String {
    let hidden = |word: &str| match word.starts_with("password=") {
        true => "password=********".to_owned(),
        false => word.to_owned(),
    };
    data.split(',').map(hidden).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_flags_or_data() {
        let words = ["ro", "size=1m", "nosuid", "rw", "uid=5"].map(str::to_owned);
        assert_eq!(understood(&words), (MsFlags::MS_NOSUID, "size=1m,uid=5".to_owned()));
        assert_eq!(without_password("user=a,password=b"), "user=a,password=********");
        assert_eq!(address_of("127.0.0.1").unwrap().to_string(), "127.0.0.1");
    }
}
