//! Folders of this computer that a machine sees: one file server per folder, in the keeper, for the guest's
//! kernel, which speaks FUSE.
//!
//! ```text
//!   container ── bind mount ── FUSE in the guest ══ two lanes through SSH ══ keeper: threads ── this folder
//!                                                                              nodes: number ─▶ name in a folder
//! ```
//!
//! The guest's kernel resolves links and `..`; all that arrives here is a node's number and a single name in it,
//! and nothing is ever opened but that name itself, link or not. So no request leads out of the folder. Everything
//! is done as the user who runs the keeper.
//!
//! What a mount in the guest knows by number outlives the keeper: each number is written down with the name that
//! it stands for (`journal.rs`), and the next keeper finds the file again. Open files are opened again when they
//! are used.

mod journal;
mod lanes;
mod message;
mod nodes;
mod server;

pub use lanes::{Workers, serve};
pub use server::FolderServer;
