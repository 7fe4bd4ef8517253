//! A suite's package index (`Packages.xz`): which file is which version of a package.

use crate::control::{self, Paragraph};
use crate::digest;
use crate::version;
use std::io::{self, Read};

/// Largest index that is unpacked; Debian's main has 57 MB.
const LIMIT: u64 = 512 << 20;

/// Why a package could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackagesError {
    #[error("Could not unpack the package index")]
    Unpack(#[source] io::Error),
    #[error("The suite has no package {name}")]
    NoPackage { name: String },
    #[error("The index entry of {name} has no valid field {field}")]
    Field { name: String, field: &'static str },
    #[error("{name} does not depend on a package that begins with {prefix}")]
    NoDependency { name: String, prefix: String },
}

/// One version of a package, as the signed index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub name: String,
    pub version: String,
    /// Path below the mirror.
    pub filename: String,
    pub size: u64,
    /// Hex.
    pub sha256: String,
    /// The first alternative of each dependency, without its version.
    pub depends: Vec<String>,
}

/// The index, unpacked.
#[derive(Debug)]
pub(crate) struct PackagesIndex {
    text: String,
}

impl PackagesIndex {
    /// Unpacks the (verified) bytes of a `Packages.xz`.
    pub(crate) fn unpack(xz: &[u8]) -> Result<Self, PackagesError> {
        let mut text = String::new();
        liblzma::read::XzDecoder::new(xz)
            .take(LIMIT)
            .read_to_string(&mut text)
            .map_err(PackagesError::Unpack)?;
        Ok(Self { text })
    }

    /// The newest version of a package.
    pub(crate) fn find(&self, name: &str) -> Result<Package, PackagesError> {
        control::paragraphs(&self.text)
            .filter(|paragraph| paragraph.value("Package") == Some(name))
            .max_by(|a, b| {
                let of = |p: &Paragraph<'_>| p.value("Version").unwrap_or_default().to_owned();
                version::compare(&of(a), &of(b))
            })
            .ok_or_else(|| PackagesError::NoPackage { name: name.to_owned() })
            .and_then(|paragraph| parse_package(name, paragraph))
    }

    /// The package behind a meta package: its first dependency whose name begins with `prefix`.
    pub(crate) fn find_behind(&self, meta: &Package, prefix: &str) -> Result<Package, PackagesError> {
        let name = meta.depends.iter().find(|name| name.starts_with(prefix)).ok_or_else(|| {
            PackagesError::NoDependency { name: meta.name.clone(), prefix: prefix.to_owned() }
        })?;
        self.find(name)
    }
}

fn parse_package(name: &str, paragraph: Paragraph<'_>) -> Result<Package, PackagesError> {
    let invalid = |field| PackagesError::Field { name: name.to_owned(), field };
    let field = |field| paragraph.value(field).filter(|v| !v.is_empty()).ok_or_else(|| invalid(field));
    let filename = field("Filename")?.to_owned();
    if filename.starts_with('/') || filename.split('/').any(|part| part == "..") {
        return Err(invalid("Filename"));
    }
    let sha256 = field("SHA256")?.to_owned();
    if !digest::is_sha256(&sha256) {
        return Err(invalid("SHA256"));
    }
    Ok(Package {
        name: name.to_owned(),
        version: field("Version")?.to_owned(),
        filename,
        size: field("Size")?.parse().map_err(|_| invalid("Size"))?,
        sha256,
        depends: parse_depends(paragraph.value("Depends").unwrap_or_default()),
    })
}

fn parse_depends(text: &str) -> Vec<String> {
    let first_word = |dependency: &str| {
        let end = dependency.find(|c: char| c.is_whitespace() || "(:|[<".contains(c));
        dependency[..end.unwrap_or(dependency.len())].to_owned()
    };
    text.split(',').map(str::trim).map(first_word).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "be3d7d96a040eda0505c1808cccc67f183bbc05dff0842c50f88e6c396557412";

    fn index() -> PackagesIndex {
        let entry = |name: &str, version: &str, depends: &str| {
            format!(
                "Package: {name}\nVersion: {version}\nDepends: {depends}\n\
                 Filename: pool/{name}_{version}.deb\nSize: 12\nSHA256: {HASH}\n\n"
            )
        };
        PackagesIndex {
            text: [
                entry(
                    "meta",
                    "2",
                    "debconf (>= 0.5) | debconf-2.0, linux-image-6.12.9+deb13-cloud-amd64 (= 6.12.9-1)",
                ),
                entry("linux-image-6.12.9+deb13-cloud-amd64", "6.12.9-1", "kmod, linux-base (>= 4)"),
                entry("linux-image-6.12.9+deb13-cloud-amd64", "6.12.10-1", "kmod:any"),
                "Package: bad\nVersion: 1\nFilename: ../../x\nSize: 1\n\n".to_owned(),
            ]
            .concat(),
        }
    }

    #[test]
    fn the_newest_version_wins_and_a_meta_package_leads_to_it() {
        let index = index();
        let meta = index.find("meta").unwrap();
        assert_eq!(meta.depends, ["debconf", "linux-image-6.12.9+deb13-cloud-amd64"]);
        let kernel = index.find_behind(&meta, "linux-image-").unwrap();
        assert_eq!((kernel.version.as_str(), kernel.size), ("6.12.10-1", 12));
        assert_eq!(kernel.depends, ["kmod"]);
    }

    #[test]
    fn missing_and_malformed_entries_are_errors() {
        let index = index();
        assert!(matches!(index.find("none"), Err(PackagesError::NoPackage { .. })));
        assert!(matches!(index.find("bad"), Err(PackagesError::Field { field: "Filename", .. })));
        let meta = index.find("meta").unwrap();
        assert!(matches!(index.find_behind(&meta, "grub"), Err(PackagesError::NoDependency { .. })));
        assert!(matches!(PackagesIndex::unpack(b"not xz"), Err(PackagesError::Unpack(_))));
    }
}
