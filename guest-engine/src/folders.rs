//! The guest's end of the user's folders: a process of its own that mounts a FUSE file system for each and carries
//! the kernel's messages to the keeper and back. It outlives the engine and every keeper, as containers do, whose
//! files these are.
//!
//! ```text
//!   /dev/fuse ─▶ reader thread ─▶ requests: waiting ─┬──────────▶ quick lane ─┬─▶ keeper
//!       ▲             │ too late, or interrupted:     └─ a thread ─▶ bulk lane ─┘     │
//!       │             ▼ answered here                                                │
//!       └──────────────────────────── a reader thread per lane ◀─────────────────────┘
//! ```
//!
//! On a host that is somebody's, folders are mounted where only root gets, with links to there (`places.rs`).
//!
//! Without a keeper requests wait for a while and then fail, so that nothing hangs for ever; what has been asked
//! when a keeper goes is asked again of the next one, where doing it twice is harmless.

mod lanes;
mod mount;
mod places;
mod requests;

use crate::{ready, socket_access::SocketAccess};
use guest_contract::folders::SharedFolder;
use lanes::Share;
use places::Places;
use std::{fs, io, path::PathBuf, sync::Arc, thread, time::Duration};

/// Its threads do little and are many.
const STACK: usize = 128 << 10;
/// After an error of `accept` (no descriptors left).
const PAUSE: Duration = Duration::from_millis(100);

/// The options of `machine-engine folders`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Folder of the user's computer to mount at the same path
    #[arg(long = "folder", value_name = "PATH")]
    pub folders: Vec<String>,
    /// The same, for reading only
    #[arg(long = "read-only", value_name = "PATH")]
    pub read_only: Vec<String>,
    /// Unix socket for the keeper, which has the files
    #[arg(long, value_name = "PATH", default_value = guest_contract::paths::FOLDERS_SOCKET)]
    pub socket: PathBuf,
    /// Account that may use the socket besides root
    #[arg(long, value_name = "UID")]
    pub owner: Option<u32>,
    /// Mount everything in this folder, root's alone, and put links to it at the paths
    #[arg(long, value_name = "PATH", requires = "made")]
    pub places: Option<PathBuf>,
    /// File that gets the name of every link and folder that is made for that
    #[arg(long, value_name = "PATH")]
    pub made: Option<PathBuf>,
    /// Descriptor that gets one byte once everything is mounted
    #[arg(long, value_name = "N")]
    pub ready_fd: Option<i32>,
}

/// The folders cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FoldersError {
    #[error("Could not listen on {path}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("Could not report readiness")]
    Ready(#[source] io::Error),
}

/// Mounts every folder and welcomes keepers for ever. A folder that cannot be mounted is left out, and the keeper is
/// told why. What an earlier process has mounted went with it and is mounted anew.
pub fn run(options: &Options) -> Result<(), FoldersError> {
    let places = options.places.as_deref().zip(options.made.as_deref());
    let places = places.map(|(folder, made)| Places::new(folder, made));
    let writable = options.folders.iter().map(|path| (path, false));
    let all = writable.chain(options.read_only.iter().map(|path| (path, true)));
    let shares: Vec<Arc<Share>> = all
        .enumerate()
        .map(|(number, (path, read_only))| {
            let folder = SharedFolder { path: path.clone(), read_only };
            Arc::new(Share::begin(&folder, places.as_ref().map(|places| places.number(number))))
        })
        .collect();
    let listen = |source| FoldersError::Listen { path: options.socket.clone(), source };
    // Of an earlier process; bind says if it stays.
    drop(fs::remove_file(&options.socket));
    let listener = SocketAccess::of(options.owner).bind(&options.socket).map_err(listen)?;
    if let Some(fd) = options.ready_fd {
        ready::tell(fd).map_err(FoldersError::Ready)?;
    }
    ready::tell_systemd().map_err(FoldersError::Ready)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let shares = shares.clone();
                spawn("keeper", move || lanes::welcome(&shares, &stream));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Starts a thread that nobody waits for. Without one the keeper's connection ends, and it tries again.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work) {
        tracing::error!(%error, "No thread for {name}");
    }
}
