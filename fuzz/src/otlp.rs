//! OTLP bodies, protobuf and JSON: counts add up, names and times are bounded, and what a decoder remembers of earlier
//! bodies never shows in a later one.

use selvedge_decode::{DecodeConfig, DecodeError, Decoded, Decoder, Encoding};
use selvedge_model::{ObservedTime, SignalKind, SymbolTable};

/// When all bodies are received: some second of 2026.
pub const NOW: ObservedTime = ObservedTime(1_795_466_033_000_000_000);
/// Names of one run. Little, so that a body can overflow it.
const SYMBOL_BYTES_MAX: usize = 4 << 10;
/// Bytes of the smallest record that `Decoder` takes.
const RECORD_BYTES_MIN: usize = 11;
/// Bytes of what a sender is told: some words, and 64 bytes of a key of its own, escaped.
const ANSWER_BYTES_MAX: usize = 1_000;
/// How far in the future a record may end, in nanoseconds.
const AHEAD_MAX: u64 = 60_000_000_000;

/// One `ExportTraceServiceRequest`.
pub fn traces(body: &[u8]) {
    forgetful(SignalKind::Traces, Encoding::Protobuf, body);
}

/// One `ExportLogsServiceRequest`.
pub fn logs(body: &[u8]) {
    forgetful(SignalKind::Logs, Encoding::Protobuf, body);
}

/// One `ExportMetricsServiceRequest`.
pub fn metrics(body: &[u8]) {
    forgetful(SignalKind::Metrics, Encoding::Protobuf, body);
}

/// A byte for the signal, then OTLP/JSON.
pub fn json(input: &[u8]) {
    if let Some((signal, body)) = signal_and_rest(input) {
        forgetful(signal, Encoding::Json, body);
    }
}

/// The signal that the first byte names, and what follows.
pub(crate) fn signal_and_rest(input: &[u8]) -> Option<(SignalKind, &[u8])> {
    let (first, rest) = input.split_first()?;
    Some((SignalKind::ALL[usize::from(*first) % SignalKind::ALL.len()], rest))
}

/// A body, the same with a byte changed, and the body again: a decoder that remembers says what new ones say.
pub(crate) fn forgetful(signal: SignalKind, encoding: Encoding, body: &[u8]) {
    let changed = with_a_byte_changed(body);
    let (mut old_symbols, mut new_symbols) =
        (SymbolTable::new(SYMBOL_BYTES_MAX), SymbolTable::new(SYMBOL_BYTES_MAX));
    let mut old = Decoder::new(DecodeConfig::default());
    let (mut by_old, mut by_new) = (Decoded::default(), Decoded::default());
    for text in [body, &changed, body] {
        let said = old.decode(signal, encoding, text, NOW, &mut old_symbols, &mut by_old);
        let mut new = Decoder::new(DecodeConfig::default());
        let expected = new.decode(signal, encoding, text, NOW, &mut new_symbols, &mut by_new);
        check(text, &said, &by_old, &old_symbols);
        assert_eq!(said, expected, "a decoder that remembers another body judges this one as a new one does");
        assert_alike(&by_old, &by_new);
    }
    assert_eq!(
        (old_symbols.len(), old_symbols.bytes(), old_symbols.overflowed()),
        (new_symbols.len(), new_symbols.bytes(), new_symbols.overflowed()),
        "what is remembered costs no names and saves none"
    );
}

/// The same, NaN included.
pub(crate) fn assert_alike(left: &Decoded, right: &Decoded) {
    if left != right {
        assert_eq!(format!("{left:?}"), format!("{right:?}"));
    }
}

fn with_a_byte_changed(body: &[u8]) -> Vec<u8> {
    let mut changed = body.to_vec();
    let sum = body.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    if let Some(byte) = sum.checked_rem(body.len()).and_then(|at| changed.get_mut(at)) {
        *byte = byte.wrapping_add(1);
    }
    changed
}

/// What holds for every body.
fn check(body: &[u8], said: &Result<(), DecodeError>, out: &Decoded, symbols: &SymbolTable) {
    if let Err(error) = said {
        assert!(error.offset() <= body.len(), "the first wrong byte is one of the body's");
        assert_eq!(out, &Decoded::default(), "a body that is refused leaves nothing");
        return;
    }
    let kept = out.observations.len() + out.points.len();
    assert_eq!(out.received, kept as u64 + out.rejected, "every record is kept or rejected");
    assert_eq!(out.rejections.total(), out.rejected, "every rejection has its reason");
    let before: u64 = (0..=out.observations.len()).map(|at| out.rejected_before(at)).sum();
    assert_eq!(before, out.rejected, "every rejection has its place");
    assert_eq!(out.first_rejection.is_some(), out.rejected > 0);
    for text in [&out.first_rejection, &out.warning].into_iter().flatten() {
        assert!(text.len() < ANSWER_BYTES_MAX, "an answer is short");
    }
    assert!(kept <= body.len() / RECORD_BYTES_MIN, "memory is bounded by the body");
    assert!(out.received <= body.len() as u64, "each record costs a byte");
    assert!(symbols.bytes() <= SYMBOL_BYTES_MAX, "names are bounded");
    for seen in &out.observations {
        assert!(seen.start <= seen.end && seen.end.present(), "a call ends after it begins: {seen:?}");
        assert!(seen.end.0 <= NOW.0 + AHEAD_MAX, "nobody speaks of the future: {seen:?}");
        assert!(symbols.resolve(seen.route).len() <= 256, "a route is bounded");
        assert!(symbols.resolve(seen.user_agent).len() <= 32, "an agent is bounded");
        assert!(
            !seen.handshake_failure.present() || !seen.peer.principal.present(),
            "a handshake that failed proves nobody"
        );
    }
}
