//! The harness of the tests that cross crates: it finds what `make build` made, runs programs with a
//! deadline, and gives every test a machine store or an engine of its own that is gone afterwards.

pub mod artifacts;
pub mod authority;
pub mod engine;
pub mod fake_registry;
pub mod host;
pub mod image_parts;
pub mod network;
pub mod proxy;
pub mod pty;
pub mod real_registry;
pub mod request;
pub mod run;
pub mod ssh_server;
pub mod test_cloud;
pub mod token_server;
pub mod web;

pub use authority::Authority;
pub use engine::NativeEngine;
pub use fake_registry::FakeRegistry;
pub use host::Host;
pub use network::Network;
pub use proxy::Proxy;
pub use real_registry::RealRegistry;
pub use run::{Run, command};
pub use ssh_server::SshServer;
pub use token_server::TokenServer;
pub use web::Web;
