//! The SSH server against the real OpenSSH client: server in this process on a loopback port, `ssh`,
//! `sftp` and `scp` as a user has them.
#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod files;
mod fixture;
mod forwarding;
mod login;
mod sessions;
