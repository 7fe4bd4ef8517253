//! Device rules on cgroup version 2, where they are a BPF program on the cgroup. libcontainer leaves
//! them out without libbpf, so the program is assembled and loaded by hand.
//!
//! The program goes through the rules from the last to the first; the first that matches decides, and
//! without any the access is denied.

#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use nix::libc;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Bits of `access_type` in the program's context: the access above, the kind of device below.
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const DEVICE_BLOCK: i32 = 1;
const DEVICE_CHAR: i32 = 2;

/// One BPF instruction as the kernel has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination register in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Enforces `rules` on everything in the cgroup at `folder`. Without rules nothing is restricted.
pub(crate) fn attach(folder: &Path, rules: &[LinuxDeviceCgroup]) -> io::Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let program = load(&assemble(rules)?)?;
    let folder = File::open(folder)?;
    #[repr(C)]
    struct Attach {
        target_fd: u32,
        program_fd: u32,
        kind: u32,
        flags: u32,
        replace_fd: u32,
    }
    let attach = Attach {
        target_fd: folder.as_raw_fd().unsigned_abs(),
        program_fd: program.as_raw_fd().unsigned_abs(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
        replace_fd: 0,
    };
    bpf(BPF_PROG_ATTACH, &attach).map(drop)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        instructions: u32,
        program: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    let license = c"Apache-2.0";
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(program.len()).unwrap_or(u32::MAX),
        program: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let descriptor = bpf(BPF_PROG_LOAD, &load)?;
    let descriptor = i32::try_from(descriptor).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are a prefix of the kernel's union for this command, the size says how much
    // of it there is, and what they point to outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The program: r2 = device kind, r3 = access, r4 = major, r5 = minor; r0 = allowed.
fn assemble(rules: &[LinuxDeviceCgroup]) -> io::Result<Vec<Instruction>> {
    let mut program = vec![
        // Context: { access_type, major, minor }, each 32 bits.
        instruction(0x61, 2, 1, 0, 0),
        instruction(0x54, 2, 0, 0, 0xffff),
        instruction(0x61, 3, 1, 0, 0),
        instruction(0x74, 3, 0, 0, 16),
        instruction(0x61, 4, 1, 4, 0),
        instruction(0x61, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut tests = Vec::new();
        match rule.typ().unwrap_or(LinuxDeviceType::A) {
            LinuxDeviceType::A => {}
            LinuxDeviceType::B => tests.push(unless_equal(2, DEVICE_BLOCK)),
            LinuxDeviceType::C | LinuxDeviceType::U => tests.push(unless_equal(2, DEVICE_CHAR)),
            LinuxDeviceType::P => continue,
        }
        let access = access(rule.access().as_deref().unwrap_or("rwm"));
        if access != ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE {
            // r1 = r3 & access; the rule decides only when it covers all that is asked for.
            tests.push(instruction(0xbc, 1, 3, 0, 0));
            tests.push(instruction(0x54, 1, 0, 0, access));
            tests.push(instruction(0x5d, 1, 3, 0, 0));
        }
        for (register, number) in [(4, rule.major()), (5, rule.minor())] {
            if let Some(number) = number.filter(|&number| number >= 0) {
                let number = i32::try_from(number)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "device number out of range"))?;
                tests.push(unless_equal(register, number));
            }
        }
        let decides_everything = tests.is_empty();
        // Every test jumps over what remains of its rule.
        let length = tests.len() + 2;
        for (index, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, 0x55 | 0x5d) {
                test.offset = i16::try_from(length - index - 1).unwrap_or(i16::MAX);
            }
        }
        program.extend(tests);
        program.push(instruction(0xb7, 0, 0, 0, i32::from(rule.allow())));
        program.push(instruction(0x95, 0, 0, 0, 0));
        if decides_everything {
            // The verifier refuses what can never be reached.
            return Ok(program);
        }
    }
    program.push(instruction(0xb7, 0, 0, 0, 0));
    program.push(instruction(0x95, 0, 0, 0, 0));
    Ok(program)
}

fn access(text: &str) -> i32 {
    text.chars().fold(0, |access, letter| {
        access
            | match letter {
                'r' => ACCESS_READ,
                'w' => ACCESS_WRITE,
                'm' => ACCESS_MKNOD,
                _ => 0,
            }
    })
}

/// `if register != value goto the next rule`; the distance is filled in later.
fn unless_equal(register: u8, value: i32) -> Instruction {
    instruction(0x55, register, 0, 0, value)
}

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | (source << 4), offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxDeviceCgroupBuilder;

    /// Interprets the few instructions that are used.
    fn allowed(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [(access << 16) | kind, major, minor];
        let mut registers = [0_i64; 11];
        let mut at = 0;
        loop {
            let step = program[at];
            let (to, from) = (usize::from(step.registers & 15), usize::from(step.registers >> 4));
            at += 1;
            match step.code {
                0x61 => registers[to] = i64::from(context[usize::try_from(step.offset / 4).unwrap()]),
                0x54 => registers[to] &= i64::from(step.immediate),
                0x74 => registers[to] >>= step.immediate,
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = i64::from(step.immediate),
                0x55 if registers[to] != i64::from(step.immediate) => {
                    at += usize::try_from(step.offset).unwrap();
                }
                0x5d if registers[to] != registers[from] => at += usize::try_from(step.offset).unwrap(),
                0x55 | 0x5d => {}
                0x95 => return registers[0] != 0,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let deny = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().unwrap();
        let null = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(LinuxDeviceType::C)
            .major(1)
            .minor(3)
            .access("rw")
            .build()
            .unwrap();
        let program = assemble(&[deny, null]).unwrap();
        assert!(allowed(&program, DEVICE_CHAR, ACCESS_READ, 1, 3));
        assert!(allowed(&program, DEVICE_CHAR, ACCESS_READ | ACCESS_WRITE, 1, 3));
        assert!(!allowed(&program, DEVICE_CHAR, ACCESS_MKNOD, 1, 3));
        assert!(!allowed(&program, DEVICE_BLOCK, ACCESS_READ, 1, 3));
        assert!(!allowed(&program, DEVICE_CHAR, ACCESS_READ, 1, 4));
    }

    #[test]
    fn the_kernel_accepts_the_program() {
        let deny = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().unwrap();
        match load(&assemble(&[deny]).unwrap()) {
            // The verifier's refusal would be EINVAL or EACCES.
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)), "{error}");
            }
        }
    }

    /// On a version 1 machine as well, if it has the usual empty version 2 tree beside it.
    #[test]
    fn what_is_not_allowed_is_refused() {
        let tree = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .map(Path::new)
            .into_iter()
            .find(|tree| tree.join("cgroup.controllers").exists());
        let (true, Some(tree)) = (nix::unistd::geteuid().is_root(), tree) else { return };
        let folder = tree.join(format!("machine-device-test-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let rule = |allow, access: &str| LinuxDeviceCgroupBuilder::default().allow(allow).access(access);
        let null = rule(true, "rwm").typ(LinuxDeviceType::C).major(1).minor(3).build().unwrap();
        let attached = attach(&folder, &[rule(false, "rwm").build().unwrap(), null]);
        let script = format!(
            "echo $$ > {}/cgroup.procs && : < /dev/null && ! head -c 1 /dev/zero 2>/dev/null >/dev/null",
            folder.display()
        );
        let status = std::process::Command::new("/bin/sh").args(["-c", &script]).status();
        std::fs::remove_dir(&folder).unwrap();
        attached.unwrap();
        assert!(status.unwrap().success());
    }
}
