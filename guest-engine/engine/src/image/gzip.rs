//! Compression on all processors: blocks of the source, each deflated by itself, in one gzip member.
//!
//! Every block but the last ends with a flush to a byte's border, so the results can be put behind each
//! other (pigz does the same).

use bytes::{Buf, Bytes};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use futures_util::{Stream, StreamExt, stream};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// Large enough that starting over costs nothing, small enough that many are under way.
const BLOCK: usize = 512 * 1024;
/// What becomes of a block that cannot be compressed fits in.
const OUT: usize = BLOCK + BLOCK / 512;
/// Two per cent larger than zlib's own choice gives, in half of its time.
const LEVEL: u32 = 3;
/// No name, no time, made on Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// What a block takes, for the next that comes: the allocator would ask the kernel for it each time.
#[derive(Default)]
struct Store {
    kits: Mutex<Vec<Kit>>,
    outs: Mutex<Vec<Vec<u8>>>,
}

/// A block and what deflates it.
struct Kit {
    block: Vec<u8>,
    deflater: Compress,
}

/// A deflated block. Its memory goes back when it has been sent.
struct Out {
    bytes: Vec<u8>,
    store: Arc<Store>,
}

impl Store {
    fn kit(&self) -> Kit {
        let kept = self.kits.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Kit {
            block: Vec::with_capacity(BLOCK),
            deflater: Compress::new(Compression::new(LEVEL), false),
        })
    }

    fn keep(&self, mut kit: Kit) {
        kit.block.clear();
        kit.deflater.reset();
        self.kits.lock().unwrap_or_else(PoisonError::into_inner).push(kit);
    }

    fn out(self: &Arc<Self>) -> Out {
        let kept = self.outs.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Out { bytes: kept.unwrap_or_else(|| Vec::with_capacity(OUT)), store: Arc::clone(self) }
    }
}

impl AsRef<[u8]> for Out {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.store.outs.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

/// Gzip of what `source` gives; an error of the source ends it.
pub(super) fn compressed(
    source: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    let store = Arc::new(Store::default());
    let deflated = blocks(source, Arc::clone(&store))
        .map(move |block| {
            let store = Arc::clone(&store);
            async move {
                let (kit, last) = block?;
                tokio::task::spawn_blocking(move || deflate(kit, last, &store))
                    .await
                    .map_err(io::Error::other)?
            }
        })
        .buffered(workers + 1);
    let begin = stream::iter([Ok(Bytes::from_static(&HEADER))]);
    let body = stream::unfold((Box::pin(deflated), Some(Crc::new())), |(mut deflated, sum)| async move {
        let mut sum = sum?;
        match deflated.next().await {
            Some(Ok((bytes, crc))) => {
                sum.combine(&crc);
                Some((Ok(bytes), (deflated, Some(sum))))
            }
            Some(Err(error)) => Some((Err(error), (deflated, None))),
            None => {
                let end = [sum.sum().to_le_bytes(), sum.amount().to_le_bytes()].concat();
                Some((Ok(end.into()), (deflated, None)))
            }
        }
    });
    begin.chain(body)
}

/// Cuts into blocks and marks the last, which there always is.
fn blocks(
    source: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    store: Arc<Store>,
) -> impl Stream<Item = io::Result<(Kit, bool)>> + Send {
    let state = (Box::pin(source), store, Bytes::new(), false);
    stream::unfold(state, |(mut source, store, mut piece, ended)| async move {
        if ended {
            return None;
        }
        let mut kit = store.kit();
        loop {
            if piece.is_empty() {
                match source.next().await {
                    Some(Ok(next)) => piece = next,
                    Some(Err(error)) => return Some((Err(error), (source, store, piece, true))),
                    None => return Some((Ok((kit, true)), (source, store, piece, true))),
                }
            } else if kit.block.len() == BLOCK {
                // There is more: it is not the last.
                return Some((Ok((kit, false)), (source, store, piece, false)));
            } else {
                let taken = piece.len().min(BLOCK - kit.block.len());
                kit.block.extend_from_slice(&piece[..taken]);
                piece.advance(taken);
            }
        }
    })
}

fn deflate(mut kit: Kit, last: bool, store: &Arc<Store>) -> io::Result<(Bytes, Crc)> {
    let mut crc = Crc::new();
    crc.update(&kit.block);
    let mut out = store.out();
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let taken = usize::try_from(kit.deflater.total_in()).unwrap_or(kit.block.len());
        let status = kit
            .deflater
            .compress_vec(&kit.block[taken..], &mut out.bytes, flush)
            .map_err(io::Error::other)?;
        let all_in = kit.deflater.total_in() == kit.block.len() as u64;
        // With room left over everything has been flushed.
        if status == Status::StreamEnd || (!last && all_in && out.bytes.len() < out.bytes.capacity()) {
            store.keep(kit);
            return Ok((Bytes::from_owner(out), crc));
        }
        out.bytes.reserve(1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    async fn round_trip(source: Vec<io::Result<Bytes>>) -> io::Result<Vec<u8>> {
        let pieces: Vec<_> = compressed(stream::iter(source)).collect().await;
        let mut all = Vec::new();
        for piece in pieces {
            all.extend_from_slice(&piece?);
        }
        let mut back = Vec::new();
        // One member: a decoder that stops behind the first reads everything.
        flate2::read::GzDecoder::new(all.as_slice()).read_to_end(&mut back)?;
        Ok(back)
    }

    #[tokio::test]
    async fn what_comes_out_is_one_gzip_member() {
        let mut noise = 1_u32;
        let mut random = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u8::try_from(noise >> 24).unwrap()
        };
        let random: Vec<u8> = (0..BLOCK * 2 + 7).map(|_| random()).collect();
        for content in [Vec::new(), b"short".to_vec(), vec![0; BLOCK], vec![7; BLOCK * 3 + 1], random] {
            let pieces = content.chunks(70_001).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            assert!(round_trip(pieces).await.unwrap() == content, "{} bytes", content.len());
        }
    }

    #[tokio::test]
    async fn an_error_of_the_source_is_not_an_end() {
        let source = vec![Ok(Bytes::from_static(b"abc")), Err(io::Error::other("broken"))];
        assert_eq!(round_trip(source).await.unwrap_err().to_string(), "broken");
    }
}
