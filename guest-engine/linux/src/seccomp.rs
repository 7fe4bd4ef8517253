//! A container's system call policy as a program for the kernel's filter machine, and its installation.
//!
//! The program is made once per policy, in the engine, and put into the shim's folder; the process itself
//! only hands it to the kernel, right before its `exec`.

#![expect(unsafe_code, reason = "the seccomp system call takes a pointer to the program")]

mod program;
mod sections;

use engine::ports::SeccompPolicy;
use nix::{errno::Errno, libc};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// How many programs are kept: containers mostly have one of a few policies.
const KEPT: usize = 8;
/// Bytes of one instruction in a file.
const INSTRUCTION: usize = 8;

/// A program as bytes, ready to be written to a file.
pub(crate) type Program = Arc<[u8]>;

/// Programs made before, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Programs(Mutex<Vec<(SeccompPolicy, Program)>>);

impl Programs {
    /// The program of `policy`.
    pub(crate) fn of(&self, policy: &SeccompPolicy) -> io::Result<Program> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, program)) = made.iter().find(|(known, _)| known == policy) {
            return Ok(program.clone());
        }
        let program: Program = program::build(&sections::of(policy))?.into();
        if made.len() == KEPT {
            made.remove(0);
        }
        made.push((policy.clone(), program.clone()));
        Ok(program)
    }
}

/// Installs a program for this process, which needs CAP_SYS_ADMIN or must have given up new privileges.
/// Allocates, so that it has to be called before nothing can be allocated any more.
pub(crate) fn install(program: &[u8]) -> Result<(), Errno> {
    let (instructions, rest) = program.as_chunks::<INSTRUCTION>();
    if instructions.is_empty() || !rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    let mut filters: Vec<libc::sock_filter> = instructions
        .iter()
        .map(|&[a, b, jt, jf, k0, k1, k2, k3]| libc::sock_filter {
            code: u16::from_ne_bytes([a, b]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        })
        .collect();
    let length = libc::c_ushort::try_from(filters.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: filters.as_mut_ptr() };
    // Without it, kernels before 5.16 switch speculation off for good, as no container runtime wants it.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `program` points to `filters`, both alive during the call; the kernel copies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(result).map(drop)
}
