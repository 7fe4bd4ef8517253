//! From names to numbers: what a policy says about each system call, by processor mode.

use engine::ports::{SeccompAction, SeccompCondition, SeccompPolicy, SeccompRule};
use std::{collections::BTreeMap, str::FromStr};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// The calls of one processor mode.
#[derive(Debug)]
pub(super) struct Section {
    /// The kernel's `AUDIT_ARCH_…`.
    pub(super) mode: u32,
    /// x86-64 has a third mode, with this bit in the number, which no kernel of ours serves.
    pub(super) x32_bit: Option<u32>,
    /// Number to what becomes of the call; other numbers get `default`.
    pub(super) calls: BTreeMap<u32, Verdict>,
    pub(super) default: SeccompAction,
    /// Calls beyond the newest that the policy knows.
    pub(super) unknown: SeccompAction,
}

/// What becomes of a call: the first alternative whose conditions all hold, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) alternatives: Vec<(Vec<SeccompCondition>, SeccompAction)>,
    pub(super) otherwise: SeccompAction,
}

impl Verdict {
    pub(super) fn always(action: SeccompAction) -> Self {
        Self { alternatives: Vec::new(), otherwise: action }
    }
}

/// A processor mode: its name in profiles, the kernel's number and its calls.
struct Mode {
    name: &'static str,
    audit: u32,
    x32_bit: Option<u32>,
    number: fn(&str) -> Option<u32>,
}

macro_rules! number_in {
    ($table:ident) => {
        |name| syscalls::$table::Sysno::from_str(name).ok().and_then(|call| u32::try_from(call.id()).ok())
    };
}

/// The native mode first.
#[cfg(target_arch = "x86_64")]
const MODES: [Mode; 2] = [
    Mode { name: "", audit: 0xc000_003e, x32_bit: Some(0x4000_0000), number: number_in!(x86_64) },
    Mode { name: "SCMP_ARCH_X86", audit: 0x4000_0003, x32_bit: None, number: number_in!(x86) },
];
#[cfg(target_arch = "aarch64")]
const MODES: [Mode; 1] = [Mode { name: "", audit: 0xc000_00b7, x32_bit: None, number: number_in!(aarch64) }];

/// One section for each mode that `policy` is for and this processor has; the native one comes first.
pub(super) fn of(policy: &SeccompPolicy) -> Vec<Section> {
    MODES
        .iter()
        .filter(|mode| mode.name.is_empty() || policy.architectures.iter().any(|name| name == mode.name))
        .map(|mode| section(policy, mode))
        .collect()
}

fn section(policy: &SeccompPolicy, mode: &Mode) -> Section {
    let mut calls: BTreeMap<u32, Verdict> = BTreeMap::new();
    let mut decided: BTreeMap<u32, SeccompAction> = BTreeMap::new();
    for SeccompRule { names, action, conditions } in &policy.rules {
        for number in names.iter().filter_map(|name| (mode.number)(name)) {
            if conditions.is_empty() {
                decided.entry(number).or_insert(*action);
            } else {
                let verdict = calls.entry(number).or_insert_with(|| Verdict::always(policy.default));
                verdict.alternatives.push((conditions.clone(), *action));
            }
        }
    }
    calls.extend(decided.into_iter().map(|(number, action)| (number, Verdict::always(action))));
    // A program that tries a call too new for the profile takes ENOSYS as a reason to do without.
    let unknown = match policy.default {
        SeccompAction::Errno(EPERM) => SeccompAction::Errno(ENOSYS),
        other => other,
    };
    Section { mode: mode.audit, x32_bit: mode.x32_bit, calls, default: policy.default, unknown }
}
