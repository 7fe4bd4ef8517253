//! The domain of the engine: what containers, images and networks are and which rules they obey.
//!
//! Async, no HTTP server, no system calls. What it needs from its surroundings it asks through the traits of
//! [`ports`]; its own state is JSON files, written atomically, under the data root. The vocabulary of
//! container and image configuration is the Docker API's own (`bollard_stubs::models`), because a
//! client must read back what it wrote; results are domain types.
//!
//! Invariants:
//! - state is persisted before it is announced as an event or an answer;
//! - one task owns each container; everybody else sends it requests and watches its state;
//! - no lock is held across an `.await`.

pub mod build;
mod compression;
pub mod container;
pub mod engine;
pub mod error;
pub mod events;
#[cfg(test)]
mod fuzzed;
pub mod id;
pub mod image;
pub mod name;
pub mod network;
pub mod pax;
pub mod platform;
pub mod ports;
pub mod registry;
pub mod state_file;
pub mod system;
pub mod volume;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use engine::Engine;
pub use error::{EngineError, ErrorKind};
pub use image::{ImageUser, ImageUsers, Images};
