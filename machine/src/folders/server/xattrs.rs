//! Extended attributes: those of the user's own kind, but for the one that is ours. The others mean something to
//! a kernel, and this one's are not the guest's.

use super::{Answer, FolderServer, Request, attributes::OWNER, path};
use rustix::{
    fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr},
    io::Errno,
};
use std::ffi::CStr;

const KIND: &[u8] = b"user.";
/// The longest value, and the longest list of names, that Linux has.
const LONGEST: usize = 64 << 10;

impl FolderServer {
    pub(super) fn xattr(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let size = request.u32()? as usize;
        request.skip(4)?;
        let name = own(request.text()?)?;
        let mut value = vec![0; LONGEST];
        let length = getxattr(path(&*self.nodes.place(node)?), name, &mut value[..])?;
        sized(size, &value[..length])
    }

    pub(super) fn set_xattr(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let size = request.u32()? as usize;
        let flags = XattrFlags::from_bits_truncate(request.u32()?);
        let name = own(request.text()?)?;
        setxattr(path(&*self.nodes.place(node)?), name, request.bytes(size)?, flags)?;
        Ok(Answer::new())
    }

    pub(super) fn xattrs(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let size = request.u32()? as usize;
        let mut names = vec![0; LONGEST];
        let length = listxattr(path(&*self.nodes.place(node)?), &mut names[..])?;
        let shown: Vec<u8> = names[..length]
            .split_inclusive(|byte| *byte == 0)
            .filter(|name| name.starts_with(KIND) && *name != OWNER.to_bytes_with_nul())
            .flatten()
            .copied()
            .collect();
        sized(size, &shown)
    }

    pub(super) fn remove_xattr(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let name = own(request.text()?)?;
        removexattr(path(&*self.nodes.place(node)?), name)?;
        Ok(Answer::new())
    }
}

fn own(name: &CStr) -> Result<&CStr, Errno> {
    if name.to_bytes().starts_with(KIND) && name != OWNER { Ok(name) } else { Err(Errno::OPNOTSUPP) }
}

/// The bytes, or how many they are for whoever asks with no room.
fn sized(room: usize, bytes: &[u8]) -> Result<Answer, Errno> {
    match room {
        0 => Ok(Answer::new().u32(bytes.len() as u32).u32(0)),
        room if room < bytes.len() => Err(Errno::RANGE),
        _ => Ok(Answer::with_room(bytes.len()).bytes(bytes)),
    }
}
