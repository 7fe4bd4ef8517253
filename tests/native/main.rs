//! The engine without a VM, as root on this kernel, driven by real clients.

mod containers;
mod crash;
mod exec;
mod health;
mod images;
mod logs;
mod other_clients;
mod refusals;
mod security;
mod stdio;
mod system;
