//! The Engine API over HTTP: checks parameters, converts types, decides status codes. No policy.

pub mod error;
pub mod filters;
pub mod frames;
pub mod hijack;
pub mod json_body;
pub mod json_stream;
pub mod query;
mod registry;
pub mod router;
pub mod server;
pub mod state;
pub mod version;

mod build;
mod commit;
mod containers;
mod drain;
mod events;
mod exec;
#[cfg(test)]
mod fuzzed;
mod images;
mod networks;
mod not_served;
mod peer;
mod service;
mod system;
mod timestamp;
mod volumes;
