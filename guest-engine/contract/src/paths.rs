//! Every path and port name that both sides know.

/// The Engine API's socket inside the guest; where ryuk and friends bind-mount it from.
pub const ENGINE_SOCKET: &str = "/var/run/docker.sock";
/// Where the data disk is mounted and the engine keeps everything that outlives a boot.
pub const DATA_ROOT: &str = "/var/lib/docker";
/// What must not outlive a boot: shim sockets, network namespaces, pid files.
pub const RUN_ROOT: &str = "/run/machine";
/// Where the keeper meets the engine inside the guest (`ports.rs`): this file in the run root.
pub const KEEPER_SOCKET: &str = "/run/machine/keeper.sock";
/// Where the keeper brings the files of the user's folders (`folders.rs`).
pub const FOLDERS_SOCKET: &str = "/run/machine/folders.sock";
/// What the engine has logged since the guest was started, for `machine logs --engine`.
pub const ENGINE_LOG: &str = "/run/machine/log/engine.log";
/// The certificate authorities that the guest's programs trust; the image's, and the seed's behind them.
pub const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// TCP port of the guest's SSH server.
pub const SSH_PORT: u16 = 22;
/// The only account of a guest.
pub const SSH_USER: &str = "root";

/// virtio-serial port of the keeper's channel (`channel.rs`): seed in, phases out.
pub const SEED_PORT: &str = "machine.seed";
/// virtio-serial port of the driver: one line [`POWER_OFF`] asks for an orderly power-off.
pub const POWER_PORT: &str = "machine.power";
/// The line that, written to [`POWER_PORT`], stops containers, unmounts the disk and powers off.
pub const POWER_OFF: &str = "poweroff";

/// File names inside the guest image folder.
pub mod image_files {
    /// [`crate::ImageManifest`] as JSON.
    pub const MANIFEST: &str = "manifest.json";
    /// The uncompressed ELF kernel (PVH entry), zstd-compressed.
    pub const KERNEL: &str = "vmlinux.zst";
    /// The initramfs (newc cpio), zstd-compressed.
    pub const INITRAMFS: &str = "initramfs.cpio.zst";
}
