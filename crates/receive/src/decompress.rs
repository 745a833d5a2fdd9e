//! Bounded decompression: the output is paid for out of the admission ration before it is allocated.

use std::cell::RefCell;
use std::io::Read;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use crate::admission::Permit;

/// Compression of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

/// What the receivers can undo, for `Accept-Encoding` and `grpc-accept-encoding`.
pub(crate) const ACCEPTED: &str = "gzip, zstd, identity";

/// Why a body could not be decompressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is not what its encoding says, or it is cut short.
    Malformed(String),
    /// It would be larger than one request may be.
    TooLarge,
    /// It does not fit beside what is in flight.
    NoRoom,
}

/// The first allocation for a decompressed body.
const OUTPUT_MIN: usize = 16 * 1024;

/// Telemetry compresses well: the usual size of the output as a multiple of the input.
const RATIO_USUAL: usize = 6;

/// The largest zstd window, as a power of two: 8 MiB, what RFC 8878 asks every decoder to support. More would let
/// a header of a few bytes reserve up to 2 GiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Decompresses `input` to at most `bytes_max` bytes. `permit` must cover `input` when called; on success it
/// covers the output instead, which the caller keeps while the input goes.
pub(crate) fn decompress(
    compression: Compression,
    input: &[u8],
    bytes_max: usize,
    permit: &mut Permit,
) -> Result<Bytes, Failure> {
    let output = match compression {
        Compression::Gzip => gzip(input, bytes_max, permit)?,
        Compression::Zstd => zstd(input, bytes_max, permit)?,
    };
    permit.resize(output.capacity());
    Ok(Bytes::from(output))
}

/// Makes room for more output, doubling, once the ration allows it: old, new and input exist at the same time.
fn grow(output: &mut Vec<u8>, input: &[u8], bytes_max: usize, permit: &mut Permit) -> Result<(), Failure> {
    if bytes_max < output.len() {
        return Err(Failure::TooLarge);
    }
    let wanted = match output.capacity() {
        0 => input.len().saturating_mul(RATIO_USUAL).max(OUTPUT_MIN),
        capacity => capacity.saturating_mul(2),
    };
    // One byte more than allowed is room enough to see that it is too large.
    let capacity = wanted.min(bytes_max.saturating_add(1));
    if !permit.resize(input.len().saturating_add(capacity)) {
        return Err(Failure::NoRoom);
    }
    output.reserve_exact(capacity.saturating_sub(output.len()));
    Ok(())
}

fn gzip(input: &[u8], bytes_max: usize, permit: &mut Permit) -> Result<Vec<u8>, Failure> {
    let mut reader = MultiGzDecoder::new(input);
    let mut output = Vec::new();
    // The output is kept at full length and zeroed once per growth, not once per read: a body of a million tiny
    // gzip members makes a million reads.
    let mut filled = 0;
    loop {
        if filled == output.len() {
            grow(&mut output, input, bytes_max, permit)?;
            output.resize(output.capacity(), 0);
        }
        match reader.read(&mut output[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) => return Err(Failure::Malformed(format!("the body is not gzip: {error}"))),
        }
    }
    if bytes_max < filled {
        return Err(Failure::TooLarge);
    }
    output.truncate(filled);
    Ok(output)
}

thread_local! {
    /// A zstd context is some 160 KiB and slow to make; one per thread is enough, as decompression never awaits.
    static ZSTD: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

fn zstd(input: &[u8], bytes_max: usize, permit: &mut Permit) -> Result<Vec<u8>, Failure> {
    ZSTD.with_borrow_mut(|slot| {
        let context = slot.get_or_insert_with(DCtx::create);
        let reset = context
            .reset(ResetDirective::SessionOnly)
            .and_then(|_| context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)));
        reset.map_err(zstd_failure)?;
        zstd_frames(context, input, bytes_max, permit)
    })
}

fn zstd_frames(
    context: &mut DCtx<'static>,
    input: &[u8],
    bytes_max: usize,
    permit: &mut Permit,
) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let mut source = InBuffer::around(input);
    loop {
        if output.len() == output.capacity() {
            grow(&mut output, input, bytes_max, permit)?;
        }
        let (before_in, before_out) = (source.pos(), output.len());
        let mut target = OutBuffer::around_pos(&mut output, before_out);
        let hint = context.decompress_stream(&mut target, &mut source).map_err(zstd_failure)?;
        let input_done = source.pos() == input.len();
        if hint == 0 && input_done {
            // Bounded here, as the frame may end exactly where the output is one byte too long.
            return if output.len() <= bytes_max { Ok(output) } else { Err(Failure::TooLarge) };
        }
        let stuck = source.pos() == before_in && output.len() == before_out;
        if stuck || (input_done && output.len() < output.capacity()) {
            return Err(Failure::Malformed("the body is not zstd: it is cut short".to_owned()));
        }
    }
}

fn zstd_failure(code: usize) -> Failure {
    Failure::Malformed(format!("the body is not zstd: {}", get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::admission::Admission;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstded(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 19).unwrap()
    }

    fn both(bytes: &[u8]) -> [(Compression, Vec<u8>); 2] {
        [(Compression::Gzip, gzipped(bytes)), (Compression::Zstd, zstded(bytes))]
    }

    #[test]
    fn what_was_compressed_comes_back_and_is_what_the_permit_covers() {
        for size in [1, 100, OUTPUT_MIN - 1, OUTPUT_MIN, OUTPUT_MIN + 1, 1_000_000] {
            let plain: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            for (compression, packed) in both(&plain) {
                let admission = Admission::new(8 << 20);
                let mut permit = admission.reserve(packed.len()).unwrap();
                let back = decompress(compression, &packed, size, &mut permit).unwrap();
                assert!(back == plain, "{compression:?} of {size} bytes");
                assert!(size <= permit.bytes() && permit.bytes() == admission.bytes_in_flight());
            }
        }
    }

    #[test]
    fn one_byte_more_than_allowed_is_too_large() {
        let plain = vec![7_u8; 100_000];
        for (compression, packed) in both(&plain) {
            let mut permit = Permit::unmetered();
            assert_eq!(decompress(compression, &packed, 99_999, &mut permit), Err(Failure::TooLarge));
            assert!(decompress(compression, &packed, 100_000, &mut permit).is_ok());
        }
    }

    #[test]
    fn a_bomb_never_takes_more_than_the_limit_and_its_own_size() {
        let bomb = vec![0_u8; 16 << 20];
        for (compression, packed) in both(&bomb) {
            let limit = 1 << 20;
            let admission = Admission::new(packed.len() + limit + 1);
            let mut permit = admission.reserve(packed.len()).unwrap();
            assert_eq!(decompress(compression, &packed, limit, &mut permit), Err(Failure::TooLarge));
        }
    }

    #[test]
    fn output_that_does_not_fit_beside_what_is_in_flight_waits() {
        let plain = vec![1_u8; 1 << 20];
        for (compression, packed) in both(&plain) {
            let admission = Admission::new(packed.len() + 100_000);
            let mut permit = admission.reserve(packed.len()).unwrap();
            assert_eq!(decompress(compression, &packed, 2 << 20, &mut permit), Err(Failure::NoRoom));
        }
    }

    #[test]
    fn bodies_that_are_cut_short_or_something_else_are_malformed() {
        let plain: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
        for (compression, packed) in both(&plain) {
            for cut in [1, 5, packed.len() / 2, packed.len() - 1] {
                let result = decompress(compression, &packed[..cut], 1 << 20, &mut Permit::unmetered());
                assert!(
                    matches!(result, Err(Failure::Malformed(_))),
                    "{compression:?} cut at {cut}: {result:?}"
                );
            }
            let noise =
                decompress(compression, b"neither the one nor the other", 1 << 20, &mut Permit::unmetered());
            assert!(matches!(noise, Err(Failure::Malformed(_))));
        }
    }

    #[test]
    fn a_zstd_header_that_asks_for_a_huge_window_is_refused() {
        // Magic, descriptor without content size, window descriptor for 2^31 bytes, one empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        let result = decompress(Compression::Zstd, &frame, 1 << 20, &mut Permit::unmetered());
        assert!(matches!(result, Err(Failure::Malformed(_))), "{result:?}");
    }

    #[test]
    fn the_context_of_a_thread_is_clean_after_a_failure() {
        let packed = zstded(b"telemetry");
        for _ in 0..3 {
            let cut = &packed[..packed.len() - 2];
            assert!(decompress(Compression::Zstd, cut, 1000, &mut Permit::unmetered()).is_err());
            assert_eq!(
                decompress(Compression::Zstd, &packed, 1000, &mut Permit::unmetered()).unwrap(),
                "telemetry"
            );
        }
    }
}
