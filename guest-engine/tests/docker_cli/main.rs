//! The real `docker` client against the router, with memory adapters behind it: no root, no kernel.

#![expect(clippy::unwrap_used, reason = "Tests end where they fail")]

mod buildkit;
mod errors;
mod images;
mod support;
mod system;
