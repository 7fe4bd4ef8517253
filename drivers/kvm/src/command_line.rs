//! QEMU's arguments, as pure data. Everything in them exists from QEMU 6.2 on; all paths but the
//! kernel's are relative to the machine's folder, QEMU's working directory.

use crate::{accel::Accelerator, files, kernel::Kernel, record::Machine};
use guest_contract::paths::{POWER_PORT, SEED_PORT, SSH_PORT};
use std::ffi::OsString;

/// Arguments of `qemu-system-x86_64` that boot `machine`, its SSH server forwarded to `ssh_port`.
pub(crate) fn arguments(
    machine: &Machine,
    kernel: &Kernel,
    accelerator: &Accelerator,
    ssh_port: u16,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![];
    let mut add = |flag: &str, value: OsString| {
        arguments.push(flag.into());
        arguments.push(value);
    };
    let mut append = format!("{} console=ttyS0", kernel.command_line.trim());
    // With ACPI (the default), for without it a guest cannot power itself off. No PIT: the kernel need
    // not calibrate its clocks against one.
    add("-M", "microvm,pit=off".into());
    match accelerator {
        Accelerator::Kvm => {
            add("-accel", "kvm".into());
            add("-cpu", "host".into());
        }
        Accelerator::Tcg { tsc_khz, .. } => {
            add("-accel", "tcg,thread=multi".into());
            add("-cpu", "max".into());
            // Without the frequency microvm sometimes never finishes its timer calibration. TCG shares one
            // counter among all vCPUs, though Linux does not believe it: without "reliable" it falls back
            // to a clock that only ticks every 4 ms.
            append.push_str(&format!(" tsc_early_khz={tsc_khz} tsc=reliable"));
        }
    }
    add("-name", machine.name.clone().into());
    add("-smp", machine.cpus.to_string().into());
    add("-m", format!("{}M", machine.memory_mib).into());
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        arguments.push(flag.into());
    }
    let mut add = |flag: &str, value: OsString| {
        arguments.push(flag.into());
        arguments.push(value);
    };
    add("-display", "none".into());
    add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".into());
    add("-pidfile", files::PID.into());
    add("-qmp", format!("unix:{},server=on,wait=off", files::QMP_SOCKET).into());
    add("-chardev", format!("file,id=console,path={}", files::CONSOLE).into());
    add("-serial", "chardev:console".into());
    add("-kernel", kernel.vmlinux.clone().into());
    add("-initrd", kernel.initramfs.clone().into());
    add("-append", append.trim_start().into());
    add("-netdev", format!("user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:{ssh_port}-:{SSH_PORT}").into());
    add("-device", "virtio-net-device,netdev=net".into());
    // Write-back with honoured flushes: what the guest synced survives the host's power loss, what it
    // wrote survives QEMU's death.
    add(
        "-drive",
        format!("id=data,if=none,file={},format=raw,cache=writeback,discard=unmap", files::DISK).into(),
    );
    add("-device", "virtio-blk-device,drive=data".into());
    add("-device", "virtio-serial-device".into());
    for (id, socket, name) in
        [("seed", files::SEED_SOCKET, SEED_PORT), ("power", files::POWER_SOCKET, POWER_PORT)]
    {
        add("-chardev", format!("socket,id={id},path={socket},server=on,wait=off").into());
        add("-device", format!("virtserialport,chardev={id},name={name}").into());
    }
    add("-object", "rng-random,id=rng,filename=/dev/urandom".into());
    add("-device", "virtio-rng-device,rng=rng".into());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(accelerator: &Accelerator) -> String {
        let machine = Machine {
            name: "dev".to_owned(),
            machine_id: "id".to_owned(),
            cpus: 2,
            memory_mib: 2048,
            disk_gib: 20,
            image: "/image".into(),
            cache: "/cache".into(),
        };
        let kernel = Kernel {
            vmlinux: "/cache/aa".into(),
            initramfs: "/cache/bb".into(),
            command_line: "quiet panic=-1".to_owned(),
        };
        let arguments = arguments(&machine, &kernel, accelerator, 40022);
        let words: Vec<_> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ").replace(" -", "\n-")
    }

    const COMMON: &str = "\
-name dev
-smp 2
-m 2048M
-nodefaults
-no-user-config
-no-reboot
-display none
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-pidfile qemu.pid
-qmp unix:qmp.sock,server=on,wait=off
-chardev file,id=console,path=console.log
-serial chardev:console
-kernel /cache/aa
-initrd /cache/bb
";
    const DEVICES: &str = "\
-netdev user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:40022-:22
-device virtio-net-device,netdev=net
-drive id=data,if=none,file=disk.raw,format=raw,cache=writeback,discard=unmap
-device virtio-blk-device,drive=data
-device virtio-serial-device
-chardev socket,id=seed,path=seed.sock,server=on,wait=off
-device virtserialport,chardev=seed,name=machine.seed
-chardev socket,id=power,path=power.sock,server=on,wait=off
-device virtserialport,chardev=power,name=machine.power
-object rng-random,id=rng,filename=/dev/urandom
-device virtio-rng-device,rng=rng";

    #[test]
    fn under_kvm() {
        let expected = format!(
            "-M microvm,pit=off\n-accel kvm\n-cpu host\n{COMMON}-append quiet panic=-1 console=ttyS0\n{DEVICES}"
        );
        assert_eq!(line(&Accelerator::Kvm), expected);
    }

    #[test]
    fn under_emulation() {
        let tcg = Accelerator::Tcg { reason: String::new(), tsc_khz: 2_300_000 };
        let expected = format!(
            "-M microvm,pit=off\n-accel tcg,thread=multi\n-cpu max\n{COMMON}\
             -append quiet panic=-1 console=ttyS0 tsc_early_khz=2300000 tsc=reliable\n{DEVICES}"
        );
        assert_eq!(line(&tcg), expected);
    }
}
