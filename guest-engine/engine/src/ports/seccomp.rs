//! Which system calls a container's processes may make: a profile after everything that depends on the
//! container has been decided. The runtime turns it into a filter of the kernel's.

/// What happens to every system call of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeccompPolicy {
    /// For calls that no rule matches.
    pub default: SeccompAction,
    /// Processor modes besides the native one whose calls the rules are for as well, by their names in
    /// profiles (`SCMP_ARCH_X86`). A process of any other mode is killed.
    pub architectures: Vec<String>,
    /// A rule without conditions decides; else the first of a call's rules that matches.
    pub rules: Vec<SeccompRule>,
}

/// What some system calls get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeccompRule {
    /// Names that the kernel's architecture does not have are passed over.
    pub names: Vec<String>,
    pub action: SeccompAction,
    /// All must hold.
    pub conditions: Vec<SeccompCondition>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeccompAction {
    Allow,
    /// The call fails with this error number.
    Errno(u16),
    KillThread,
    KillProcess,
    /// SIGSYS.
    Trap,
    /// A tracer decides, and is given this number.
    Trace(u16),
    /// Allowed, and noted in the kernel's log.
    Log,
}

/// A comparison of one argument of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeccompCondition {
    /// 0 to 5.
    pub argument: u8,
    pub comparison: SeccompComparison,
}

/// What the argument, an unsigned 64-bit number, is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeccompComparison {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    MaskedEqual { mask: u64, value: u64 },
}
