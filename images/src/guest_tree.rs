//! What lies where in the guest before anything runs.

use crate::busybox::Busybox;
use crate::initramfs::Initramfs;
use crate::module_lists::LISTS;
use crate::modules::{ModuleIndex, ModulesError};
use crate::report;
use guest_contract::version::RELEASE;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      daemon:x:1:1:daemon:/:/bin/false\n\
                      nobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
const PROFILE: &str = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                       export PS1='\\u@\\h:\\w\\$ '\n";

/// What the guest's tree is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub engine: Vec<u8>,
    pub busybox: &'a Busybox,
    pub modules: &'a ModuleIndex<'a>,
    /// PEM bundle of certificate authorities.
    pub certificates: Vec<u8>,
}

/// Lays the guest out.
pub(crate) fn lay_out(parts: Parts<'_>) -> Result<Initramfs, ModulesError> {
    let mut tree = Initramfs::default();
    for folder in ["dev", "etc", "mnt", "proc", "run", "sys", "usr/local/bin", "var/lib/docker", "var/log"] {
        tree.directory(folder, 0o755);
    }
    tree.directory("root", 0o700);
    tree.directory("tmp", 0o1777);
    tree.directory("var/tmp", 0o1777);
    tree.symlink("var/run", "/run");
    // Without these two, a failing init could not even say so.
    tree.device("dev/console", 0o600, 5, 1);
    tree.device("dev/null", 0o666, 1, 3);

    tree.file("init", 0o755, parts.engine);
    tree.symlink("sbin/machine-engine", "/init");
    add_busybox(&mut tree, parts.busybox);
    add_modules(&mut tree, parts.modules)?;

    tree.file("etc/passwd", 0o644, PASSWD);
    tree.file("etc/group", 0o644, GROUP);
    tree.file("etc/hosts", 0o644, HOSTS);
    tree.file("etc/profile", 0o644, PROFILE);
    tree.file("etc/os-release", 0o644, os_release());
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, parts.certificates);
    Ok(tree)
}

fn add_busybox(tree: &mut Initramfs, busybox: &Busybox) {
    tree.file("bin/busybox", 0o755, busybox.program.as_slice());
    for applet in &busybox.applets {
        tree.symlink(&format!("bin/{applet}"), "busybox");
    }
    // Scripts name their interpreters by either path.
    tree.symlink("usr/bin", "/bin");
    tree.symlink("usr/sbin", "/sbin");
}

fn add_modules(tree: &mut Initramfs, index: &ModuleIndex<'_>) -> Result<(), ModulesError> {
    let mut loaded = BTreeSet::new();
    for list in LISTS {
        let resolved = index.resolve(list.names, &mut loaded)?;
        if !resolved.absent.is_empty() {
            report::warning(&format!("Not in this kernel, left out: {}", resolved.absent.join(" ")));
        }
        let mut text = String::new();
        for module in resolved.modules {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "/{}", module.path);
            tree.file(&module.path, 0o644, module.bytes);
        }
        tree.file(&format!("lib/modules/{}", list.file), 0o644, text);
    }
    Ok(())
}

fn os_release() -> String {
    format!(
        "NAME=\"machine guest\"\nID=machine\nVERSION_ID={RELEASE}\nPRETTY_NAME=\"machine guest {RELEASE}\"\n"
    )
}
