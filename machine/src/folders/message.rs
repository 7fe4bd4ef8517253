//! Reading requests and writing answers, field by field, as the kernel's headers lay them out.

use guest_contract::fuse::{ANSWER_HEADER, answer_header};
use rustix::io::Errno;
use std::ffi::CStr;

/// What is left of a request.
pub(super) struct Request<'a>(&'a [u8]);

impl<'a> Request<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Errno> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*field))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Errno> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*field))
    }

    pub(super) fn skip(&mut self, bytes: usize) -> Result<(), Errno> {
        self.0 = self.0.get(bytes..).ok_or(Errno::INVAL)?;
        Ok(())
    }

    /// A text of any kind: a link's target, an attribute's name.
    pub(super) fn text(&mut self) -> Result<&'a CStr, Errno> {
        let text = CStr::from_bytes_until_nul(self.0).map_err(|_| Errno::INVAL)?;
        self.0 = &self.0[text.to_bytes_with_nul().len()..];
        Ok(text)
    }

    /// The name of something in a folder: one component, and neither the folder nor its parent.
    pub(super) fn name(&mut self) -> Result<&'a CStr, Errno> {
        let name = self.text()?;
        match name.to_bytes() {
            b"" | b"." | b".." => Err(Errno::INVAL),
            bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
            _ => Ok(name),
        }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(bytes)
    }
}

/// An answer that is being written.
#[derive(Debug)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    pub(super) fn new() -> Self {
        Self::with_room(128)
    }

    pub(super) fn with_room(bytes: usize) -> Self {
        let mut message = Vec::with_capacity(ANSWER_HEADER + bytes);
        message.resize(ANSWER_HEADER, 0);
        Self(message)
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes so far, without the header.
    pub(super) fn len(&self) -> usize {
        self.0.len() - ANSWER_HEADER
    }

    /// Up to where its own bytes are wanted.
    pub(super) fn pad(&mut self, to: usize) {
        self.0.resize(ANSWER_HEADER + to, 0);
    }

    /// Its own bytes from `start` on, to write them.
    pub(super) fn room(&mut self, start: usize) -> &mut [u8] {
        &mut self.0[ANSWER_HEADER + start..]
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0[ANSWER_HEADER..]);
    }

    /// Whole, for the request of this number.
    pub(super) fn finish(mut self, unique: u64) -> Vec<u8> {
        let header = answer_header(self.0.len(), 0, unique);
        self.0[..ANSWER_HEADER].copy_from_slice(&header);
        self.0
    }
}

/// The answer that it did not work.
pub(super) fn refusal(error: Errno, unique: u64) -> Vec<u8> {
    answer_header(ANSWER_HEADER, -error.raw_os_error(), unique).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_components() {
        let name = |bytes: &[u8]| Request::new(bytes).name().map(|name| name.to_bytes().to_vec());
        assert_eq!(name(b"a b\0rest"), Ok(b"a b".to_vec()));
        for bad in [&b"\0"[..], b".\0", b"..\0", b"a/b\0", b"/\0", b"no end"] {
            assert_eq!(name(bad), Err(Errno::INVAL), "{bad:?}");
        }
    }

    #[test]
    fn short_requests_are_invalid() {
        let mut request = Request::new(&[1, 0, 0, 0, 2]);
        assert_eq!(request.u32(), Ok(1));
        assert_eq!((request.u32(), request.u64()), (Err(Errno::INVAL), Err(Errno::INVAL)));
        assert_eq!(request.bytes(2), Err(Errno::INVAL));
    }
}
