//! Versions of what is spoken between host and guest.

/// Version of the seed and of the channel's messages. A guest refuses a seed with another number.
pub const PROTOCOL: u32 = 1;
/// Version of `machine` and of its engine: they are built and released together.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
