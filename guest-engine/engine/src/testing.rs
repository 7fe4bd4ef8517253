//! In-memory stand-ins for [`crate::ports`], strict where the real ones are.

pub mod memory_layers;
pub mod memory_links;
pub mod memory_runtime;
pub mod memory_volumes;

pub use memory_layers::MemoryLayers;
pub use memory_links::MemoryLinks;
pub use memory_runtime::{MemoryRuntime, Script};
pub use memory_volumes::MemoryVolumes;
