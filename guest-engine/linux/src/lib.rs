//! What the engine asks of Linux: containers' processes under shims, layers on overlayfs, networks over
//! netlink. Implements the traits of [`engine::ports`].
//!
//! The only crate of the guest with `unsafe`: each module that needs it says so at its top, and why.

pub mod async_descriptor;
mod cgroup;
pub mod container_init;
pub mod controlling_terminal;
mod device_filter;
pub mod entropy;
pub mod ext4_resize;
pub mod free_memory;
mod netlink;
mod nftables;
mod open_within;
mod overlay;
pub mod reaped;
mod runtime;
mod seccomp;
pub mod shim;
mod volumes;

pub use cgroup::clear_root as clear_cgroup_root;
pub use netlink::NetlinkLinks;
pub use overlay::OverlayLayers;
pub use runtime::ShimRuntime;
pub use volumes::FolderVolumes;
