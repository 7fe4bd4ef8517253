//! Decides between KVM and emulation by trying: a `/dev/kvm` that opens proves nothing.
//!
//! The probe runs five bytes of guest code, an SSE instruction and `hlt`. Hosts whose KVM cannot run
//! guest code natively (some nested set-ups) fall back to the kernel's instruction emulator, which has
//! no SSE; there the probe ends in an internal error instead of a halt.
#![expect(unsafe_code, reason = "KVM maps our memory into the guest; RDTSC is an intrinsic")]

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};
use nix::libc;
use std::{
    fmt,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

/// How long the guest's five bytes may take.
const LIMIT: Duration = Duration::from_secs(2);
/// How long the time-stamp counter is compared with the clock: 0.05 % at worst.
const TSC_SAMPLE: Duration = Duration::from_millis(10);
/// Where guest memory and its code begin.
const CODE_ADDRESS: u64 = 0x1000;
/// `pxor %xmm0, %xmm0; hlt`, valid in real mode.
const CODE: [u8; 5] = [0x66, 0x0f, 0xef, 0xc0, 0xf4];

/// What runs the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The host's KVM.
    Kvm,
    /// QEMU's emulator, because KVM does not work for this reason.
    Tcg {
        reason: String,
        /// What the guest's time-stamp counter runs at: under TCG the host's.
        tsc_khz: u64,
    },
}

impl Accelerator {
    /// Probes the host. Blocks for about 1 ms, or [`LIMIT`] when KVM hangs.
    pub(crate) fn detect() -> Self {
        match probe() {
            Ok(()) => Self::Kvm,
            Err(reason) => Self::Tcg { reason, tsc_khz: tsc_khz() },
        }
    }

    /// What the user should read before creating a machine.
    pub(crate) fn warning(&self) -> Option<String> {
        match self {
            Self::Kvm => None,
            Self::Tcg { reason, .. } => Some(format!(
                "KVM is not usable on this computer ({reason}): the machine runs under emulation and is many \
                 times slower"
            )),
        }
    }
}

/// Runs the probe in a thread of its own, which a signal pulls out of a guest that never ends.
fn probe() -> Result<(), String> {
    extern "C" fn interrupt(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    register_signal_handler(SIGRTMIN(), interrupt).map_err(because("its signal cannot be handled"))?;
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("kvm-probe".to_owned())
        .spawn(move || sender.send(run_guest()))
        .map_err(because("the probe's thread cannot start"))?;
    receiver.recv_timeout(LIMIT).unwrap_or_else(|_| {
        // Not joined: if not even the signal helps, the thread is lost, and only the thread.
        let _ = thread.kill(SIGRTMIN());
        Err("the guest code of the probe does not end".to_owned())
    })
}

/// One page of guest memory.
#[repr(align(4096))]
struct Page([u8; 4096]);

fn run_guest() -> Result<(), String> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT => "there is no /dev/kvm".to_owned(),
        libc::EACCES | libc::EPERM => {
            "/dev/kvm is not accessible to this user; join the group kvm to change that".to_owned()
        }
        _ => format!("/dev/kvm cannot be opened: {error}"),
    })?;
    // Declared before the VM and so dropped after it.
    let mut memory = Box::new(Page([0xf4; 4096]));
    memory.0[..CODE.len()].copy_from_slice(&CODE);
    let vm = kvm.create_vm().map_err(because("it creates no VM"))?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: CODE_ADDRESS,
        memory_size: memory.0.len() as u64,
        userspace_addr: memory.0.as_mut_ptr() as u64,
    };
    // SAFETY: the region is exactly the page above, page-aligned, which outlives the VM and its vCPU
    // and is not touched by us while they exist.
    unsafe { vm.set_user_memory_region(region) }.map_err(because("it maps no guest memory"))?;
    let mut vcpu = vm.create_vcpu(0).map_err(because("it creates no vCPU"))?;
    // The guest may use what the host supports: without CPUID there is no SSE on some hosts.
    if let Ok(cpuid) = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES) {
        vcpu.set_cpuid2(&cpuid).map_err(because("it takes no CPUID"))?;
    }
    let mut sregs = vcpu.get_sregs().map_err(because("it reads no registers"))?;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    sregs.cr0 = sregs.cr0 & !0xc | 0x2; // EM and TS off, MP on
    sregs.cr4 |= 0x600; // OSFXSR, OSXMMEXCPT
    vcpu.set_sregs(&sregs).map_err(because("it sets no registers"))?;
    let mut regs = vcpu.get_regs().map_err(because("it reads no registers"))?;
    regs.rip = CODE_ADDRESS;
    regs.rflags = 2;
    vcpu.set_regs(&regs).map_err(because("it sets no registers"))?;
    match vcpu.run() {
        Ok(VcpuExit::Hlt) => Ok(()),
        Ok(VcpuExit::InternalError) => Err("it cannot run ordinary guest code".to_owned()),
        Ok(exit) => Err(format!("it ends guest code with {exit:?}")),
        Err(error) => Err(format!("it runs no guest code: {error}")),
    }
}

fn because<E: fmt::Display>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

/// How fast this host's time-stamp counter runs.
fn tsc_khz() -> u64 {
    let read = || {
        // SAFETY: every x86-64 CPU has the instruction, and Linux leaves it to user space.
        (unsafe { core::arch::x86_64::_rdtsc() }, Instant::now())
    };
    let (ticks, start) = read();
    thread::sleep(TSC_SAMPLE);
    let (later, end) = read();
    let micros = end.duration_since(start).as_micros().max(1) as u64;
    later.saturating_sub(ticks) * 1000 / micros
}

#[cfg(test)]
mod tests {
    use super::*;

    /// True on every host, KVM or not.
    #[test]
    fn the_probe_ends_and_says_why_not() {
        let accelerator = Accelerator::detect();
        match &accelerator {
            Accelerator::Kvm => assert_eq!(accelerator.warning(), None),
            Accelerator::Tcg { reason, tsc_khz } => {
                assert!(!reason.is_empty());
                assert!((100_000..10_000_000).contains(tsc_khz), "{tsc_khz} kHz");
            }
        }
    }
}
