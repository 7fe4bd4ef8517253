//! What tests of drivers and of their callers share: the strict [`MemoryDriver`] and the
//! [`conformance`] suite. Only with the feature `testing`; never in a release build.

mod conformance;
mod memory;

pub use conformance::{Subject, conformance};
pub use memory::{MemoryDriver, Step};
