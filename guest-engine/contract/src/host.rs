//! Where everything of ours is on a host that has an operating system of its own. Nothing of ours is
//! anywhere else there, and none of these places is dockerd's.

/// Name of the service, for systemd and OpenRC.
pub const SERVICE: &str = "machine-engine";
/// The Engine API's socket.
pub const ENGINE_SOCKET: &str = "/run/machine-engine/engine.sock";
/// What outlives a boot.
pub const DATA_ROOT: &str = "/var/lib/machine-engine/data";
/// What does not.
pub const RUN_ROOT: &str = "/run/machine-engine/state";
/// Where the keeper meets the engine ([`crate::ports`]): this file in the run root.
pub const KEEPER_SOCKET: &str = "/run/machine-engine/state/keeper.sock";
/// Settings, and which machine the host belongs to; root's alone.
pub const SETTINGS: &str = "/etc/machine-engine";
/// The engine's default bridge: dockerd may be there too, and has `docker0`.
pub const BRIDGE: &str = "machine0";
/// Name of the service that carries the user's folders ([`crate::folders`]). It goes on while engines come and go.
pub const FOLDERS_SERVICE: &str = "machine-engine-folders";
/// Where the keeper brings the folders' files.
pub const FOLDERS_SOCKET: &str = "/run/machine-engine/folders.sock";
/// Where the folders are mounted: root's alone. Links to these places stand at the folders' own paths.
pub const FOLDERS_PLACES: &str = "/run/machine-engine/folders";
/// Those links and the folders that they needed, one a line: all of ours that is outside of our own places.
pub const FOLDERS_MADE: &str = "/var/lib/machine-engine/folders";
/// Folders for the binary's folder, best first: some systems keep `/usr` read-only.
pub const LIBRARIES: [&str; 3] = ["/usr/local/lib", "/opt", "/var/lib"];
/// The binary's folder in one of those. By the name `bin` SELinux's policies know programs that a service may be.
pub const PROGRAMS: &str = "machine-engine/bin";
/// What the binary says on standard error, as `dial`, once it is connected.
pub const DIALLED: &str = "dialled\n";
