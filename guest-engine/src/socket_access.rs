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

/// A group by its name or number.
pub(crate) fn find_group(name: &str) -> Option<Gid> {
    match name.parse() {
        Ok(number) => Some(Gid::from_raw(number)),
        Err(_) => Group::from_name(name).ok().flatten().map(|group| group.gid),
    }
}

/// Binds `path`, mode 0600, or 0660 for a group. No other thread may make files meanwhile.
pub(crate) fn bind(path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    if group.is_some() {
        chown(path, None, group)?;
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
    }
    bound
}
