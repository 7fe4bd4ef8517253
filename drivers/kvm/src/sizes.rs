//! How big a machine becomes: what was asked for, else a default that fits the host.

use machine_drivers::{DriverError, MachineSpec, OptionSpec, OptionValue};
use std::fs;

const DEFAULT_CPUS: u32 = 4;
const MAX_CPUS: u32 = 255;
const DEFAULT_MEMORY_MIB: u64 = 2048;
const MIN_MEMORY_MIB: u64 = 256;
const DEFAULT_DISK_GIB: u64 = 20;
/// The largest file ext4 can hold on the host.
const MAX_DISK_GIB: u64 = 16 * 1024 - 1;

/// The flags that docker-machine's KVM driver had.
pub(crate) static OPTIONS: &[OptionSpec] = &[
    OptionSpec::number("kvm-memory", "Memory in MiB, as --memory says it").env("KVM_MEMORY"),
    OptionSpec::number("kvm-cpu-count", "Number of virtual CPUs, as --cpus says it").env("KVM_CPU_COUNT"),
    OptionSpec::number("kvm-disk-size", "Size of the data disk in MiB, rounded up to whole GiB")
        .env("KVM_DISK_SIZE"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
    pub(crate) disk_gib: u64,
}

/// What the host has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub(crate) cpus: u32,
    /// `None` when it cannot be found out.
    pub(crate) memory_mib: Option<u64>,
}

impl Host {
    pub(crate) fn here() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
        let memory_mib = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
        });
        Self { cpus, memory_mib }
    }
}

impl Sizes {
    pub(crate) fn of(spec: &MachineSpec, host: &Host) -> Result<Self, DriverError> {
        let disk_gib = option(spec, "kvm-disk-size")?.map(|mib| mib.div_ceil(1024));
        let cpus =
            either("--cpus", spec.cpus.map(u64::from), "--kvm-cpu-count", option(spec, "kvm-cpu-count")?)?;
        let memory = either("--memory", spec.memory_mib, "--kvm-memory", option(spec, "kvm-memory")?)?;
        let disk = either("--disk", spec.disk_gib, "--kvm-disk-size", disk_gib)?;

        let most = host.memory_mib.map_or(u64::MAX, |memory| memory);
        let default_memory = DEFAULT_MEMORY_MIB.min(most / 4 * 3).max(MIN_MEMORY_MIB);
        let cpus = cpus.unwrap_or_else(|| u64::from(host.cpus.clamp(1, DEFAULT_CPUS)));
        let memory_mib = memory.unwrap_or(default_memory);
        let disk_gib = disk.unwrap_or(DEFAULT_DISK_GIB);
        // A number that no CPU count can be is refused with the others.
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        let sizes = Self { cpus, memory_mib, disk_gib };
        sizes.check(host)?;
        Ok(sizes)
    }

    /// Whether this host can have such a machine.
    pub(crate) fn check(&self, host: &Host) -> Result<(), DriverError> {
        let Self { cpus, memory_mib, disk_gib } = *self;
        let most = host.memory_mib.unwrap_or(u64::MAX);
        if !(1..=MAX_CPUS).contains(&cpus) {
            return invalid(format!("The number of CPUs must be between 1 and {MAX_CPUS}, not {cpus}"));
        }
        if memory_mib < MIN_MEMORY_MIB {
            return invalid(format!(
                "The memory must be at least {MIN_MEMORY_MIB} MiB, not {memory_mib} MiB"
            ));
        }
        if memory_mib > most {
            return invalid(format!(
                "The memory of {memory_mib} MiB is more than this computer's {most} MiB"
            ));
        }
        if !(1..=MAX_DISK_GIB).contains(&disk_gib) {
            return invalid(format!("The disk must be between 1 and {MAX_DISK_GIB} GiB, not {disk_gib} GiB"));
        }
        Ok(())
    }
}

fn option(spec: &MachineSpec, name: &str) -> Result<Option<u64>, DriverError> {
    match spec.options.get(name) {
        None => Ok(None),
        Some(OptionValue::Number(number)) => Ok(Some(*number)),
        Some(_) => invalid(format!("The option --{name} takes a whole number")),
    }
}

fn either(a: &str, first: Option<u64>, b: &str, second: Option<u64>) -> Result<Option<u64>, DriverError> {
    match (first, second) {
        (Some(first), Some(second)) if first != second => {
            invalid(format!("The options {a} and {b} mean the same but say {first} and {second}"))
        }
        (first, second) => Ok(first.or(second)),
    }
}

fn invalid<T>(sentence: String) -> Result<T, DriverError> {
    Err(DriverError::InvalidSpec(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine_drivers::Identity;

    const HOST: Host = Host { cpus: 8, memory_mib: Some(16384) };

    fn spec() -> MachineSpec {
        MachineSpec {
            name: "dev".to_owned(),
            machine_id: "id".to_owned(),
            owner: "store".to_owned(),
            identity: Identity::default(),
            directory: "/d".into(),
            cache: "/c".into(),
            image: None,
            cpus: None,
            memory_mib: None,
            disk_gib: None,
            options: [].into(),
        }
    }

    #[test]
    fn defaults_fit_the_host() {
        let of = |cpus, memory_mib| Sizes::of(&spec(), &Host { cpus, memory_mib }).unwrap();
        assert_eq!(of(8, Some(16384)), Sizes { cpus: 4, memory_mib: 2048, disk_gib: 20 });
        assert_eq!(of(2, Some(2000)), Sizes { cpus: 2, memory_mib: 1500, disk_gib: 20 });
        assert_eq!(of(0, None), Sizes { cpus: 1, memory_mib: 2048, disk_gib: 20 });
    }

    #[test]
    fn limits_are_sentences() {
        let says = |change: fn(&mut MachineSpec), sentence: &str| {
            let mut spec = spec();
            change(&mut spec);
            assert_eq!(Sizes::of(&spec, &HOST).unwrap_err().to_string(), sentence);
        };
        says(|spec| spec.cpus = Some(0), "The number of CPUs must be between 1 and 255, not 0");
        says(|spec| spec.memory_mib = Some(64), "The memory must be at least 256 MiB, not 64 MiB");
        says(
            |spec| spec.memory_mib = Some(20000),
            "The memory of 20000 MiB is more than this computer's 16384 MiB",
        );
        says(|spec| spec.disk_gib = Some(0), "The disk must be between 1 and 16383 GiB, not 0 GiB");
    }

    #[test]
    fn new_sizes_are_checked_as_the_first_ones_were() {
        let sizes = Sizes { cpus: 2, memory_mib: 20000, disk_gib: 20 };
        assert!(sizes.check(&HOST).is_err());
        sizes.check(&Host { cpus: 1, memory_mib: None }).unwrap();
    }

    #[test]
    fn the_old_drivers_flags_mean_the_same() {
        let mut spec = spec();
        spec.options.insert("kvm-memory".to_owned(), OptionValue::Number(1024));
        spec.options.insert("kvm-cpu-count".to_owned(), OptionValue::Number(3));
        spec.options.insert("kvm-disk-size".to_owned(), OptionValue::Number(20000));
        let sizes = Sizes::of(&spec, &HOST).unwrap();
        assert_eq!(sizes, Sizes { cpus: 3, memory_mib: 1024, disk_gib: 20 });
        spec.cpus = Some(2);
        let error = Sizes::of(&spec, &HOST).unwrap_err();
        assert_eq!(error.to_string(), "The options --cpus and --kvm-cpu-count mean the same but say 2 and 3");
    }
}
