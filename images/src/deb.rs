//! Reads files out of a `.deb`: an `ar` archive whose `data.tar.*` member holds the package's tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Why a package could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DebError {
    #[error("Could not read the package {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("The package {} has no data.tar that this program can read", path.display())]
    NoData { path: PathBuf },
    #[error("The package {} has no file {file}", path.display())]
    NoFile { path: PathBuf, file: String },
}

/// The regular files of a package that were asked for, by their path without a leading slash.
///
/// `usr/` before `bin/`, `sbin/` and `lib/` is dropped: packages moved from one to the other between
/// releases, and to their users it is the same place.
#[derive(Debug)]
pub(crate) struct PackageFiles {
    package: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
}

impl PackageFiles {
    /// Streams through the package once and keeps the files that `wanted` names.
    pub(crate) fn read(package: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, DebError> {
        let failed = |source| DebError::Read { path: package.to_path_buf(), source };
        let file = File::open(package).map_err(failed)?;
        let mut members = ar::Archive::new(BufReader::new(file));
        while let Some(member) = members.next_entry() {
            let member = member.map_err(failed)?;
            let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
            let name = name.trim_end_matches('/');
            if !name.starts_with("data.tar") {
                continue;
            }
            let data: Box<dyn Read + '_> = match name {
                "data.tar" => Box::new(member),
                "data.tar.xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(member)),
                "data.tar.gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
                "data.tar.zst" => Box::new(zstd::stream::read::Decoder::new(member).map_err(failed)?),
                _ => break,
            };
            let files = read_tree(data, wanted).map_err(failed)?;
            return Ok(Self { package: package.to_path_buf(), files });
        }
        Err(DebError::NoData { path: package.to_path_buf() })
    }

    /// All files that were asked for, in the order of their paths.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// One file; an error when the package does not have it.
    pub(crate) fn get(&self, file: &str) -> Result<&[u8], DebError> {
        self.files
            .get(file)
            .map(Vec::as_slice)
            .ok_or_else(|| DebError::NoFile { path: self.package.clone(), file: file.to_owned() })
    }
}

fn read_tree(data: impl Read, wanted: impl Fn(&str) -> bool) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(data).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = package_path(&entry.path()?.to_string_lossy());
        if wanted(&path) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.insert(path, bytes);
        }
    }
    Ok(files)
}

fn package_path(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    match path.strip_prefix("usr/") {
        Some(rest) if ["bin/", "sbin/", "lib/"].iter().any(|folder| rest.starts_with(folder)) => rest,
        _ => path,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deb(member: &str, compress: impl Fn(Vec<u8>) -> Vec<u8>) -> tempfile::NamedTempFile {
        let mut tree = tar::Builder::new(Vec::new());
        for (path, bytes) in [("./usr/bin/tool", "tool"), ("./usr/share/doc/tool", "doc")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tree.append_data(&mut header, path, bytes.as_bytes()).unwrap();
        }
        let data = compress(tree.into_inner().unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut archive = ar::Builder::new(file.reopen().unwrap());
        for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), (member, &data)] {
            archive.append(&ar::Header::new(name.into(), bytes.len() as u64), bytes).unwrap();
        }
        file
    }

    #[test]
    fn every_compression_gives_the_same_tree() {
        let gzip = |bytes: Vec<u8>| {
            let mut encoder = flate2::read::GzEncoder::new(bytes.as_slice(), flate2::Compression::fast());
            let mut out = Vec::new();
            encoder.read_to_end(&mut out).unwrap();
            out
        };
        let xz = |bytes: Vec<u8>| {
            let mut out = Vec::new();
            liblzma::read::XzEncoder::new(bytes.as_slice(), 1).read_to_end(&mut out).unwrap();
            out
        };
        let debs = [
            deb("data.tar", |bytes| bytes),
            deb("data.tar.gz", gzip),
            deb("data.tar.xz", xz),
            deb("data.tar.zst", |bytes| zstd::encode_all(bytes.as_slice(), 1).unwrap()),
        ];
        for deb in debs {
            let files = PackageFiles::read(deb.path(), |path| path.starts_with("bin/")).unwrap();
            assert_eq!(files.get("bin/tool").unwrap(), b"tool");
            assert_eq!(files.iter().count(), 1);
            assert!(matches!(files.get("usr/share/doc/tool"), Err(DebError::NoFile { .. })));
        }
    }

    #[test]
    fn damage_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"!<arch>\nshort").unwrap();
        assert!(PackageFiles::read(file.path(), |_| true).is_err());
        let odd = deb("data.tar.lzma", |bytes| bytes);
        assert!(matches!(PackageFiles::read(odd.path(), |_| true), Err(DebError::NoData { .. })));
        let truncated = deb("data.tar.xz", |bytes| bytes[..100].to_vec());
        assert!(matches!(PackageFiles::read(truncated.path(), |_| true), Err(DebError::Read { .. })));
    }
}
