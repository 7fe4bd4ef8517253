//! Brings the user's folders to the guest: two lanes for each, for as long as the machine runs.

use super::KeeperPlan;
use crate::{
    folders::{FolderServer, Workers, serve},
    store::files,
    tunnel::Tunnel,
};
use futures_util::future::join_all;
use guest_contract::{
    folders::{Hello, LONGEST_LINE, Lane, SharedFolder, Welcome},
    host, paths,
};
use machine_drivers::EngineHome;
use nix::sys::resource::{Resource, getrlimit};
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    time::{sleep, timeout},
};

/// Pause before a guest that went away is looked for again; longer when it does not come back.
const RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// The guest's answer to an introduction.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// Threads for the work on files. Most of it is short; some waits for a disk.
const THREADS: usize = 8;
/// Files held open though nobody has them open, at most, and as a part of what this process may have.
const HELD: u64 = 2048;
const PART: u64 = 8;

/// Serves all folders. Ends only by being dropped.
pub(super) async fn keep(tunnel: &Tunnel, plan: &KeeperPlan) {
    let socket = match &plan.access.engine {
        _ if plan.folders.is_empty() => return std::future::pending().await,
        EngineHome::Guest => paths::FOLDERS_SOCKET,
        EngineHome::Host => host::FOLDERS_SOCKET,
        // There is nothing of ours that could mount them; a machine of that kind is refused folders.
        EngineHome::Existing(_) => return std::future::pending().await,
    };
    let workers = match Workers::start(THREADS) {
        Ok(workers) => workers,
        Err(error) => {
            tracing::error!(%error, "no threads to serve folders with");
            return std::future::pending().await;
        }
    };
    join_all(plan.folders.iter().enumerate().map(|(number, folder)| {
        Folder { number, folder, socket, directory: &plan.directory, workers: &workers, served: None }
            .keep(tunnel)
    }))
    .await;
}

struct Folder<'a> {
    number: usize,
    folder: &'a SharedFolder,
    /// Where the machine takes folders.
    socket: &'static str,
    directory: &'a Path,
    workers: &'a Workers,
    /// The mount that was served last, and who did.
    served: Option<(String, Arc<FolderServer>)>,
}

impl Folder<'_> {
    async fn keep(mut self, tunnel: &Tunnel) {
        let mut pause = RETRY;
        loop {
            match self.session(tunnel).await {
                Ok(()) => pause = RETRY,
                Err(error) => {
                    let (folder, error) = (&self.folder.path, &*error as &dyn Error);
                    // Every try but the first ones is the same again.
                    if pause < LONGEST_RETRY {
                        tracing::debug!(folder, error, "the folder is not served");
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY);
        }
    }

    /// From both lanes' introductions until one of them ends.
    async fn session(&mut self, tunnel: &Tunnel) -> Result<(), Box<dyn Error + Send + Sync>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let session = now.as_nanos() as u64;
        let open = async |lane| -> Result<_, Box<dyn Error + Send + Sync>> {
            let (connection, channel) = tunnel.open(self.socket).await?;
            let mut stream = BufReader::new(channel.into_stream());
            let hello = Hello { folder: self.folder.path.clone(), session, lane };
            let welcome = timeout(INTRODUCTION, introduce(&mut stream, &hello)).await??;
            Ok((connection, stream, welcome))
        };
        let (_quick, quick, welcome) = open(Lane::Quick).await?;
        let (_bulk, bulk, _) = open(Lane::Bulk).await?;
        let mount = match welcome {
            Welcome::Mount(mount) => mount,
            Welcome::Refused(why) => return Err(why.into()),
        };
        let server = self.server(mount)?;
        tracing::debug!(folder = self.folder.path, "the folder is served");
        tokio::select! {
            ended = serve(&server, self.workers, quick) => ended?,
            ended = serve(&server, self.workers, bulk) => ended?,
        }
        Ok(())
    }

    fn server(&mut self, mount: String) -> io::Result<Arc<FolderServer>> {
        match &self.served {
            Some((served, server)) if *served == mount => Ok(server.clone()),
            _ => {
                let journal = self.journal(&mount)?;
                let held = getrlimit(Resource::RLIMIT_NOFILE).map_or(HELD, |(soft, _)| HELD.min(soft / PART));
                let path = Path::new(&self.folder.path);
                let server =
                    Arc::new(FolderServer::open(path, self.folder.read_only, Some(&journal), held as usize)?);
                self.served = Some((mount, server.clone()));
                Ok(server)
            }
        }
    }

    /// Where the mount's numbers are written down. Those of earlier mounts mean nothing any more.
    fn journal(&self, mount: &str) -> io::Result<PathBuf> {
        if mount.is_empty() || !mount.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let prefix = format!("{}{}-", files::NODES_PREFIX, self.number);
        let name = format!("{prefix}{mount}");
        for entry in fs::read_dir(self.directory)?.flatten() {
            let found = entry.file_name();
            if found.as_encoded_bytes().starts_with(prefix.as_bytes()) && found != *name {
                // A leftover, and a small one.
                _ = fs::remove_file(entry.path());
            }
        }
        Ok(self.directory.join(name))
    }
}

async fn introduce(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    hello: &Hello,
) -> io::Result<Welcome> {
    let line = format!("{}\n", serde_json::to_string(hello)?);
    stream.write_all(line.as_bytes()).await?;
    stream.flush().await?;
    let mut line = String::new();
    (&mut *stream).take(LONGEST_LINE as u64).read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}
