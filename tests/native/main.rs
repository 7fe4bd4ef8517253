//! The engine without a VM, as root on this kernel, driven by real clients.

mod as_dockerd;
mod build_registry;
mod buildx;
mod compose;
mod concurrency;
mod containers;
mod copy;
mod crash;
mod events;
mod exec;
mod health;
mod host_config;
mod images;
mod logs;
mod malformed;
mod networks;
mod other_clients;
mod ports;
mod pull_faults;
mod refusals;
mod registry;
mod remote_builds;
mod security;
mod stdio;
mod system;
mod volumes;
