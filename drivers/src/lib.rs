//! The seam between `machine` and whatever makes virtual machines.
//!
//! A [`Driver`] turns a [`MachineSpec`] into an [`Instance`] and drives it through its life. It knows
//! nothing of SSH, terminals or the engine inside; `machine` knows nothing of QEMU or clouds.
//!
//! ```text
//!   check ─▶ create ─▶ [record saved] ─▶ start ─▶ (seed, SSH: not the driver's) ─▶ stop | kill ─▶ remove
//!                          ▲                │
//!                          └── stopped ◀────┘
//! ```

mod capabilities;
pub mod conformance;
mod driver;
mod error;
pub mod external;
mod instance;
mod leftover;
mod options;
mod progress;
mod spec;
#[cfg(feature = "testing")]
pub mod testing;

pub use capabilities::Capabilities;
pub use driver::Driver;
pub use error::DriverError;
pub use instance::{Access, EngineHome, Instance, InstanceState, SshEndpoint, SshKeys};
pub use leftover::Leftover;
pub use options::{DriverOptions, OptionKind, OptionSpec, OptionValue};
pub use progress::{Progress, Silent};
pub use spec::{Identity, MachineSpec, NewSizes};
