//! Device nodes and the allow-list of the device cgroup.

use crate::error::{EngineError, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

/// A device of the host and where the container sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// Path inside the container.
    pub(crate) path: String,
    pub(crate) block: bool,
    pub(crate) major: i64,
    pub(crate) minor: i64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Of `r`, `w` and `m`.
    pub(crate) access: String,
}

impl HostDevice {
    fn kind(&self) -> LinuxDeviceType {
        if self.block { LinuxDeviceType::B } else { LinuxDeviceType::C }
    }
}

/// The nodes that the runtime makes besides the standard ones.
pub(crate) fn nodes(devices: &[HostDevice]) -> Vec<LinuxDevice> {
    devices
        .iter()
        .map(|device| {
            let mut node = LinuxDevice::default();
            node.set_path(device.path.clone().into())
                .set_typ(device.kind())
                .set_major(device.major)
                .set_minor(device.minor)
                .set_file_mode(Some(device.mode & 0o7777))
                .set_uid(Some(device.uid))
                .set_gid(Some(device.gid));
            node
        })
        .collect()
}

/// The allow-list: everything for privileged containers; else nothing but making nodes, the harmless
/// standard devices, terminals and what was asked for.
pub(crate) fn rules(privileged: bool, devices: &[HostDevice]) -> Vec<LinuxDeviceCgroup> {
    if privileged {
        return vec![rule(true, LinuxDeviceType::A, None, None, "rwm")];
    }
    let c = LinuxDeviceType::C;
    let mut rules = vec![
        rule(false, LinuxDeviceType::A, None, None, "rwm"),
        rule(true, c, None, None, "m"),
        rule(true, LinuxDeviceType::B, None, None, "m"),
    ];
    // null, zero, full, random, urandom; tty, console, ptmx and the pseudo-terminals.
    for (major, minor) in [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (136, None),
    ] {
        rules.push(rule(true, c, Some(major), minor, "rwm"));
    }
    rules.extend(devices.iter().map(|d| rule(true, d.kind(), Some(d.major), Some(d.minor), &d.access)));
    rules
}

/// `--device-cgroup-rule`: `c 10:200 rwm`, with `*` for any number and `a` for any device.
pub(crate) fn custom_rules(texts: &[String]) -> Result<Vec<LinuxDeviceCgroup>> {
    texts
        .iter()
        .map(|text| {
            custom_rule(text)
                .ok_or_else(|| EngineError::invalid(format!("invalid device cgroup rule format: '{text}'")))
        })
        .collect()
}

fn custom_rule(text: &str) -> Option<LinuxDeviceCgroup> {
    let mut words = text.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return None,
    };
    let number = |text: &str| match text {
        "*" => Some(None),
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().map(Some)
        }
        _ => None,
    };
    let (major, minor) = numbers.split_once(':')?;
    let allowed = !access.is_empty() && access.len() <= 3 && access.bytes().all(|b| b"rwm".contains(&b));
    if !allowed || words.next().is_some() {
        return None;
    }
    Some(rule(true, kind, number(major)?, number(minor)?, access))
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_rules_are_read_or_refused() {
        let one = |text: &str| custom_rules(&[text.to_owned()]);
        let rule = one("c 10:* rw").unwrap().remove(0);
        assert_eq!((rule.major(), rule.minor(), rule.allow()), (Some(10), None, true));
        for bad in ["", "c", "c 1:1", "x 1:1 r", "c 1 r", "c 1:y r", "c 1:1 rx", "c 1:1 r r", "c -1:1 r"] {
            let text = format!("invalid device cgroup rule format: '{bad}'");
            assert_eq!(one(bad).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn nothing_is_allowed_before_it_is_listed() {
        let disk = HostDevice {
            path: "/dev/vda".into(),
            block: true,
            major: 254,
            minor: 0,
            mode: 0o60660,
            uid: 0,
            gid: 6,
            access: "r".into(),
        };
        let rules = rules(false, std::slice::from_ref(&disk));
        assert!(!rules[0].allow() && rules[0].typ() == Some(LinuxDeviceType::A));
        let last = rules.last().unwrap();
        assert_eq!((last.major(), last.access().as_deref()), (Some(254), Some("r")));
        assert_eq!(nodes(&[disk])[0].file_mode(), Some(0o660));
        assert!(super::rules(true, &[])[0].allow());
    }
}
