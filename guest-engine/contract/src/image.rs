//! The guest image's manifest: what `images` writes and drivers read.

use serde::{Deserialize, Serialize};

/// Newest manifest version this code reads and the one it writes.
pub const MANIFEST_VERSION: u32 = 1;

/// What a guest image consists of and what it was made from.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ImageManifest {
    /// [`MANIFEST_VERSION`] of the writer.
    pub version: u32,
    /// [`crate::version::RELEASE`] of the engine inside.
    pub release: String,
    /// `uname -r` of the kernel.
    pub kernel_release: String,
    /// The ELF kernel.
    pub kernel: Artifact,
    /// The initramfs.
    pub initramfs: Artifact,
    /// Kernel command line that this image needs, without what a driver adds (console, clock).
    pub command_line: String,
    /// Every input, in the order of use.
    pub inputs: Vec<Input>,
}

/// A compressed file of the image folder and what it unpacks to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Artifact {
    /// File name inside the image folder; zstd-compressed.
    pub file: String,
    /// Size of the compressed file in bytes.
    pub size: u64,
    /// Hex sha256 of the compressed file.
    pub sha256: String,
    /// Size after decompression in bytes.
    pub unpacked_size: u64,
    /// Hex sha256 after decompression; also its name in a driver's cache.
    pub unpacked_sha256: String,
}

/// One input of the build.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Input {
    /// Package or file name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Hex sha256 of the file as fetched.
    pub sha256: String,
    /// What vouches for it: the signed suite (`trixie`) or `built here`.
    pub origin: String,
}
