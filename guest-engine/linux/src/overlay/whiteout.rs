//! What a name in a layer means: a file, or the absence of one below.

/// Beginning of names that hide.
const PREFIX: &[u8] = b".wh.";
/// The name that hides everything below its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Beginning of names that AUFS kept for itself.
const RESERVED: &[u8] = b".wh..wh.";

/// How the last part of an entry's path is to be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// An ordinary name.
    File,
    /// This name does not exist any more.
    Hides(&'a [u8]),
    /// Nothing of the layers below shows in this folder.
    Opaque,
    /// To be left out.
    Nothing,
}

/// Takes the meaning from the name.
pub(super) fn meaning(name: &[u8]) -> Meaning<'_> {
    if name == OPAQUE {
        return Meaning::Opaque;
    }
    if name.starts_with(RESERVED) {
        return Meaning::Nothing;
    }
    match name.strip_prefix(PREFIX) {
        Some(b"") => Meaning::Nothing,
        Some(hidden) => Meaning::Hides(hidden),
        None => Meaning::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(meaning(b"passwd"), Meaning::File);
        assert_eq!(meaning(b".wh.passwd"), Meaning::Hides(b"passwd"));
        assert_eq!(meaning(b".wh..wh..opq"), Meaning::Opaque);
        assert_eq!(meaning(b".wh..wh.plnk"), Meaning::Nothing);
        assert_eq!(meaning(b".wh."), Meaning::Nothing);
    }
}
