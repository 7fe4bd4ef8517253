//! What archives come compressed with, told by their first bytes.

use flate2::read::MultiGzDecoder;
use std::io::{self, Read};

/// How many bytes telling takes.
pub(crate) const HEAD: usize = 8;
/// Memory that an xz decoder may take: what `xz -9` needs.
const XZ_MEMORY: u64 = 65 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    /// `None` for what is not compressed, or nobody knows how.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame of content, or one to be skipped, as tools put them in front.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            _ => None,
        }
    }

    /// Reads what `source` had before it was compressed; several streams behind each other as one.
    pub(crate) fn decoder<'a>(self, source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(source)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(source)?),
            Self::Xz => {
                let decoder =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::read::XzDecoder::new_stream(source, decoder))
            }
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn all_are_told_and_read() {
        let text = b"text ".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&text).unwrap();
        for (compression, bytes) in [
            (Compression::Gzip, gzip.finish().unwrap()),
            (Compression::Zstd, zstd::encode_all(text.as_slice(), 1).unwrap()),
            (Compression::Xz, xz.finish().unwrap()),
            (Compression::Bzip2, bzip2.finish().unwrap()),
        ] {
            assert_eq!(Compression::of(&bytes), Some(compression));
            let mut twice = Vec::new();
            compression
                .decoder([&bytes[..], &bytes].concat().as_slice())
                .unwrap()
                .read_to_end(&mut twice)
                .unwrap();
            assert!(twice == text.repeat(2), "{compression:?}");
            let mut cut = compression.decoder(&bytes[..bytes.len() - 3]).unwrap();
            assert!(cut.read_to_end(&mut Vec::new()).is_err(), "{compression:?} cut short");
        }
        let skipped =
            [b"\x50\x2a\x4d\x18\x02\0\0\0ab", &zstd::encode_all(text.as_slice(), 1).unwrap()[..]].concat();
        assert_eq!(Compression::of(&skipped), Some(Compression::Zstd));
        let mut read = Vec::new();
        Compression::Zstd.decoder(skipped.as_slice()).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == text);
        assert_eq!(Compression::of(b"BZhello"), None);
        assert_eq!(Compression::of(b""), None);
    }
}
