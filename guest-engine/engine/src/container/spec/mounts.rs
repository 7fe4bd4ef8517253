//! What is mounted inside a container: the kernel's filesystems, the files over `/etc`, and what the user
//! asks for.

use super::{Namespace, Surroundings};
use crate::{
    container::{
        mounts::{MountKind, MountSpec},
        record::Record,
        volumes,
    },
    error::{EngineError, Result},
};
use oci_spec::runtime::Mount;
use std::path::{Path, PathBuf};

/// Files of the container's folder that are mounted over its image's.
const ETC: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// Every mount, parents before what is inside them.
pub(crate) fn all(record: &Record, around: &Surroundings<'_>) -> Result<Vec<Mount>> {
    let user = &record.mounts;
    let taken = |destination: &str| user.iter().any(|m| m.destination == destination);
    let mut all: Vec<Mount> = standard(record, around);
    all.retain(|mount| !taken(&mount.destination().to_string_lossy()));
    // Ours among the user's: a volume at `/etc` does not hide them.
    let mut nested = user.iter().map(|spec| requested(spec, around)).collect::<Result<Vec<Mount>>>()?;
    let access = if record.host.readonly_rootfs.unwrap_or(false) { "ro" } else { "rw" };
    for (file, destination) in ETC {
        if !taken(destination) {
            let source = around.folder.join(file);
            nested.push(mount(destination, "bind", &source, &["rbind", access, "rprivate"]));
        }
    }
    if let Some(program) = super::init(around) {
        nested.push(mount(super::INIT_PATH, "bind", program, &["bind", "ro"]));
    }
    nested.sort_by_key(|mount| mount.destination().components().count());
    all.append(&mut nested);
    Ok(all)
}

fn requested(spec: &MountSpec, around: &Surroundings<'_>) -> Result<Mount> {
    let (recursive, writable_below, propagation) = match &spec.kind {
        MountKind::Bind(bind) => (bind.recursive, bind.writable_below, bind.propagation.as_str()),
        MountKind::Volume(_) => (true, false, ""),
        MountKind::Tmpfs { options, .. } => {
            let mut all: Vec<&str> = options.iter().map(String::as_str).collect();
            if spec.read_only {
                all.push("ro");
            }
            return Ok(mount(&spec.destination, "tmpfs", Path::new("tmpfs"), &all));
        }
    };
    let source = volumes::source(spec, &around.sources)
        .ok_or_else(|| EngineError::system(format!("Nothing is mounted at {}", spec.destination)))?;
    let mut options = vec![if recursive { "rbind" } else { "bind" }];
    match (spec.read_only, recursive && !writable_below) {
        (false, _) => options.push("rw"),
        (true, false) => options.push("ro"),
        // What is mounted below the source as well.
        (true, true) => options.extend(["ro", "rro"]),
    }
    options.push(if propagation.is_empty() { "rprivate" } else { propagation });
    Ok(mount(&spec.destination, "bind", source, &options))
}

fn standard(record: &Record, around: &Surroundings<'_>) -> Vec<Mount> {
    let host = &record.host;
    let privileged = host.privileged.unwrap_or(false);
    let kernel = if privileged { "rw" } else { "ro" };
    let shm = format!("size={}", host.shm_size.unwrap_or(64 << 20));
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", kernel]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &[kernel, "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    match (&around.ipc, host.ipc_mode.as_deref()) {
        (_, Some("none")) => {}
        // The segments of the namespace that is shared live in its owner's mount.
        (Namespace::Host, _) => all.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate"])),
        (Namespace::Join(path), _) => {
            let owner = path.parent().and_then(Path::parent).map(|process| process.join("root/dev/shm"));
            if let Some(shm) = owner {
                all.push(mount("/dev/shm", "bind", shm, &["rbind", "rprivate"]));
            }
        }
        (Namespace::Private, _) => {
            all.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]));
        }
    }
    all
}

fn mount(destination: &str, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(ToString::to_string).collect()));
    mount
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{mounts, record::tests::record, spec::user};

    fn mounted(change: impl FnOnce(&mut Record)) -> Vec<String> {
        let mut record = record("web");
        change(&mut record);
        let around = Surroundings {
            rootfs: Path::new("/rootfs"),
            folder: Path::new("/folder"),
            user: user::resolve("", &[], user::UserFiles::default()).unwrap(),
            devices: Vec::new(),
            grantable: u64::MAX,
            network: Namespace::Private,
            pid: Namespace::Private,
            ipc: Namespace::Private,
            links: Vec::new(),
            sources: vec![("/vol".to_owned(), PathBuf::from("/volumes/v/_data"))],
            init: Some(PathBuf::from("/machine-engine")),
        };
        all(&record, &around)
            .unwrap()
            .iter()
            .map(|m| {
                format!(
                    "{} {} {}",
                    m.destination().display(),
                    m.source().as_ref().unwrap().display(),
                    m.options().as_ref().unwrap().join(",")
                )
            })
            .collect()
    }

    #[test]
    fn users_mounts_replace_ours_and_nest_in_order() {
        let mounts = mounted(|r| {
            r.host.binds =
                ["/b:/data/deep:ro", "/a:/data", "/h:/etc/hosts", "v:/vol"].map(Into::into).to_vec().into();
            r.mounts = mounts::requested(&r.host).unwrap();
        });
        let tail: Vec<&str> = mounts.iter().rev().take(7).rev().map(String::as_str).collect();
        assert_eq!(
            tail,
            [
                "/data /a rbind,rw,rprivate",
                "/vol /volumes/v/_data rbind,rw,rprivate",
                "/data/deep /b rbind,ro,rro,rprivate",
                "/etc/hosts /h rbind,rw,rprivate",
                "/etc/resolv.conf /folder/resolv.conf rbind,rw,rprivate",
                "/etc/hostname /folder/hostname rbind,rw,rprivate",
                "/sbin/docker-init /machine-engine bind,ro",
            ]
        );
        assert_eq!(mounts.iter().filter(|m| m.starts_with("/etc/hosts ")).count(), 1);
    }

    #[test]
    fn a_folder_over_etc_does_not_hide_what_is_ours_there() {
        let mounts = mounted(|r| {
            r.host.binds = Some(vec!["/somewhere:/etc".to_owned()]);
            r.mounts = mounts::requested(&r.host).unwrap();
        });
        let position = |start: &str| mounts.iter().position(|mount| mount.starts_with(start)).unwrap();
        assert!(position("/etc /somewhere") < position("/etc/resolv.conf "));
    }

    #[test]
    fn the_kernels_filesystems_are_read_only_unless_privileged() {
        let sys = |mounts: Vec<String>| mounts.into_iter().find(|m| m.starts_with("/sys ")).unwrap();
        assert!(sys(mounted(|_| ())).ends_with(",ro"));
        assert!(sys(mounted(|r| r.host.privileged = Some(true))).ends_with(",rw"));
    }
}
