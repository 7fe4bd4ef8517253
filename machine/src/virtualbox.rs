//! `docker-machine create --driver virtualbox`: what most local machines of docker-machine's were, and what
//! stands in many a Makefile. There is no VirtualBox here; the default driver makes a machine of the same sizes.

use crate::{cli::VirtualBox, config::Environment};

/// The driver's name.
pub(crate) const DRIVER: &str = "virtualbox";
/// Each option that had a variable, and the variable.
const MEMORY: &str = "VIRTUALBOX_MEMORY_SIZE";
const CPUS: &str = "VIRTUALBOX_CPU_COUNT";
const DISK: &str = "VIRTUALBOX_DISK_SIZE";
const SHARE: &str = "VIRTUALBOX_SHARE_FOLDER";

/// What a machine of VirtualBox would have been.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) cpus: Option<u32>,
    pub(crate) memory_mib: Option<u64>,
    pub(crate) disk_gib: Option<u64>,
}

/// The sizes that were asked for. docker-machine's own defaults are not: they were for a smaller world.
pub(crate) fn sizes(options: &VirtualBox, environment: &Environment) -> Sizes {
    let number = |variable: &str| environment.get(variable).and_then(|value| value.parse::<u64>().ok());
    let cpus =
        options.virtualbox_cpu_count.map(i64::from).or(number(CPUS).and_then(|cpus| cpus.try_into().ok()));
    let disk_mb = options.virtualbox_disk_size.or(number(DISK));
    Sizes {
        // -1 was "as many as the host has", which is ours to decide.
        cpus: cpus.and_then(|cpus| u32::try_from(cpus).ok()),
        memory_mib: options.virtualbox_memory.or(number(MEMORY)),
        disk_gib: disk_mb.map(|mb| mb.div_ceil(1024)),
    }
}

/// The folders that were asked for: `mounts`, or else the one that VirtualBox would have shared, `FOLDER` or
/// `FOLDER:NAME`. Its name in the machine was for those who mounted it there by hand.
pub(crate) fn mounts(options: &VirtualBox, environment: &Environment, mounts: Vec<String>) -> Vec<String> {
    let share = options.virtualbox_share_folder.as_deref().or(environment.get(SHARE));
    match share {
        Some(share) if mounts.is_empty() => {
            vec![share.rsplit_once(':').map_or(share, |(path, _)| path).to_owned()]
        }
        _ => mounts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_folder_is_the_same_in_any_words() {
        let environment = |share: &str| Environment {
            variables: [(SHARE.to_owned(), share.to_owned())].into(),
            ..Environment::default()
        };
        let options = |share: &str| VirtualBox {
            virtualbox_share_folder: Some(share.to_owned()),
            ..VirtualBox::default()
        };
        let none = VirtualBox::default();
        assert_eq!(mounts(&options("/a:b"), &environment("/c:d"), Vec::new()), ["/a"]);
        assert_eq!(mounts(&none, &environment("/c:d"), Vec::new()), ["/c"]);
        assert_eq!(mounts(&none, &environment(""), Vec::new()), Vec::<String>::new());
        assert_eq!(mounts(&options("/a"), &environment(""), vec!["/e".to_owned()]), ["/e"]);
    }
}
