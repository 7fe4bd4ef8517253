//! Kernel modules, loaded in the order that the image's lists give: no `modprobe`, no dependency
//! resolution at boot. Parameters come from the kernel command line (`virtio_mmio.device=…`), as
//! `modprobe` would pass them.

use super::log;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;

/// What the boot itself needs: virtio transports, console, network, disk.
pub(super) const BOOT: &str = "/lib/modules/boot.list";
/// What the engine needs before it answers: overlay, bridge, nftables.
pub(super) const ENGINE: &str = "/lib/modules/engine.list";
/// What folders of the user's computer need.
pub(super) const FOLDERS: &str = "/lib/modules/folders.list";
/// What may be wanted later.
pub(super) const LATE: &str = "/lib/modules/late.list";

/// How loading a list went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    /// How many are in the kernel now.
    pub loaded: usize,
    /// One sentence for each that is not.
    pub failures: Vec<String>,
}

/// Loads every module of the list file. A list that does not exist is empty: a kernel may have
/// everything built in.
pub(super) fn load_list(list: &str) -> Loaded {
    let Ok(text) = fs::read_to_string(list) else { return Loaded::default() };
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mut outcome = Loaded::default();
    for path in entries(&text) {
        match load(Path::new(path), &command_line) {
            Ok(()) => outcome.loaded += 1,
            Err(error) => outcome.failures.push(format!("Could not load {path}: {error}")),
        }
    }
    for failure in &outcome.failures {
        log::line(format_args!("{failure}"));
    }
    outcome
}

/// Frees the memory of the module files: everything is loaded, nothing is loaded on demand.
pub(super) fn delete_files() {
    for list in [BOOT, ENGINE, FOLDERS, LATE] {
        for path in entries(&fs::read_to_string(list).unwrap_or_default()) {
            let _ = fs::remove_file(path);
        }
    }
}

fn load(path: &Path, command_line: &str) -> Result<(), rustix::io::Errno> {
    let file = File::open(path)
        .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))?;
    let name = module_name(path);
    let parameters = CString::new(parameters(&name, command_line)).unwrap_or_default();
    match rustix::system::finit_module(&file, &parameters, 0) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// The lines that name a module: no blanks, no comments.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The kernel's name for the module of a file: `virtio-rng.ko` is `virtio_rng`.
fn module_name(path: &Path) -> String {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

/// `name.parameter=value` words of the kernel command line, without the name, in their order.
fn parameters(module: &str, command_line: &str) -> String {
    let of_module = |word: &str| {
        let (owner, parameter) = word.split_once('.')?;
        (owner.replace('-', "_") == module && parameter.contains('=')).then(|| parameter.to_owned())
    };
    command_line.split_whitespace().filter_map(of_module).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_have_blanks_and_comments() {
        let list = "# boot\n/lib/modules/a.ko\n\n  /lib/modules/b.ko  \n";
        assert_eq!(entries(list).collect::<Vec<_>>(), ["/lib/modules/a.ko", "/lib/modules/b.ko"]);
    }

    #[test]
    fn file_names_become_module_names() {
        assert_eq!(module_name(Path::new("/lib/modules/virtio-rng.ko")), "virtio_rng");
        assert_eq!(module_name(Path::new("nf_tables.ko.xz")), "nf_tables");
    }

    #[test]
    fn parameters_of_the_command_line_reach_their_module_in_order() {
        let line =
            "quiet virtio-mmio.device=512@0xfeb00000:5 virtio_mmio.device=512@0xfeb00200:6 8250.nr_uarts=1";
        assert_eq!(parameters("virtio_mmio", line), "device=512@0xfeb00000:5 device=512@0xfeb00200:6");
        assert_eq!(parameters("virtio_net", line), "");
    }

    #[test]
    fn a_missing_list_loads_nothing() {
        assert_eq!(load_list("/nonexistent/boot.list"), Loaded::default());
    }

    #[test]
    fn a_missing_module_is_named_and_the_rest_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("boot.list");
        fs::write(&list, "/nonexistent/a.ko\n/nonexistent/b.ko\n").unwrap();
        let outcome = load_list(list.to_str().unwrap());
        assert_eq!((outcome.loaded, outcome.failures.len()), (0, 2));
        assert!(outcome.failures[0].starts_with("Could not load /nonexistent/a.ko"));
    }
}
