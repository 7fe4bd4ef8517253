//! The rules of the house that a compiler does not check. Each message says what to do.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Which workspace crates a crate may name in `[dependencies]` (DESIGN.md, "the direction of
/// dependencies").
const DIRECTION: &[(&str, &[&str])] = &[
    ("guest-contract", &[]),
    ("machine-drivers", &["guest-contract"]),
    ("driver-cloud", &["machine-drivers"]),
    ("driver-kvm", &["machine-drivers", "guest-contract"]),
    ("driver-plugin", &["machine-drivers"]),
    ("machine", &["driver-cloud", "driver-kvm", "driver-plugin", "machine-drivers", "guest-contract"]),
    ("engine", &[]),
    ("engine-linux", &["engine"]),
    ("guest-engine", &["engine", "engine-linux", "guest-contract"]),
    ("images", &["guest-contract"]),
    ("tests", &[]),
];

/// Concrete adapters and the one file that may name them.
const COMPOSITION: &[(&str, &str, &str)] = &[
    ("machine/src", "driver_cloud::", "machine/src/drivers.rs"),
    ("machine/src", "driver_kvm::", "machine/src/drivers.rs"),
    ("machine/src", "driver_plugin::", "machine/src/drivers.rs"),
    ("guest-engine/src/http", "engine_linux::", "guest-engine/src/main.rs"),
];

const MOST_LINES: usize = 700;
const NO_NAMES: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs", "mod.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file of the project below `folder` with this ending, built things left out.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// The names below `[dependencies]` and the package's own name; the manifests are ours and plain.
fn manifest(path: &Path) -> Result<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(path)?;
    let (mut section, mut name, mut dependencies) = ("", String::new(), BTreeSet::new());
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[package]" && line.starts_with("name") {
            name = line.split('"').nth(1).unwrap_or_default().to_owned();
        } else if section == "[dependencies]" && !line.is_empty() && !line.starts_with('#') {
            dependencies.insert(line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned());
        }
    }
    Ok((name, dependencies))
}

#[test]
fn crates_depend_in_one_direction() -> Result<()> {
    let allowed: BTreeMap<_, _> = DIRECTION.iter().copied().collect();
    let ours: BTreeSet<&str> = allowed.keys().copied().collect();
    for path in files(root(), "Cargo.toml")? {
        let (name, dependencies) = manifest(&path)?;
        if name.is_empty() {
            continue;
        }
        let allowed = allowed
            .get(name.as_str())
            .with_context(|| format!("{name} is new: say in tests/tidy.rs what it may depend on"))?;
        for dependency in dependencies.iter().filter(|d| ours.contains(d.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "`{name}` must not depend on `{dependency}`");
        }
    }
    Ok(())
}

#[test]
fn adapters_are_named_in_one_file() -> Result<()> {
    for (folder, adapter, file) in COMPOSITION {
        for path in files(&root().join(folder), ".rs")? {
            let names = fs::read_to_string(&path)?
                .lines()
                .any(|line| line.contains(adapter) && !line.trim_start().starts_with("//"));
            assert!(
                !names || relative(&path) == *file,
                "{} names {adapter}; only {file} may",
                relative(&path)
            );
        }
    }
    Ok(())
}

#[test]
fn files_are_one_concept_long_and_bear_its_name() -> Result<()> {
    for path in files(root(), ".rs")? {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!NO_NAMES.contains(&name.as_str()), "{}: name the concept", relative(&path));
        let lines = fs::read_to_string(&path)?.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines: would two names say more?", relative(&path));
    }
    Ok(())
}

#[test]
fn every_source_file_says_what_it_owns() -> Result<()> {
    for path in files(root(), ".rs")? {
        let text = fs::read_to_string(&path)?;
        assert!(text.starts_with("//!"), "{} does not begin with `//!`", relative(&path));
    }
    Ok(())
}

#[test]
fn no_test_is_ignored_and_no_registry_is_named() -> Result<()> {
    // Written in two parts so that this file does not find itself.
    let hosts =
        [["deb.debian", ".org"], ["static.crates", ".io"], ["pypi", ".org"], ["registry.npmjs", ".org"]];
    for ending in [".rs", ".toml", ".sh", ".md", "Makefile", ".py"] {
        for path in files(root(), ending)? {
            let text = fs::read_to_string(&path)?;
            for host in hosts {
                assert!(!text.contains(&host.concat()), "{} names a registry's host", relative(&path));
            }
            assert!(
                ending != ".rs" || !text.contains(&["#[", "ignore"].concat()),
                "{} ignores a test",
                relative(&path)
            );
        }
    }
    Ok(())
}
