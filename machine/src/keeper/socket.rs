//! Unix sockets of the keeper: where they are, who may reach them, and how to get past the 107 bytes
//! that a socket address holds.
//!
//! Our own processes go through `/proc/self/fd/N/NAME`, where N is the folder. Foreign clients cannot, so
//! for a deep folder the API socket lies in a short private one, and a link takes its place.

use super::KeeperError;
use crate::{file_error::FileError, store::files};
use std::{
    env,
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink},
        },
    },
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};

/// Bytes of a path that fit into `sockaddr_un`, its final zero aside.
const LONGEST: usize = 107;
/// Folder of ours in the runtime directory.
const RUNTIME_FOLDER: &str = "machine";

/// Where the machine's Engine API is served: `docker.sock` in its folder, or, when that path is too long
/// for a socket, a short one in `$XDG_RUNTIME_DIR/machine` or `/tmp/machine-UID`.
pub fn api_socket(directory: &Path) -> PathBuf {
    let path = directory.join(files::API_SOCKET);
    if path.as_os_str().len() <= LONGEST {
        return path;
    }
    // The keeper may have had another environment than we have; its link says where it is.
    fs::read_link(&path).unwrap_or_else(|_| short_folder(directory).join(files::API_SOCKET))
}

/// Connects to the socket at `path`, of any length.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_folder, short) = reach(path)?;
    UnixStream::connect(short).await
}

/// The keeper's two sockets. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Sockets {
    paths: Vec<PathBuf>,
    folder: Option<PathBuf>,
}

impl Sockets {
    /// Binds the control and the API socket, mode 0600, in place of any left by a dead keeper. The caller
    /// holds the keeper's lock.
    pub(super) fn bind(directory: &Path) -> Result<(Self, UnixListener, UnixListener), KeeperError> {
        let mut sockets = Self { paths: Vec::new(), folder: None };
        let control = sockets.listen(&directory.join(files::KEEPER_SOCKET))?;
        let api = directory.join(files::API_SOCKET);
        if api.as_os_str().len() <= LONGEST {
            let listener = sockets.listen(&api)?;
            return Ok((sockets, control, listener));
        }
        let folder = short_folder(directory);
        if let Some(parent) = folder.parent() {
            make_private(parent)?;
        }
        make_private(&folder)?;
        let real = folder.join(files::API_SOCKET);
        sockets.folder = Some(folder);
        let listener = sockets.listen(&real)?;
        remove(&api)?;
        symlink(&real, &api).map_err(FileError::on("link", &api))?;
        sockets.paths.push(api);
        Ok((sockets, control, listener))
    }

    fn listen(&mut self, path: &Path) -> Result<UnixListener, KeeperError> {
        remove(path)?;
        let failed = |action| FileError::on(action, path);
        let (_folder, short) = reach(path).map_err(failed("reach"))?;
        let listener = UnixListener::bind(short).map_err(failed("bind"))?;
        self.paths.push(path.to_owned());
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed("protect"))?;
        Ok(listener)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // Whatever stays is replaced by the next keeper.
        for path in &self.paths {
            _ = fs::remove_file(path);
        }
        if let Some(folder) = &self.folder {
            _ = fs::remove_dir(folder);
        }
    }
}

/// A path of the socket that fits, and the open folder it goes through, if it needs one.
fn reach(path: &Path) -> io::Result<(Option<File>, PathBuf)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if path.as_os_str().len() <= LONGEST {
        return Ok((None, path.to_owned()));
    }
    let folder = File::open(parent)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((Some(folder), short))
}

fn remove(path: &Path) -> Result<(), KeeperError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("remove", path, source).into())
        }
        _ => Ok(()),
    }
}

/// The machine's own folder for sockets, of a short name.
fn short_folder(directory: &Path) -> PathBuf {
    let name = format!("{:016x}", fingerprint(directory));
    let fits = |base: &PathBuf| base.join(&name).join(files::API_SOCKET).as_os_str().len() <= LONGEST;
    env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|runtime| runtime.is_absolute() && runtime.is_dir())
        .map(|runtime| runtime.join(RUNTIME_FOLDER))
        .filter(fits)
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/{RUNTIME_FOLDER}-{}", nix::unistd::geteuid())))
        .join(name)
}

/// Makes `folder` unless it is there, and verifies that it is a folder, ours, and closed to others: `/tmp`
/// is everybody's, and whoever was first may have put a link there.
fn make_private(folder: &Path) -> Result<(), KeeperError> {
    let failed = |source| FileError::new("make", folder, source);
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(failed(source).into()),
        _ => {}
    }
    let found = fs::symlink_metadata(folder).map_err(failed)?;
    if found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(KeeperError::NotPrivate { path: folder.to_owned() })
    }
}

/// FNV-1a of the path: the same in every version of this program, unlike the standard library's hasher.
fn fingerprint(path: &Path) -> u64 {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deep(root: &Path) -> PathBuf {
        let deep = root.join("d".repeat(60)).join("e".repeat(60));
        fs::create_dir_all(&deep).unwrap();
        deep
    }

    #[test]
    fn a_short_folder_holds_its_own_socket() {
        let path = api_socket(Path::new("/home/me/.docker/machine/machines/dev"));
        assert_eq!(path, Path::new("/home/me/.docker/machine/machines/dev/docker.sock"));
    }

    #[tokio::test]
    async fn a_deep_folder_has_a_short_socket_that_goes_with_its_keeper() {
        let root = tempfile::tempdir().unwrap();
        let directory = deep(root.path());
        let (sockets, _control, _api) = Sockets::bind(&directory).unwrap();
        let path = api_socket(&directory);
        assert!(path.as_os_str().len() <= LONGEST);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        connect(&directory.join(files::KEEPER_SOCKET)).await.unwrap();
        drop(sockets);
        assert!(!path.exists() && !path.parent().unwrap().exists());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_open_to_others_or_a_link_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(make_private(&open), Err(KeeperError::NotPrivate { .. })));
        let link = root.path().join("link");
        symlink(&open, &link).unwrap();
        assert!(matches!(make_private(&link), Err(KeeperError::NotPrivate { .. })));
        make_private(&root.path().join("new")).unwrap();
    }
}
