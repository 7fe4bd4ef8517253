//! All that host and guest share, and nothing else: both sides compile this crate, so neither can
//! disagree with the other about a path, a port, a message or a manifest field.
//!
//! Serializable data only. No I/O, no policy.

pub mod channel;
pub mod folders;
pub mod fuse;
pub mod host;
pub mod image;
pub mod paths;
pub mod ports;
pub mod seed;
pub mod version;

pub use channel::{GuestMessage, HostMessage, Phase};
pub use image::ImageManifest;
pub use seed::Seed;
