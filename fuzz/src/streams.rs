//! Things that have a state: a proxy's xDS stream, and the engine. The input is a script.

use selvedge_engine::{Encoding, EngineConfig, Pipeline, RawBatch, RuleSet};
use selvedge_model::{Fate, ObservedTime, SignalKind, SteadyTime};

use crate::otlp::NOW;

/// Steps of one script.
const STEPS_MAX: usize = 64;

/// A stream over xDS: `[which protocol][step]...`, a step being a message of the proxy, or what happens meanwhile.
#[cfg(feature = "fuzzer")]
pub fn xds(input: &[u8]) {
    use std::cell::OnceCell;
    use std::sync::Arc;

    use selvedge_enforce::xds::PolicyWorld;
    use selvedge_enforce::xds::fuzzing::Conversation;

    thread_local! {
        static WORLDS: OnceCell<[Arc<PolicyWorld>; 4]> = const { OnceCell::new() };
    }
    let worlds = WORLDS.with(|worlds| worlds.get_or_init(crate::worlds::all).clone());
    let Some((first, mut rest)) = input.split_first() else { return };
    let mut stream = Conversation::new(first & 1 == 0, Arc::clone(&worlds[usize::from(first >> 1 & 3)]));
    for _ in 0..STEPS_MAX {
        let Some((step, after)) = rest.split_first() else { return };
        rest = after;
        let names = [&["selvedge-inbound", "selvedge-outbound"][..], &["selvedge-inbound"], &["other"], &[]];
        let names = names[usize::from(step >> 4 & 3)];
        let goes_on = match step & 7 {
            0..=3 => {
                let Some((&length, after)) = rest.split_first_chunk::<2>() else { return };
                let length = usize::from(u16::from_le_bytes(length)).min(after.len());
                let (message, after) = after.split_at(length);
                rest = after;
                stream.message(message)
            }
            4 => stream.reply(names, true),
            5 => stream.reply(names, false),
            6 => {
                stream.publish(Arc::clone(&worlds[usize::from(step >> 4 & 3)]));
                true
            }
            _ => {
                stream.lose_patience();
                true
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// The engine: `[signal and encoding][seconds since the last][u16 LE length][body]...`. Every signal has one fate.
pub fn pipeline(mut input: &[u8]) {
    let mut pipeline = Pipeline::new(&EngineConfig::default(), RuleSet::shipped());
    let (mut effects, mut received, mut now) = (Vec::new(), 0, NOW.0);
    for _ in 0..STEPS_MAX {
        let Some((&[what, seconds, low, high], rest)) = input.split_first_chunk() else { break };
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        input = rest;
        now += u64::from(seconds) * 1_000_000_000;
        let signal = SignalKind::ALL[usize::from(what & 3) % SignalKind::ALL.len()];
        let encoding = if what & 4 == 0 { Encoding::Protobuf } else { Encoding::Json };
        pipeline.advance_clock(SteadyTime(now), &mut effects);
        // A wall clock that is set: the engine goes by the other one.
        let wall = if what & 8 == 0 { now } else { now - 3_600_000_000_000 };
        let batch =
            RawBatch { signal, encoding, body, observed: ObservedTime(wall), steady: SteadyTime(now) };
        if let Ok(decoded) = pipeline.ingest(batch, &mut effects) {
            received += decoded.received;
        }
        assert!(pipeline.stats().ledger.balanced(), "every signal has one fate, at any time");
    }
    pipeline.finish(&mut effects);
    let stats = pipeline.stats();
    assert!(stats.ledger.balanced(), "every signal has one fate");
    assert_eq!(stats.signals, received, "what was decoded was counted");
    let open: u64 = SignalKind::ALL.iter().map(|kind| stats.ledger.count(*kind, Fate::Open)).sum();
    assert_eq!(open, 0, "nothing stays open when the input has ended");
}
