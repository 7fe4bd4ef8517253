//! Names: looked up, made, moved and removed. Each is a single component below a folder's own descriptor.

use super::{Answer, FolderServer, Request, VALID, path};
use crate::folders::nodes::{open_place, stat};
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, linkat, mkdirat, mknodat, openat, readlinkat,
        renameat_with, symlinkat, unlinkat,
    },
    io::Errno,
};
use std::{ffi::CStr, fs::File, os::fd::AsFd};

const EXCLUSIVE: u32 = 0o200;
const PERMISSIONS: u32 = 0o7777;

impl FolderServer {
    pub(super) fn look_up(&self, folder: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let name = request.name()?;
        let place = self.nodes.place(folder)?;
        match self.entry_of(&*place, folder, name) {
            // A node of no number: nothing is there, for as long as anything is believed.
            Err(Errno::NOENT) => {
                let mut answer = Answer::new().u64(0).u64(0).u64(VALID);
                answer.pad(128);
                Ok(answer)
            }
            other => other,
        }
    }

    pub(super) fn read_link(&self, node: u64) -> Result<Answer, Errno> {
        let target = readlinkat(&*self.nodes.place(node)?, c"", Vec::new())?;
        Ok(Answer::new().bytes(target.to_bytes()))
    }

    pub(super) fn make_symlink(&self, folder: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let name = request.name()?;
        let target = request.text()?;
        let place = self.nodes.place(folder)?;
        symlinkat(target, &*place, name)?;
        self.entry_of(&*place, folder, name)
    }

    pub(super) fn make_node(&self, folder: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let mode = request.u32()?;
        request.skip(12)?;
        let name = request.name()?;
        let place = self.nodes.place(folder)?;
        let permissions = Mode::from_raw_mode(mode & PERMISSIONS);
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(openat(&*place, name, flags, permissions)?);
            }
            kind @ (FileType::Fifo | FileType::Socket) => mknodat(&*place, name, kind, permissions, 0)?,
            _ => return Err(Errno::PERM),
        }
        self.entry_of(&*place, folder, name)
    }

    pub(super) fn make_folder(&self, folder: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let mode = request.u32()?;
        request.skip(4)?;
        let name = request.name()?;
        let place = self.nodes.place(folder)?;
        mkdirat(&*place, name, Mode::from_raw_mode(mode & PERMISSIONS))?;
        self.entry_of(&*place, folder, name)
    }

    pub(super) fn create(&self, folder: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (flags, mode) = (request.u32()?, request.u32()?);
        request.skip(8)?;
        let name = request.name()?;
        let place = self.nodes.place(folder)?;
        let host_flags = self.host_flags(flags)?;
        let new = host_flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        match openat(&*place, name, new, Mode::from_raw_mode(mode & PERMISSIONS)) {
            Ok(file) => {
                let found = stat(&file)?;
                let (answer, number) = self.entered(&*place, folder, name, Some(found))?;
                let handle = self.created(number, File::from(file), flags);
                Ok(answer.u64(handle).u64(0))
            }
            // Somebody else made it first.
            Err(Errno::EXIST) if flags & EXCLUSIVE == 0 => {
                let (answer, number) = self.entered(&*place, folder, name, None)?;
                let handle = self.files.put(self.open_node(number, flags)?);
                Ok(answer.u64(handle).u64(0))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove(
        &self,
        folder: u64,
        request: &mut Request<'_>,
        is_folder: bool,
    ) -> Result<Answer, Errno> {
        let name = request.name()?;
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&*self.nodes.place(folder)?, name, flags)?;
        Ok(Answer::new())
    }

    pub(super) fn rename(
        &self,
        folder: u64,
        request: &mut Request<'_>,
        with_flags: bool,
    ) -> Result<Answer, Errno> {
        let to_folder = request.u64()?;
        let mut flags = RenameFlags::empty();
        if with_flags {
            flags = RenameFlags::from_bits_truncate(request.u32()?);
            request.skip(4)?;
        }
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::INVAL);
        }
        let (name, to_name) = (request.name()?, request.name()?);
        let (from, to) = (self.nodes.place(folder)?, self.nodes.place(to_folder)?);
        renameat_with(&*from, name, &*to, to_name, flags)?;
        self.remember(&*to, to_folder, to_name);
        if flags.contains(RenameFlags::EXCHANGE) {
            self.remember(&*from, folder, name);
        }
        Ok(Answer::new())
    }

    pub(super) fn link(&self, folder: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let node = request.u64()?;
        let name = request.name()?;
        let (file, place) = (self.nodes.place(node)?, self.nodes.place(folder)?);
        linkat(CWD, path(&*file), &*place, name, AtFlags::SYMLINK_FOLLOW)?;
        self.entry_of(&*place, folder, name)
    }

    /// Where a file is after it was moved.
    fn remember(&self, place: impl AsFd, folder: u64, name: &CStr) {
        if let Ok(found) = open_place(place, name).and_then(stat) {
            self.nodes.moved(&found, folder, name);
        }
    }

    fn entry_of(&self, place: impl AsFd, folder: u64, name: &CStr) -> Result<Answer, Errno> {
        self.entered(place, folder, name, None).map(|(answer, _)| answer)
    }

    /// Gives out the number of what a name is, with its attributes; where it is known which file it must be, of
    /// that one only.
    fn entered(
        &self,
        place: impl AsFd,
        folder: u64,
        name: &CStr,
        expected: Option<rustix::fs::Statx>,
    ) -> Result<(Answer, u64), Errno> {
        use crate::folders::nodes::Identity;
        let child = open_place(place, name)?;
        let found = stat(&child)?;
        if expected.is_some_and(|expected| Identity::of(&expected) != Identity::of(&found)) {
            return Err(Errno::STALE);
        }
        let mut number = 0;
        let answer = self.nodes.enter_with(folder, name, child, &found, |given, child| {
            number = given;
            self.put_entry(Answer::new(), given, child, &found)
        });
        Ok((answer, number))
    }
}
