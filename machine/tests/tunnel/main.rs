//! The tunnel and the keeper against an SSH server and a guest that live in the test.
#![expect(clippy::unwrap_used, reason = "a failure to set a test up is a failure of the test")]

mod engine;
mod guest;
mod keeper;
mod ports;
mod server;
mod session;
mod streams;
mod tls;
