//! What tests of drivers and of their callers share: the strict [`MemoryDriver`]. Only with the feature
//! `testing`; never in a release build.

mod memory;

pub use memory::{MemoryDriver, Step};
