//! Compression on all processors: blocks of the source, each deflated by itself, in one gzip member.
//!
//! Every block but the last ends with a flush to a byte's border, so the results can be put behind each
//! other (pigz does the same).

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use futures_util::{Stream, StreamExt, stream};
use std::io;

/// Large enough that starting over costs nothing, small enough that many are under way.
const BLOCK: usize = 512 * 1024;
/// Two per cent larger than zlib's own choice gives, in half of its time.
const LEVEL: u32 = 3;
/// No name, no time, made on Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// Gzip of what `source` gives; an error of the source ends it.
pub(super) fn compressed(
    source: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    let deflated = blocks(source)
        .map(|block| async move {
            let (block, last) = block?;
            tokio::task::spawn_blocking(move || deflate(&block, last)).await.map_err(io::Error::other)?
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
                let mut end = BytesMut::with_capacity(8);
                end.extend_from_slice(&sum.sum().to_le_bytes());
                end.extend_from_slice(&sum.amount().to_le_bytes());
                Some((Ok(end.freeze()), (deflated, None)))
            }
        }
    });
    begin.chain(body)
}

/// Cuts into blocks and marks the last, which there always is.
fn blocks(
    source: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> impl Stream<Item = io::Result<(Bytes, bool)>> + Send {
    let state = (Box::pin(source), BytesMut::new(), false);
    stream::unfold(state, |(mut source, mut collected, ended)| async move {
        if ended {
            return None;
        }
        loop {
            // One byte more than a block: then it is not the last.
            if collected.len() > BLOCK {
                let block = collected.split_to(BLOCK).freeze();
                return Some((Ok((block, false)), (source, collected, false)));
            }
            match source.next().await {
                Some(Ok(piece)) => collected.extend_from_slice(&piece),
                Some(Err(error)) => return Some((Err(error), (source, collected, true))),
                None => {
                    let block = collected.split().freeze();
                    return Some((Ok((block, true)), (source, collected, true)));
                }
            }
        }
    })
}

fn deflate(block: &[u8], last: bool) -> io::Result<(Bytes, Crc)> {
    let mut crc = Crc::new();
    crc.update(block);
    let mut deflater = Compress::new(Compression::new(LEVEL), false);
    let mut out = Vec::with_capacity(block.len() / 2 + 1024);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let taken = usize::try_from(deflater.total_in()).unwrap_or(block.len());
        let status = deflater.compress_vec(&block[taken..], &mut out, flush).map_err(io::Error::other)?;
        let all_in = deflater.total_in() == block.len() as u64;
        // With room left over everything has been flushed.
        if status == Status::StreamEnd || (!last && all_in && out.len() < out.capacity()) {
            return Ok((out.into(), crc));
        }
        out.reserve(out.capacity().max(1024));
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
