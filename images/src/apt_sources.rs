//! Which Debian mirror this host uses, as its apt sources say.
//!
//! Both formats are read: one-line `.list` files and deb822 `.sources` files. Only entries whose
//! path ends in `/debian` count: security and third-party archives hold no kernel of ours.

use crate::control;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why no mirror was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AptSourcesError {
    #[error("Could not read the apt sources at {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "No Debian mirror in the apt sources under {}\n\
         Hint: Name one with \"--mirror URL\" or set MACHINE_DEBIAN_MIRROR",
        etc_apt.display()
    )]
    NoMirror { etc_apt: PathBuf },
}

/// The first Debian mirror of the sources under `etc_apt` (`/etc/apt`), without a trailing slash.
pub(crate) fn debian_mirror(etc_apt: &Path) -> Result<String, AptSourcesError> {
    for path in source_files(etc_apt)? {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(AptSourcesError::Read { path, source }),
        };
        let text = String::from_utf8_lossy(&bytes);
        let deb822 = path.extension().is_some_and(|extension| extension == "sources");
        let mirror = if deb822 { mirror_in_sources(&text) } else { mirror_in_list(&text) };
        if let Some(mirror) = mirror {
            return Ok(mirror);
        }
    }
    Err(AptSourcesError::NoMirror { etc_apt: etc_apt.to_path_buf() })
}

fn source_files(etc_apt: &Path) -> Result<Vec<PathBuf>, AptSourcesError> {
    let parts = etc_apt.join("sources.list.d");
    let mut files = Vec::new();
    match fs::read_dir(&parts) {
        Ok(entries) => {
            for entry in entries {
                let path =
                    entry.map_err(|source| AptSourcesError::Read { path: parts.clone(), source })?.path();
                if path.extension().is_some_and(|e| e == "list" || e == "sources") {
                    files.push(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(AptSourcesError::Read { path: parts, source }),
    }
    files.sort();
    files.insert(0, etc_apt.join("sources.list"));
    Ok(files)
}

fn mirror_in_list(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        // Options stand in brackets and may hold spaces: `deb [ arch=amd64 signed-by=/k ] URL …`.
        if let Some(options) = rest.strip_prefix('[') {
            rest = options.split_once(']')?.1.trim_start();
        }
        debian_uri(rest.split_whitespace().next()?)
    })
}

fn mirror_in_sources(text: &str) -> Option<String> {
    control::paragraphs(text).find_map(|paragraph| {
        let disabled = paragraph.value("Enabled").is_some_and(|v| matches!(v, "no" | "false" | "0" | "off"));
        if disabled || !paragraph.words("Types").contains(&"deb") {
            return None;
        }
        paragraph.words("URIs").into_iter().find_map(debian_uri)
    })
}

fn debian_uri(uri: &str) -> Option<String> {
    let uri = uri.trim_end_matches('/');
    let (scheme, _) = uri.split_once("://")?;
    let fetchable = matches!(scheme, "http" | "https");
    (fetchable && uri.ends_with("/debian")).then(|| uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_sources() {
        let text = "# deb http://commented.example/debian x main\n\
                    deb-src http://source.example/debian x main\n\
                    deb http://mirror.example/debian-security x main\n\
                    deb [ arch=amd64 signed-by=/usr/share/k.gpg ] http://mirror.example/debian/ x main # ours\n";
        assert_eq!(mirror_in_list(text).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(mirror_in_list("deb http://mirror.example/ubuntu noble main\n"), None);
        assert_eq!(mirror_in_list("deb [broken http://mirror.example/debian x main\n"), None);
        assert_eq!(mirror_in_list("deb cdrom:[Debian]/ x main\ndebris http://a.example/debian\n"), None);
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: x\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example/debian\n\n\
                    Types: deb deb-src\nURIs:\n http://third.example/node\n https://mirror.example/debian/\nSuites: x\n";
        assert_eq!(mirror_in_sources(text).as_deref(), Some("https://mirror.example/debian"));
        assert_eq!(mirror_in_sources("Types: deb-src\nURIs: http://mirror.example/debian\n"), None);
    }

    #[test]
    fn both_formats_are_found_in_a_folder_and_none_is_a_hint() {
        let root = tempfile::tempdir().unwrap();
        let error = debian_mirror(root.path()).unwrap_err().to_string();
        assert!(error.contains("--mirror") && error.contains("MACHINE_DEBIAN_MIRROR"), "{error}");
        let parts = root.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        fs::write(parts.join("a.list"), "deb http://mirror.example/ubuntu noble main\n").unwrap();
        fs::write(parts.join("b.list.save"), "deb http://saved.example/debian x main\n").unwrap();
        fs::write(parts.join("c.sources"), "Types: deb\nURIs: http://mirror.example/debian\n").unwrap();
        assert_eq!(debian_mirror(root.path()).unwrap(), "http://mirror.example/debian");
    }
}
