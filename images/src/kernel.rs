//! Takes the uncompressed ELF kernel out of a bzImage, as QEMU's PVH boot needs it.
//!
//! ```text
//!  boot sector · setup sectors │ protected-mode code … [ payload ][size] …
//!                              └ (setup_sects + 1) × 512   └ payload_offset, payload_length
//! ```
//! The payload is the compressed ELF; its last four bytes are the unpacked size (of gzip they are
//! the trailer, which says the same). See Documentation/arch/x86/boot.rst of the kernel.

use crate::elf::{Elf, u16_at, u32_at};
use std::io::{self, Read};

/// Largest kernel that is unpacked.
const LIMIT: u64 = 512 << 20;
/// Largest block of the legacy LZ4 frame, unpacked.
const LZ4_BLOCK: usize = 8 << 20;
/// First boot protocol with `payload_offset`.
const PAYLOAD_PROTOCOL: u16 = 0x0208;

const GZIP: &[u8] = b"\x1f\x8b";
const XZ: &[u8] = b"\xfd7zXZ\0";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const LZ4_LEGACY: &[u8] = b"\x02\x21\x4c\x18";

/// Why no kernel came out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    #[error("The kernel is not a bzImage")]
    NotABzImage,
    #[error("The kernel's boot protocol {protocol:#06x} is too old")]
    OldProtocol { protocol: u16 },
    #[error("The kernel's header points outside of the file")]
    Truncated,
    #[error("The kernel is compressed by a method that this program does not know")]
    UnknownCompression,
    #[error("Could not unpack the kernel")]
    Unpack(#[source] io::Error),
    #[error("The unpacked kernel has {found} bytes instead of {expected}")]
    WrongSize { found: usize, expected: usize },
    #[error("The unpacked kernel is not an x86-64 ELF file with a PVH entry")]
    NotPvh,
}

/// The ELF kernel inside a bzImage.
pub(crate) fn unpack(image: &[u8]) -> Result<Vec<u8>, KernelError> {
    let payload = payload(image)?;
    let size_at = payload.len().checked_sub(4).ok_or(KernelError::Truncated)?;
    let expected = u32_at(payload, size_at).ok_or(KernelError::Truncated)? as usize;
    let body = &payload[..size_at];
    let unpacked = match payload {
        p if p.starts_with(GZIP) => read(flate2::read::GzDecoder::new(payload)),
        p if p.starts_with(XZ) => read(liblzma::read::XzDecoder::new(body)),
        p if p.starts_with(ZSTD) => {
            zstd::stream::read::Decoder::with_buffer(body).and_then(|decoder| read(decoder.single_frame()))
        }
        p if p.starts_with(LZ4_LEGACY) => unpack_lz4(&body[LZ4_LEGACY.len()..]),
        _ => return Err(KernelError::UnknownCompression),
    };
    let kernel = unpacked.map_err(KernelError::Unpack)?;
    if kernel.len() != expected {
        return Err(KernelError::WrongSize { found: kernel.len(), expected });
    }
    match Elf::parse(&kernel) {
        Some(elf) if elf.has_pvh_entry() => Ok(kernel),
        _ => Err(KernelError::NotPvh),
    }
}

fn payload(image: &[u8]) -> Result<&[u8], KernelError> {
    if u16_at(image, 0x1fe) != Some(0xaa55) || image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(KernelError::NotABzImage);
    }
    let protocol = u16_at(image, 0x206).ok_or(KernelError::Truncated)?;
    if protocol < PAYLOAD_PROTOCOL {
        return Err(KernelError::OldProtocol { protocol });
    }
    // Zero means four, for the sake of loaders from before the field.
    let setup_sectors = match image.get(0x1f1) {
        Some(0) | None => 4,
        Some(count) => usize::from(*count),
    };
    let field = |offset| u32_at(image, offset).map(|value| value as usize).ok_or(KernelError::Truncated);
    let start = (setup_sectors + 1) * 512 + field(0x248)?;
    let end = start.checked_add(field(0x24c)?).ok_or(KernelError::Truncated)?;
    image.get(start..end).ok_or(KernelError::Truncated)
}

fn read(decoder: impl Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    decoder.take(LIMIT).read_to_end(&mut out)?;
    Ok(out)
}

/// Blocks of a 32-bit size and that many bytes, until the end or a zero.
fn unpack_lz4(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(size) = u32_at(rest, 0).filter(|size| *size != 0) {
        let end = (size as usize).checked_add(4).ok_or(io::ErrorKind::InvalidData)?;
        let block = rest.get(4..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).map_err(io::Error::other)?);
        if out.len() as u64 > LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        rest = &rest[end..];
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::testing::elf;

    fn bzimage(body: &[u8], unpacked_size: usize) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[0x1f1] = 1;
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(body.len() as u32 + 4).to_le_bytes());
        image.extend([0x90; 16]);
        image.extend(body);
        image.extend((unpacked_size as u32).to_le_bytes());
        image.extend([0; 32]);
        image
    }

    fn compressed(kernel: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut gzip = Vec::new();
        flate2::read::GzEncoder::new(kernel, flate2::Compression::fast()).read_to_end(&mut gzip).unwrap();
        gzip.truncate(gzip.len() - 4);
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(kernel, 1).read_to_end(&mut xz).unwrap();
        let block = lz4_flex::block::compress(kernel);
        let lz4 = [LZ4_LEGACY, &(block.len() as u32).to_le_bytes(), &block].concat();
        vec![("gzip", gzip), ("xz", xz), ("zstd", zstd::encode_all(kernel, 1).unwrap()), ("lz4", lz4)]
    }

    #[test]
    fn every_compression_gives_the_kernel_back() {
        let kernel = elf(".text", &[7; 5000], true);
        for (method, body) in compressed(&kernel) {
            let unpacked = unpack(&bzimage(&body, kernel.len()));
            assert_eq!(unpacked.unwrap_or_else(|e| panic!("{method}: {e}")), kernel);
        }
    }

    #[test]
    fn what_is_not_a_pvh_kernel_is_refused() {
        assert!(matches!(unpack(b"MZ"), Err(KernelError::NotABzImage)));
        let kernel = elf(".text", &[7; 500], false);
        let body = zstd::encode_all(kernel.as_slice(), 1).unwrap();
        assert!(matches!(unpack(&bzimage(&body, kernel.len())), Err(KernelError::NotPvh)));
        assert!(matches!(unpack(&bzimage(&body, 3)), Err(KernelError::WrongSize { expected: 3, .. })));
        assert!(matches!(unpack(&bzimage(b"BZh9....", 3)), Err(KernelError::UnknownCompression)));
        let mut old = bzimage(&body, kernel.len());
        old[0x206] = 7;
        old[0x207] = 2;
        assert!(matches!(unpack(&old), Err(KernelError::OldProtocol { protocol: 0x0207 })));
        let mut far = bzimage(&body, kernel.len());
        far[0x248..0x250].fill(0xff);
        assert!(matches!(unpack(&far), Err(KernelError::Truncated)));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let kernel = elf(".text", &[7; 300], true);
        for (method, body) in compressed(&kernel) {
            let image = bzimage(&body, kernel.len());
            for end in 0..image.len() - 32 {
                assert!(unpack(&image[..end]).is_err(), "{method} cut at {end}");
            }
            for index in 0x400..image.len() - 36 {
                let mut image = image.clone();
                image[index] ^= 0x55;
                // Whatever comes out, nothing panics.
                drop(unpack(&image));
            }
        }
    }
}
