//! The command line as users see it, in-process, with the strict memory driver and pretended guests.
#![expect(clippy::unwrap_used, reason = "Clippy knows tests by #[test] only; here everything is test code")]

mod contexts;
mod create;
mod docker_machine;
mod env;
mod external;
mod full_disk;
mod interrupted;
mod killed;
mod later;
mod ls;
mod parallel;
mod power;
mod records;
mod refusals;
mod rm;
mod support;
mod tls;
