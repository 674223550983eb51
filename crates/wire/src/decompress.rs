//! Decompressing what a batch holds, within a bound.
//!
//! A producer chooses how its batch is compressed, and a megabyte may claim to be a terabyte. Nothing is reserved by what a
//! stream claims, and a stream that has more than [`BATCH_RECORDS_BYTES_MAX`] in it is given up there. Nothing here knows
//! what a record is, and nothing on the data path comes here.

use std::io::Read;

use bytes::Bytes;

/// The most bytes the records of one batch may have when decompressed. Brokers take batches of 1 MiB by default.
pub const BATCH_RECORDS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Logarithm of the largest window a zstd stream may ask memory for: what its highest level asks for.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// What stands before snappy blocks as Kafka's clients write them: a magic, then two versions of four bytes each.
const SNAPPY_MAGIC: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_HEADER_BYTES: usize = 16;
/// More than this a byte of snappy cannot come to: its longest copy is 64 bytes and takes three.
const SNAPPY_GAIN_MAX: usize = 64;

/// What `compressed` was, by Kafka's number of the codec; what does not fit is said in words.
pub(crate) fn decompress(codec: i16, compressed: Bytes) -> Result<Bytes, String> {
    match codec {
        0 => Ok(compressed),
        1 => all_of(flate2::read::MultiGzDecoder::new(&compressed[..])),
        2 => snappy(&compressed),
        3 => lz4(&compressed),
        4 => zstd(&compressed),
        _ => Err("it is not known".to_owned()),
    }
}

fn lz4(compressed: &[u8]) -> Result<Bytes, String> {
    let mut decoder = lz4::Decoder::new(compressed).map_err(|error| error.to_string())?;
    let all = all_of(&mut decoder)?;
    // A frame that was cut off reads like one that ended.
    let (_, ended) = decoder.finish();
    ended.map_err(|error| error.to_string())?;
    Ok(all)
}

fn zstd(compressed: &[u8]) -> Result<Bytes, String> {
    let decoder = zstd::stream::read::Decoder::with_buffer(compressed);
    let mut decoder = decoder.map_err(|error| error.to_string())?;
    decoder
        .window_log_max(ZSTD_WINDOW_LOG_MAX)
        .map_err(|error| error.to_string())?;
    all_of(decoder)
}

/// Blocks with their lengths behind a header, or without one a single block.
fn snappy(compressed: &[u8]) -> Result<Bytes, String> {
    let mut all = Vec::new();
    if !compressed.starts_with(SNAPPY_MAGIC) {
        snappy_block(compressed, &mut all)?;
        return Ok(all.into());
    }
    let cut_off = || "it is cut off".to_owned();
    let mut rest = compressed.get(SNAPPY_HEADER_BYTES..).ok_or_else(cut_off)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(cut_off)?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = after.get(..length).ok_or_else(cut_off)?;
        snappy_block(block, &mut all)?;
        rest = &after[length..];
    }
    Ok(all.into())
}

fn snappy_block(block: &[u8], all: &mut Vec<u8>) -> Result<(), String> {
    let told = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
    if told > block.len().saturating_mul(SNAPPY_GAIN_MAX) {
        return Err(format!("a block of {} bytes claims {told}", block.len()));
    }
    let start = all.len();
    if start + told > BATCH_RECORDS_BYTES_MAX {
        return Err(too_large());
    }
    all.resize(start + told, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut all[start..])
        .map_err(|error| error.to_string())?;
    Ok(())
}

fn all_of(stream: impl Read) -> Result<Bytes, String> {
    let mut all = Vec::new();
    stream
        .take(BATCH_RECORDS_BYTES_MAX as u64 + 1)
        .read_to_end(&mut all)
        .map_err(|error| error.to_string())?;
    if all.len() > BATCH_RECORDS_BYTES_MAX {
        return Err(too_large());
    }
    Ok(all.into())
}

fn too_large() -> String {
    format!("it has more than {BATCH_RECORDS_BYTES_MAX} bytes")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_stream_that_is_cut_off_is_an_error() {
        let bytes = b"what was compressed is here".repeat(9);
        for (codec, whole) in each(&bytes) {
            assert_eq!(decompress(codec, whole.clone()).unwrap(), &bytes[..]);
            for at in [whole.len() - 1, whole.len() / 2, 1] {
                let cut = decompress(codec, whole.slice(..at));
                assert!(cut.is_err(), "codec {codec}, cut at {at}");
            }
        }
    }

    #[test]
    fn a_bomb_is_given_up_at_the_limit() {
        let bomb = vec![0; BATCH_RECORDS_BYTES_MAX + 1];
        for (codec, bomb) in each(&bomb) {
            let error = decompress(codec, bomb).unwrap_err();
            assert!(error.contains("more than"), "codec {codec}: {error}");
        }
    }

    #[test]
    fn a_snappy_block_takes_no_memory_by_what_it_claims() {
        let claims = Bytes::from_static(b"\xff\xff\xff\xff\x0f\x00");
        let error = decompress(2, claims).unwrap_err();
        assert!(error.contains("claims"), "{error}");
    }

    #[test]
    fn snappy_comes_with_and_without_its_header() {
        let block = snap::raw::Encoder::new().compress_vec(b"abc").unwrap();
        assert_eq!(decompress(2, block.into()).unwrap(), &b"abc"[..]);
    }

    fn each(bytes: &[u8]) -> [(i16, Bytes); 4] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        let mut lz4 = lz4::EncoderBuilder::new().build(Vec::new()).unwrap();
        lz4.write_all(bytes).unwrap();
        let (lz4, ended) = lz4.finish();
        ended.unwrap();
        [
            (1, gzip.finish().unwrap().into()),
            (2, snappy_of(bytes)),
            (3, lz4.into()),
            (4, zstd::encode_all(bytes, 1).unwrap().into()),
        ]
    }

    fn snappy_of(bytes: &[u8]) -> Bytes {
        let mut all = [SNAPPY_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for block in bytes.chunks(32 * 1024) {
            let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
            all.extend((block.len() as u32).to_be_bytes());
            all.extend(block);
        }
        all.into()
    }
}
