//! `images busybox`: a small container image in the form that `docker load` reads, made of Debian's
//! static busybox. The same package always gives the same bytes.
//!
//! ```text
//!  manifest.json ── Config ──▶ HEX.json      HEX = sha256 of the configuration: the image's id
//!        └───────── Layers ──▶ HEX/layer.tar HEX = sha256 of the layer: its diff id
//! ```

use crate::archive::{Archive, Source};
use crate::busybox::Busybox;
use crate::cache::{self, Cache};
use crate::digest;
use anyhow::{Context, Result};
use serde_json::json;
use std::io;
use std::path::Path;

const CREATED: &str = "1970-01-01T00:00:00Z";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
                      nobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnobody:x:65534:\n";

/// Writes the archive of an image called `name` to `output`; returns the image's id.
pub(crate) async fn run(name: &str, output: &Path, source: Source, cache: Cache) -> Result<String> {
    let archive = Archive::open(source, cache).await?;
    let package = archive.packages().await?.find("busybox-static")?;
    let busybox = Busybox::read(&archive.package_file(&package).await?).await?;
    let (id, bytes) = image(name, &package.version, &busybox)?;
    if let Some(parent) = output.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("Could not create {}", parent.display()))?;
    }
    cache::write_atomically(output, &bytes)
        .with_context(|| format!("Could not write {}", output.display()))?;
    Ok(format!("sha256:{id}"))
}

fn image(name: &str, version: &str, busybox: &Busybox) -> io::Result<(String, Vec<u8>)> {
    let layer = layer(busybox)?;
    let layer_digest = digest::of_bytes(&layer);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sh"],
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created": CREATED, "created_by": format!("busybox-static {version}") }],
    })
    .to_string();
    let id = digest::of_bytes(config.as_bytes());
    let config_path = format!("{id}.json");
    let layer_path = format!("{layer_digest}/layer.tar");
    let manifest = json!([{ "Config": config_path, "RepoTags": [name], "Layers": [layer_path] }]).to_string();

    let mut tree = tar::Builder::new(Vec::new());
    add(&mut tree, &config_path, tar::EntryType::Regular, 0o644, config.as_bytes())?;
    add(&mut tree, &format!("{layer_digest}/"), tar::EntryType::Directory, 0o755, b"")?;
    add(&mut tree, &layer_path, tar::EntryType::Regular, 0o644, &layer)?;
    add(&mut tree, "manifest.json", tar::EntryType::Regular, 0o644, manifest.as_bytes())?;
    Ok((id, tree.into_inner()?))
}

fn layer(busybox: &Busybox) -> io::Result<Vec<u8>> {
    let mut tree = tar::Builder::new(Vec::new());
    add(&mut tree, "bin/", tar::EntryType::Directory, 0o755, b"")?;
    add(&mut tree, "bin/busybox", tar::EntryType::Regular, 0o755, &busybox.program)?;
    for applet in &busybox.applets {
        link(&mut tree, &format!("bin/{applet}"), "busybox")?;
    }
    for (path, mode) in [("etc/", 0o755), ("home/", 0o755), ("root/", 0o700), ("tmp/", 0o1777)] {
        add(&mut tree, path, tar::EntryType::Directory, mode, b"")?;
    }
    add(&mut tree, "etc/group", tar::EntryType::Regular, 0o644, GROUP.as_bytes())?;
    add(&mut tree, "etc/passwd", tar::EntryType::Regular, 0o644, PASSWD.as_bytes())?;
    add(&mut tree, "usr/", tar::EntryType::Directory, 0o755, b"")?;
    add(&mut tree, "usr/bin/", tar::EntryType::Directory, 0o755, b"")?;
    link(&mut tree, "usr/bin/env", "../../bin/env")?;
    add(&mut tree, "usr/sbin/", tar::EntryType::Directory, 0o755, b"")?;
    add(&mut tree, "var/", tar::EntryType::Directory, 0o755, b"")?;
    add(&mut tree, "var/tmp/", tar::EntryType::Directory, 0o1777, b"")?;
    tree.into_inner()
}

fn add(
    tree: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = header(kind, mode);
    header.set_size(bytes.len() as u64);
    tree.append_data(&mut header, path, bytes)
}

fn link(tree: &mut tar::Builder<Vec<u8>>, path: &str, target: &str) -> io::Result<()> {
    tree.append_link(&mut header(tar::EntryType::Symlink, 0o777), path, target)
}

/// Root's, from 1970.
fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn read(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        tar::Archive::new(archive)
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap().to_str().unwrap().to_owned();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                (path, (entry.header().mode().unwrap(), bytes))
            })
            .collect()
    }

    #[test]
    fn the_archive_is_repeatable_and_its_digests_agree() {
        let busybox = Busybox { program: b"program".to_vec(), applets: vec!["ls".into(), "sh".into()] };
        let (id, archive) = image("busybox:latest", "1.37", &busybox).unwrap();
        assert_eq!(image("busybox:latest", "1.37", &busybox).unwrap().1, archive);

        let files = read(&archive);
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"].1).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "busybox:latest");
        let config = &files[manifest[0]["Config"].as_str().unwrap()].1;
        assert_eq!(digest::of_bytes(config), id);
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()].1;
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", digest::of_bytes(layer)));

        let layer = read(layer);
        assert_eq!(layer["bin/busybox"], (0o755, b"program".to_vec()));
        assert_eq!(layer["tmp/"].0, 0o1777);
        assert!(layer.contains_key("bin/sh") && layer.contains_key("etc/passwd"));
    }
}
