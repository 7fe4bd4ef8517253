//! Which capabilities a container's processes keep.

use crate::error::{EngineError, Result};
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

/// What a container has without asking, as under dockerd.
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Every capability there is, by the kernel's number.
const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// What `--privileged` keeps: everything that the engine itself has and so can hand on. `grantable` is
/// the kernel's bit mask.
pub(crate) fn all(grantable: u64) -> Capabilities {
    ALL.into_iter().enumerate().filter(|(bit, _)| grantable >> bit & 1 == 1).map(|(_, c)| c).collect()
}

/// The mask in the text of `/proc/self/status`; everything when it cannot be told.
pub(crate) fn grantable(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(u64::MAX)
}

/// The default, more what `add` names, less what `drop` names; `ALL` stands for every grantable one.
pub(crate) fn resolve(add: &[String], drop: &[String], grantable: u64) -> Result<Capabilities> {
    let (add_all, add) = parse(add, "CapAdd")?;
    let (drop_all, drop) = parse(drop, "CapDrop")?;
    // Docker's order: a dropped ALL clears the default, then what is added counts; an added ALL is
    // thinned out by what is dropped.
    let mut kept: Capabilities = match (add_all, drop_all) {
        (true, _) => all(grantable),
        (false, true) => Capabilities::new(),
        (false, false) => DEFAULT.into_iter().collect(),
    };
    kept.retain(|capability| !drop.contains(capability));
    kept.extend(add);
    Ok(kept)
}

/// As the OCI specification wants them: only root starts with them in effect, for everybody they are the
/// bound of what a set-uid program can gain.
pub(crate) fn for_user(kept: Capabilities, uid: u32) -> LinuxCapabilities {
    let effective = if uid == 0 { kept.clone() } else { Capabilities::new() };
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(kept))
        .set_effective(Some(effective.clone()))
        .set_permitted(Some(effective))
        .set_inheritable(Some(Capabilities::new()))
        .set_ambient(Some(Capabilities::new()));
    capabilities
}

fn parse(names: &[String], field: &str) -> Result<(bool, Vec<Capability>)> {
    let mut every = false;
    let mut listed = Vec::new();
    for text in names {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            every = true;
            continue;
        }
        listed.push(name.parse::<Capability>().map_err(|_| {
            EngineError::invalid(format!("invalid {field}: unknown capability: \"CAP_{name}\""))
        })?);
    }
    Ok((every, listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(add: &[&str], drop: &[&str]) -> Capabilities {
        let own = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        resolve(&own(add), &own(drop), u64::MAX).unwrap()
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(resolved(&[], &[]).len(), 14);
        assert!(resolved(&["net_admin"], &[]).contains(&Capability::NetAdmin));
        assert!(!resolved(&[], &["CAP_CHOWN"]).contains(&Capability::Chown));
        assert_eq!(resolved(&["SYS_TIME"], &["ALL"]), [Capability::SysTime].into_iter().collect());
        assert_eq!(resolved(&["ALL"], &["SYS_ADMIN"]).len(), 40);
        assert_eq!(
            resolve(&["FLY".into()], &[], u64::MAX).unwrap_err().to_string(),
            "invalid CapAdd: unknown capability: \"CAP_FLY\""
        );
    }

    #[test]
    fn only_what_the_engine_has_is_handed_on() {
        let mask = grantable("Name:\tx\nCapBnd:\t0000000000000003\n");
        assert_eq!(all(mask), [Capability::Chown, Capability::DacOverride].into_iter().collect());
        assert_eq!(all(grantable("")).len(), 41);
    }

    #[test]
    fn only_root_has_them_in_effect() {
        assert_eq!(for_user(all(u64::MAX), 0).effective().as_ref().map(Capabilities::len), Some(41));
        let user = for_user(all(u64::MAX), 1000);
        assert_eq!(user.effective().as_ref().map(Capabilities::len), Some(0));
        assert_eq!(user.bounding().as_ref().map(Capabilities::len), Some(41));
    }
}
