//! Where `make build` and `make test` put what the tests drive.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

fn existing(path: &str) -> Result<PathBuf> {
    let path = root().join(path);
    if !path.exists() {
        bail!("{} is missing; run the tests with `make test`, which builds it", path.display());
    }
    Ok(path)
}

/// The host binary.
pub fn machine() -> Result<PathBuf> {
    existing("target/release/machine")
}

/// The static guest binary; `MACHINE_TEST_ENGINE` names another, for the time between two release builds.
pub fn engine() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MACHINE_TEST_ENGINE") {
        return Ok(path.into());
    }
    existing("target/x86_64-unknown-linux-gnu/release/machine-engine")
}

/// The guest image's folder.
pub fn guest_image() -> Result<PathBuf> {
    existing("target/release/guest-image")
}

/// A `docker load`able busybox.
pub fn busybox() -> Result<PathBuf> {
    existing("target/release/busybox.tar")
}

/// The docker client.
pub fn docker() -> Result<PathBuf> {
    existing("target/tools/bin/docker")
}

/// The docker client's buildx plugin, in a folder of plugins.
pub fn buildx() -> Result<PathBuf> {
    existing("target/tools/buildx/docker-buildx")
}

/// A Python with docker-py.
pub fn python() -> Result<PathBuf> {
    existing("target/tools/venv/bin/python")
}

/// A folder of Node modules with dockerode.
pub fn node_modules() -> Result<PathBuf> {
    existing("target/tools/node/node_modules")
}

/// The same folder, with Prism in it; unit tests need it, which run before anything is built.
pub fn prism() -> Result<PathBuf> {
    let modules = root().join("target/tools/node/node_modules");
    if !modules.join("@stoplight/prism-http-server").exists() {
        bail!("Prism is missing in {}; install it with `make test-tools`", modules.display());
    }
    Ok(modules)
}

/// A configuration folder of the docker client in which `docker compose` is installed.
pub fn compose() -> Result<PathBuf> {
    existing("target/tools/compose/cli-plugins/docker-compose")?;
    existing("target/tools/compose")
}

/// The Debian host of the test cloud.
pub fn debian_vm() -> Result<PathBuf> {
    existing("target/debian-vm")
}

/// A file of this package.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
