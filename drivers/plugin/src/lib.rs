//! docker-machine's driver plugins, `docker-machine-driver-NAME` on `PATH`, hosted unchanged. The only crate
//! that knows Go's `net/rpc` and `gob`.
//!
//! A plugin's process holds one machine, and its state is one JSON object, the `Driver` of docker-machine's
//! records: it is given to the process when it starts, and read back after whatever changes it.
//!
//! ```text
//!   PluginDriver ──▶ Plugin ──▶ gob          one process for each machine that a command looks at
//!     (a Driver)    (net/rpc)
//! ```

mod driver;
mod flags;
mod gob;
mod machine_file;
mod rpc;

pub use driver::PluginDriver;

/// What the executable of the driver NAME is called, NAME following.
pub const PREFIX: &str = "docker-machine-driver-";
