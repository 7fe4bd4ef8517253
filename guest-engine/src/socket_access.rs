//! Unix sockets of which only root, and whoever else is named, may make use, from their first moment on.

use nix::{
    sys::stat::{Mode, umask},
    unistd::{Gid, Group, Uid, chown},
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

/// Who may use a socket besides root.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketAccess {
    owner: Option<Uid>,
    group: Option<Gid>,
}

impl SocketAccess {
    /// An account by its number.
    pub(crate) fn of(owner: Option<u32>) -> Self {
        Self { owner: owner.map(Uid::from_raw), group: None }
    }

    /// A group, too, by its name or number.
    pub(crate) fn with_group(self, group: Option<&str>) -> Result<Self, UnknownGroup> {
        Ok(Self { group: group.map(find_group).transpose()?, ..self })
    }

    /// Binds `path`, mode 0600, or 0660 for a group. No other thread may make files meanwhile.
    pub(crate) fn bind(self, path: &Path) -> io::Result<UnixListener> {
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        self.give(path)?;
        bound
    }

    /// Lets them use the socket at `path`, which is private.
    pub(crate) fn give(self, path: &Path) -> io::Result<()> {
        if self.owner.is_some() || self.group.is_some() {
            chown(path, self.owner, self.group)?;
        }
        if self.group.is_some() {
            fs::set_permissions(path, Permissions::from_mode(0o660))?;
        }
        Ok(())
    }
}

fn find_group(name: &str) -> Result<Gid, UnknownGroup> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name).ok().flatten();
    found.map(|group| group.gid).ok_or_else(|| UnknownGroup(name.to_owned()))
}
