//! The one binary of a machine: the Engine API's HTTP side, PID 1 and the SSH server of the guest.

#![recursion_limit = "256"] // `json!` of objects with as many fields as Docker's HostConfig

pub mod bounded_log;
mod buildkit;
pub mod config;
pub mod dial;
pub mod folders;
pub mod host_facts;
pub mod http;
pub mod init;
pub mod keeper_link;
pub mod ready;
pub mod serve;
pub mod shutdown;
mod socket_access;
pub mod sshd;
