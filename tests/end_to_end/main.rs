//! A booted guest, the built `machine` and the real docker client.

mod crash;
mod drop_in;
mod folders;
mod isolation;
mod lifecycle;
mod nested;
mod ports;
mod refusals;
mod tunnel;
