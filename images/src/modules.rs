//! Kernel modules of a package: which a name needs, in which order, unpacked.
//!
//! The package has no `modules.dep` (depmod writes it at installation), so dependencies are read
//! from each module's own `.modinfo`. Signatures at the end of a module are left as they are.

use crate::elf::Elf;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

/// Largest module that is unpacked.
const LIMIT: u64 = 64 << 20;

/// Why a module set could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModulesError {
    #[error("Could not unpack the kernel module {path}")]
    Unpack { path: String, source: io::Error },
    #[error("The kernel module {path} is not an ELF file with a .modinfo section")]
    NotAModule { path: String },
    #[error("The kernel module {module} needs {dependency}, which the package does not have")]
    NoDependency { module: String, dependency: String },
}

/// A module ready to be put into the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Normalised: `_` for `-`.
    pub name: String,
    /// Path in the guest without a leading slash, ending in `.ko`.
    pub path: String,
    pub bytes: Vec<u8>,
}

/// The modules of one kernel package.
#[derive(Debug)]
pub(crate) struct ModuleIndex<'a> {
    packed: BTreeMap<String, (&'a str, &'a [u8])>,
    builtin: BTreeSet<String>,
}

/// What became of the names of a list.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// In load order: every module comes after those that it needs.
    pub modules: Vec<Module>,
    /// Names that this kernel neither has as modules nor built in.
    pub absent: Vec<String>,
}

impl<'a> ModuleIndex<'a> {
    /// Indexes files (path, bytes) of which those that are modules count; `builtin` is the text of
    /// `modules.builtin`.
    pub(crate) fn new(files: impl Iterator<Item = (&'a str, &'a [u8])>, builtin: &str) -> Self {
        Self {
            packed: files.filter_map(|(path, bytes)| Some((module_name(path)?, (path, bytes)))).collect(),
            builtin: builtin.lines().filter_map(module_name).collect(),
        }
    }

    /// Resolves `names` with all they need, leaving out what `loaded` has and adding to it.
    pub(crate) fn resolve(
        &self,
        names: &[&str],
        loaded: &mut BTreeSet<String>,
    ) -> Result<Resolved, ModulesError> {
        let mut resolved = Resolved::default();
        for name in names {
            let name = normalise(name);
            if self.packed.contains_key(&name) {
                self.add(&name, loaded, &mut resolved.modules)?;
            } else if !self.builtin.contains(&name) {
                resolved.absent.push(name);
            }
        }
        Ok(resolved)
    }

    fn add(
        &self,
        name: &str,
        loaded: &mut BTreeSet<String>,
        out: &mut Vec<Module>,
    ) -> Result<(), ModulesError> {
        // Inserted before its dependencies are visited: a cycle ends here.
        if self.builtin.contains(name) || !loaded.insert(name.to_owned()) {
            return Ok(());
        }
        let Some((path, packed)) = self.packed.get(name) else {
            return Ok(());
        };
        let bytes = unpack(path, packed)?;
        let info = Elf::parse(&bytes)
            .and_then(|elf| elf.section(".modinfo"))
            .ok_or_else(|| ModulesError::NotAModule { path: (*path).to_owned() })?;
        for dependency in modinfo(info, "depends=").flat_map(|value| value.split(',')).map(normalise) {
            if dependency.is_empty() {
                continue;
            }
            if !self.packed.contains_key(&dependency) && !self.builtin.contains(&dependency) {
                return Err(ModulesError::NoDependency { module: name.to_owned(), dependency });
            }
            self.add(&dependency, loaded, out)?;
        }
        // A soft dependency is a wish: taken when it is a module here, else left.
        for wish in modinfo(info, "softdep=pre: ").flat_map(str::split_whitespace) {
            if wish.ends_with(':') {
                break;
            }
            self.add(&normalise(wish), loaded, out)?;
        }
        out.push(Module { name: name.to_owned(), path: unpacked_path(path).to_owned(), bytes });
        Ok(())
    }
}

fn modinfo<'b>(info: &'b [u8], key: &'b str) -> impl Iterator<Item = &'b str> {
    info.split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok())
        .filter_map(move |entry| entry.strip_prefix(key))
}

fn unpack(path: &str, packed: &[u8]) -> Result<Vec<u8>, ModulesError> {
    let mut bytes = Vec::new();
    let read = match path.rsplit('.').next() {
        Some("xz") => liblzma::read::XzDecoder::new(packed).take(LIMIT).read_to_end(&mut bytes),
        Some("zst") => zstd::stream::read::Decoder::with_buffer(packed)
            .and_then(|decoder| decoder.take(LIMIT).read_to_end(&mut bytes)),
        Some("gz") => flate2::read::GzDecoder::new(packed).take(LIMIT).read_to_end(&mut bytes),
        _ => return Ok(packed.to_vec()),
    };
    read.map_err(|source| ModulesError::Unpack { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn unpacked_path(path: &str) -> &str {
    [".xz", ".zst", ".gz"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(path)
}

/// `…/virtio-rng.ko.xz` is `virtio_rng`; what is not a module has no name.
fn module_name(path: &str) -> Option<String> {
    let file = unpacked_path(path).rsplit('/').next()?;
    file.strip_suffix(".ko").map(normalise)
}

fn normalise(name: &str) -> String {
    name.trim().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::testing::elf;

    fn module(info: &str) -> Vec<u8> {
        [elf(".modinfo", info.as_bytes(), false), b"~Module signature appended~\n".to_vec()].concat()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut out).unwrap();
        out
    }

    fn names(resolved: &Resolved) -> Vec<&str> {
        resolved.modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn dependencies_come_first_and_only_once() {
        let bridge = module("license=GPL\0depends=stp,llc\0");
        let files = [
            ("k/bridge.ko.xz", xz(&bridge)),
            ("k/stp.ko.xz", xz(&module("depends=llc\0"))),
            ("k/llc.ko", module("depends=\0")),
            ("k/br-netfilter.ko", module("depends=bridge,libcrc32c\0softdep=pre: nft-wish llc post: stp\0")),
            ("k/nft-wish.ko", module("depends=br_netfilter\0")),
            ("modules.order", b"k/bridge.ko".to_vec()),
        ];
        let files: Vec<_> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
        let index = ModuleIndex::new(files.into_iter(), "kernel/lib/libcrc32c.ko\nkernel/net/ipv6/ipv6.ko\n");
        let mut loaded = BTreeSet::new();

        let first = index.resolve(&["bridge", "ipv6", "9p"], &mut loaded).unwrap();
        assert_eq!(names(&first), ["llc", "stp", "bridge"]);
        assert_eq!(first.absent, ["9p"]);
        assert_eq!(first.modules[2].path, "k/bridge.ko");
        // Byte for byte, with the signature behind it.
        assert_eq!(first.modules[2].bytes, bridge);

        let second = index.resolve(&["br_netfilter", "bridge"], &mut loaded).unwrap();
        assert_eq!(names(&second), ["nft_wish", "br_netfilter"]);
    }

    #[test]
    fn broken_modules_are_errors() {
        let files = [
            ("a.ko", module("depends=gone\0")),
            ("b.ko", b"\x7fELF".to_vec()),
            ("c.ko.xz", b"not xz".to_vec()),
        ];
        let files: Vec<_> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
        let index = ModuleIndex::new(files.into_iter(), "");
        let error = |name: &str| index.resolve(&[name], &mut BTreeSet::new()).unwrap_err();
        assert!(matches!(error("a"), ModulesError::NoDependency { .. }));
        assert!(matches!(error("b"), ModulesError::NotAModule { .. }));
        assert!(matches!(error("c"), ModulesError::Unpack { .. }));
    }
}
