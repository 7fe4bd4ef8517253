//! The drivers of this crate against the contract, each with a provider on this computer.
#![expect(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod amazonec2;
mod digitalocean;
mod docker_machine;
mod generic;
mod hetzner;
mod linode;
mod subject;
