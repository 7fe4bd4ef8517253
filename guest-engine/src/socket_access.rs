//! Unix sockets of which only root, and a group if one is named, may make use, from their first moment on.

use nix::{
    sys::stat::{Mode, umask},
    unistd::{Gid, Group, chown},
};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
};

/// There is no such group.
#[derive(Debug, thiserror::Error)]
#[error("Group {0:?} does not exist")]
pub struct UnknownGroup(String);

/// A group by its name or number.
pub(crate) fn find_group(name: &str) -> Result<Gid, UnknownGroup> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name).ok().flatten();
    found.map(|group| group.gid).ok_or_else(|| UnknownGroup(name.to_owned()))
}

/// Binds `path`, mode 0600, or 0660 for a group. No other thread may make files meanwhile.
pub(crate) fn bind(path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    give(path, group)?;
    bound
}

/// Lets a group, if one is named, use the socket at `path`, which is private.
pub(crate) fn give(path: &Path, group: Option<Gid>) -> io::Result<()> {
    if group.is_none() {
        return Ok(());
    }
    chown(path, None, group)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))
}
