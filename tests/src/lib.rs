//! The harness of the tests that cross crates: it finds what `make build` made, runs programs with a
//! deadline, and gives every test a machine store or an engine of its own that is gone afterwards.

pub mod artifacts;
pub mod engine;
pub mod host;
pub mod pty;
pub mod request;
pub mod run;

pub use engine::NativeEngine;
pub use host::Host;
pub use run::{Run, command};
