//! What a machine takes over from this computer: its proxies and the certificate authorities that were added
//! to it, without which nothing can be pulled in many companies.

use crate::config::Environment;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each in both of its spellings; some programs know one only.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
/// Where Debian, Fedora and Arch keep authorities that were added by hand.
const FOLDERS: [&str; 3] = [
    "/usr/local/share/ca-certificates",
    "/etc/pki/ca-trust/source/anchors",
    "/etc/ca-certificates/trust-source/anchors",
];
/// More than this is no file of certificates.
const MAX_FILE: u64 = 1024 * 1024;
/// What a seed has room for, in bytes: a hundred and more.
const MAX_ALL: usize = 256 * 1024;
/// This computer's loopback, as a guest behind user networking sees it.
const HOST_IN_GUEST: &str = "10.0.2.2";

/// The proxies of this environment as settings of the engine's. For a guest on this computer, a proxy on the
/// loopback is where the guest finds this computer.
pub(crate) fn proxies(environment: &Environment, is_local: bool) -> Vec<String> {
    let value = |name: &str| {
        environment.get(name).or_else(|| environment.get(&name.to_lowercase())).map(|value| {
            if name == "NO_PROXY" || !is_local { value.to_owned() } else { seen_from_guest(value) }
        })
    };
    let found = PROXIES.iter().filter_map(|name| Some((*name, value(name)?)));
    found
        .flat_map(|(name, value)| [format!("{name}={value}"), format!("{}={value}", name.to_lowercase())])
        .collect()
}

fn seen_from_guest(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(user, host)| (user, host));
    let name_end = host.find([':', '/']).unwrap_or(host.len());
    let name = &host[..name_end];
    if name != "localhost" && !name.starts_with("127.") {
        return url.to_owned();
    }
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let user = if user.is_empty() { String::new() } else { format!("{user}@") };
    format!("{scheme}{user}{HOST_IN_GUEST}{}", &host[name_end..])
}

/// The authorities that were added to this computer, in PEM.
pub(crate) fn authorities() -> Vec<String> {
    let mut files: Vec<PathBuf> = FOLDERS.iter().flat_map(|folder| files_below(Path::new(folder))).collect();
    files.sort();
    let mut room = MAX_ALL;
    let fits = |certificate: &String| {
        room = room.saturating_sub(certificate.len());
        room > 0
    };
    files.iter().flat_map(|file| certificates_in(file)).take_while(fits).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let below = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        _ => vec![entry.path()],
    };
    entries.flatten().flat_map(below).collect()
}

fn certificates_in(file: &Path) -> Vec<String> {
    if fs::metadata(file).is_ok_and(|found| found.len() > MAX_FILE) {
        return Vec::new();
    }
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let blocks = text.split(begin).skip(1).filter_map(|block| block.split_once(end));
    blocks.map(|(body, _)| format!("{begin}\n{}\n{end}\n", body.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_come_in_both_spellings_and_are_reachable_from_the_guest() {
        let variables = [("https_proxy", "http://me:p@127.0.0.1:3128/"), ("NO_PROXY", "localhost,.corp")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let environment = Environment { variables, ..Environment::default() };
        assert_eq!(
            proxies(&environment, true),
            [
                "HTTPS_PROXY=http://me:p@10.0.2.2:3128/",
                "https_proxy=http://me:p@10.0.2.2:3128/",
                "NO_PROXY=localhost,.corp",
                "no_proxy=localhost,.corp"
            ]
        );
        assert_eq!(proxies(&environment, false)[0], "HTTPS_PROXY=http://me:p@127.0.0.1:3128/");
        assert_eq!(seen_from_guest("localhost:8080"), "10.0.2.2:8080");
        assert_eq!(seen_from_guest("http://proxy.corp:8080"), "http://proxy.corp:8080");
    }

    #[test]
    fn certificates_are_found_among_other_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/corp.crt");
        fs::create_dir(folder.path().join("deep")).unwrap();
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(&file, format!("Our authority\r\n{one}and\n{one}-----BEGIN CERTIFICATE-----\ncut off"))
            .unwrap();
        let files = files_below(folder.path());
        assert_eq!(files, [file]);
        assert_eq!(certificates_in(&files[0]), [one, one]);
    }
}
