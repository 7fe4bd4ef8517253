//! The little of 64-bit little-endian ELF that a kernel and its modules are checked by.
//!
//! Every offset is checked against the file: input is untrusted as far as its shape goes.

const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PVH_ENTRY_NOTE: u32 = 18;
const PVH_NOTE_NAME: &[u8] = b"Xen\0";

/// A file that begins as an x86-64 ELF does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elf<'a> {
    bytes: &'a [u8],
}

impl<'a> Elf<'a> {
    /// `None` when the header is not that of a 64-bit little-endian x86-64 file.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let identified = bytes.starts_with(b"\x7fELF\x02\x01");
        let x86_64 = u16_at(bytes, 18)? == 62;
        (identified && x86_64 && bytes.len() >= 64).then_some(Self { bytes })
    }

    /// Whether a note names the 32-bit entry point by which QEMU boots a kernel directly (PVH).
    pub(crate) fn has_pvh_entry(&self) -> bool {
        self.segments(PT_NOTE).any(|notes| find_note(notes, PVH_NOTE_NAME, PVH_ENTRY_NOTE))
    }

    /// Whether the program runs without a dynamic linker.
    pub(crate) fn is_static(&self) -> bool {
        self.segments(PT_INTERP).next().is_none()
    }

    /// The contents of a section.
    pub(crate) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let table = usize_at(self.bytes, 40)?;
        let entry_size = usize::from(u16_at(self.bytes, 58)?);
        let count = usize::from(u16_at(self.bytes, 60)?);
        let names_index = usize::from(u16_at(self.bytes, 62)?);
        let header = |index: usize| {
            let start = table.checked_add(index.checked_mul(entry_size)?)?;
            slice(self.bytes, start, entry_size)
        };
        let contents = |header: &[u8]| slice(self.bytes, usize_at(header, 24)?, usize_at(header, 32)?);
        let names = contents(header(names_index)?)?;
        (0..count).filter_map(header).find_map(|candidate| {
            let start = usize::try_from(u32_at(candidate, 0)?).ok()?;
            let rest = names.get(start..)?;
            let end = rest.iter().position(|byte| *byte == 0)?;
            if &rest[..end] == name.as_bytes() { contents(candidate) } else { None }
        })
    }

    fn segments(&self, kind: u32) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        let table = usize_at(bytes, 32).unwrap_or(0);
        let entry_size = usize::from(u16_at(bytes, 54).unwrap_or(0));
        let count = usize::from(u16_at(bytes, 56).unwrap_or(0));
        (0..count).filter_map(move |index| {
            let start = table.checked_add(index.checked_mul(entry_size)?)?;
            let header = slice(bytes, start, entry_size)?;
            if u32_at(header, 0)? != kind {
                return None;
            }
            slice(bytes, usize_at(header, 8)?, usize_at(header, 32)?)
        })
    }
}

fn find_note(mut notes: &[u8], name: &[u8], kind: u32) -> bool {
    while let Some((note_name, note_kind, rest)) = next_note(notes) {
        if note_name == name && note_kind == kind {
            return true;
        }
        notes = rest;
    }
    false
}

fn next_note(notes: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let name_size = usize::try_from(u32_at(notes, 0)?).ok()?;
    let description_size = usize::try_from(u32_at(notes, 4)?).ok()?;
    let kind = u32_at(notes, 8)?;
    let name = slice(notes, 12, name_size)?;
    let description = 12usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
    let end = description.checked_add(description_size.checked_next_multiple_of(4)?)?;
    Some((name, kind, notes.get(end..).unwrap_or_default()))
}

fn slice(bytes: &[u8], start: usize, size: usize) -> Option<&[u8]> {
    bytes.get(start..start.checked_add(size)?)
}

/// The little-endian number at `offset`.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    slice(bytes, offset, 2)?.try_into().ok().map(u16::from_le_bytes)
}

/// The little-endian number at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    slice(bytes, offset, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn usize_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let number = slice(bytes, offset, 8)?.try_into().ok().map(u64::from_le_bytes)?;
    usize::try_from(number).ok()
}

/// Writes small ELF files for the tests of this crate.
#[cfg(test)]
pub(crate) mod testing {
    /// An ELF with one section, and with a PVH note when asked.
    pub(crate) fn elf(section: &str, contents: &[u8], pvh: bool) -> Vec<u8> {
        let mut note = Vec::new();
        for number in [4u32, 4, if pvh { 18 } else { 1 }] {
            note.extend(number.to_le_bytes());
        }
        note.extend(b"Xen\0\x00\x00\x00\x01");
        let names = [b"\0", section.as_bytes(), b"\0"].concat();
        let note_at = 64 + 56;
        let contents_at = note_at + note.len();
        let names_at = contents_at + contents.len();
        let table_at = names_at + names.len();

        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(64, 0);
        out[18] = 62;
        out[32..40].copy_from_slice(&64u64.to_le_bytes());
        out[40..48].copy_from_slice(&(table_at as u64).to_le_bytes());
        out[54] = 56;
        out[56] = 1;
        out[58] = 64;
        out[60] = 2;
        out[62] = 1;
        let mut program = vec![0; 56];
        program[0] = 4;
        program[8..16].copy_from_slice(&(note_at as u64).to_le_bytes());
        program[32..40].copy_from_slice(&(note.len() as u64).to_le_bytes());
        out.extend(program);
        out.extend(&note);
        out.extend(contents);
        out.extend(&names);
        for (name, at, size) in [(1u32, contents_at, contents.len()), (0, names_at, names.len())] {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            out.extend(header);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_notes_are_found() {
        let bytes = testing::elf(".modinfo", b"license=GPL\0", true);
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.section(".modinfo"), Some(b"license=GPL\0".as_slice()));
        assert_eq!(elf.section(".text"), None);
        assert!(elf.has_pvh_entry());
        assert!(!Elf::parse(&testing::elf("x", b"", false)).unwrap().has_pvh_entry());
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_survived() {
        let whole = testing::elf(".modinfo", b"depends=a\0", true);
        for end in 0..whole.len() {
            if let Some(elf) = Elf::parse(&whole[..end]) {
                assert_eq!(elf.section(".modinfo"), None);
                elf.has_pvh_entry();
            }
        }
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] = 0xff;
            if let Some(elf) = Elf::parse(&bytes) {
                elf.section(".modinfo");
                elf.has_pvh_entry();
            }
        }
    }
}
