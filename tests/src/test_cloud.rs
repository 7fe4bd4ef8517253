//! The test cloud: providers on this computer, because no cloud is reachable where tests run.
//!
//! ```text
//!   driver ── HTTP ──▶ Fake: faults
//!                        └─▶ Prism: the provider's own specification as judge of both sides
//!                              └─▶ World: one provider's API ─▶ Fleet: its VMs' life ─▶ Hypervisor
//!                                                                                     imaginary │ Debian VMs
//! ```
//!
//! The drivers' own tests use it with imaginary VMs, which cost nothing; with real ones (`debian`)
//! `machine create` goes all the way to a container.
#![expect(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod debian;
pub mod digitalocean;
pub mod ec2;
mod fake;
mod fleet;
pub mod hetzner;
mod hypervisor;
mod judge;
pub mod linode;
mod lone_vm;
mod query_model;
mod specification;

pub use debian::{COMMANDS_OVER_SSH, DebianVms, Init};
pub use fake::{Answer, Asked, Fake, Fault, World, pairs};
pub use fleet::{Fleet, Phase, Power, Progress, Refusal, Server};
pub use hypervisor::{Hypervisor, Imaginary, Order};
pub use lone_vm::LoneVm;
pub use specification::Specification;

/// The token that every provider of the test cloud accepts.
pub const TOKEN: &str = "the-token";
