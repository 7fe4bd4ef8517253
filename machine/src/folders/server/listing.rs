//! What is in a folder.

use super::{Answer, FolderServer, Request, attributes::inode};
use crate::folders::nodes::{open_place, stat};
use rustix::{
    fs::{RawDir, SeekFrom, seek},
    io::Errno,
};
use std::{ffi::CStr, sync::PoisonError};

/// Bytes of an entry before its name, and of the attributes before that.
const ENTRY: usize = 24;
const ATTRIBUTES: usize = 128;
/// Read from the kernel at once; names that do not fit into the answer are read again.
const BUFFER: usize = 8 << 10;

impl FolderServer {
    pub(super) fn open_folder(&self, node: u64) -> Result<Answer, Errno> {
        let opened = self.open_node(node, 0)?;
        Ok(Answer::new().u64(self.files.put(opened)).u32(0).u32(0))
    }

    /// Names from an offset on, as many as fit; with `attributes` each is looked up as well.
    pub(super) fn list(
        &self,
        node: u64,
        request: &mut Request<'_>,
        attributes: bool,
    ) -> Result<Answer, Errno> {
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()? as usize);
        let opened = self.opened(handle, node, 0)?;
        let _alone = opened.reading.lock().unwrap_or_else(PoisonError::into_inner);
        seek(&opened.file, SeekFrom::Start(offset))?;
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut answer = Answer::with_room(size);
        let mut entries = RawDir::new(&opened.file, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let before = if attributes { ATTRIBUTES } else { 0 };
            let length = before + (ENTRY + name.to_bytes().len()).next_multiple_of(8);
            if answer.len() + length > size {
                break;
            }
            let start = answer.len();
            let mut number = entry.ino();
            if attributes {
                let looked_up = if is_dots(name) { None } else { self.entry(node, &opened.file, name) };
                match looked_up {
                    Some((entry, inode)) => {
                        answer.append(&entry);
                        number = inode;
                    }
                    // A node of no number: the name alone counts.
                    None => answer.pad(start + ATTRIBUTES),
                }
            }
            answer = answer
                .u64(number)
                .u64(entry.next_entry_cookie())
                .u32(name.to_bytes().len() as u32)
                .u32(entry.file_type().as_raw_mode() >> 12)
                .bytes(name.to_bytes());
            answer.pad(start + length);
        }
        Ok(answer)
    }

    /// `None` when it has gone meanwhile.
    fn entry(&self, node: u64, folder: &std::fs::File, name: &CStr) -> Option<(Answer, u64)> {
        let place = open_place(folder, name).ok()?;
        let found = stat(&place).ok()?;
        let number = self.nodes.enter_with(node, name, place, &found, |number, place| {
            self.put_entry(Answer::new(), number, place, &found)
        });
        Some((number, inode(&found)))
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
