//! The real QEMU with a guest that does nothing: arguments, monitor, locks and kill are the real ones.

use crate::image;
use driver_kvm::KvmDriver;
use machine_drivers::{Driver, DriverError, InstanceState, MachineSpec, Silent};
use nix::{sys::signal, unistd::Pid};
use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt, time::Duration};
use tokio::time::sleep;

/// An ELF kernel for QEMU's PVH loader: one segment at 1 MiB, whose code halts for ever.
fn halting_kernel() -> Vec<u8> {
    const BASE: u64 = 0x10_0000;
    const CODE: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd]; // cli; hlt; jmp back to hlt
    const HEADERS: u64 = 64 + 2 * 56;
    let note: Vec<u8> = [
        &4_u32.to_le_bytes()[..],
        &4_u32.to_le_bytes(),
        &18_u32.to_le_bytes(), // XEN_ELFNOTE_PHYS32_ENTRY
        b"Xen\0",
        &(BASE as u32).to_le_bytes(),
    ]
    .concat();
    let code_at = HEADERS + note.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version 1
    for value in [BASE, 64, 0] {
        elf.extend(u64::to_le_bytes(value)); // entry, program headers, section headers
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    let mut header = |kind: u32, flags: u32, offset: u64, address: u64, size: u64| {
        elf.extend(kind.to_le_bytes());
        elf.extend(flags.to_le_bytes());
        for value in [offset, address, address, size, size, 4] {
            elf.extend(u64::to_le_bytes(value));
        }
    };
    header(1, 5, code_at, BASE, CODE.len() as u64);
    header(4, 4, HEADERS, 0, note.len() as u64);
    elf.extend(note);
    elf.extend(CODE);
    elf
}

/// Ends what a failed test leaves running.
struct Guard<'a>(&'a [MachineSpec]);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        for spec in self.0 {
            if let Ok(pid) = fs::read_to_string(spec.directory.join("qemu.pid")) {
                let _ = signal::kill(Pid::from_raw(pid.trim().parse().unwrap()), signal::Signal::SIGKILL);
            }
        }
    }
}

#[tokio::test]
async fn starts_two_machines_kills_them_and_notices_a_crash() {
    let root = tempfile::tempdir().unwrap();
    image::make(&root.path().join("image"), &halting_kernel());
    let driver = KvmDriver::new();
    let specs = [image::spec(root.path(), "one"), image::spec(root.path(), "two")];
    let _guard = Guard(&specs);
    driver.check(&specs[0]).await.expect("this test needs QEMU: sudo apt-get install qemu-system-x86");
    let mut instances = vec![];
    for spec in &specs {
        instances.push(driver.create(spec, &Silent).await.unwrap());
    }
    let (first, second) = (&instances[0], &instances[1]);
    let (a, b) = tokio::join!(driver.start(first, &Silent), driver.start(second, &Silent));
    a.unwrap();
    b.unwrap();
    driver.start(first, &Silent).await.unwrap();
    for instance in &instances {
        assert_eq!(driver.state(instance).await.unwrap(), InstanceState::Running);
        let access = driver.access(instance).await.unwrap();
        TcpStream::connect((access.ssh.host.as_str(), access.ssh.port)).unwrap();
    }
    for name in ["qmp.sock", "seed.sock", "power.sock", "qemu.pid", "console.log", "disk.raw", "kvm.json"] {
        let mode = fs::metadata(specs[0].directory.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is for its user only");
    }

    let error = driver.stop(first, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "a halted guest obeys nobody: {error:?}");
    driver.kill(first).await.unwrap();
    assert_eq!(driver.state(first).await.unwrap(), InstanceState::Stopped);
    assert_eq!(driver.state(second).await.unwrap(), InstanceState::Running);

    let pid = fs::read_to_string(specs[1].directory.join("qemu.pid")).unwrap();
    signal::kill(Pid::from_raw(pid.trim().parse().unwrap()), signal::Signal::SIGKILL).unwrap();
    while driver.state(second).await.unwrap() == InstanceState::Running {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(driver.state(second).await.unwrap(), InstanceState::Error);
    driver.start(second, &Silent).await.unwrap();
    for instance in &instances {
        driver.remove(instance).await.unwrap();
    }
    assert_eq!(fs::read_dir(&specs[1].directory).unwrap().count(), 0);
}
