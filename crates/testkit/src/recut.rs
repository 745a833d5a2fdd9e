//! The same records in other batches: an engine must not care how its senders batch.

use crate::frame::RawFrame;
use crate::rng::Rng;
use crate::wire::{put, split};

/// A batch is cut behind one record in this many.
const CUT_ONCE_IN: u64 = 4;
/// Two neighbouring batches of one signal become one, once in this many times.
const MERGE_ONCE_IN: u64 = 2;

/// A record with the resource and scope it stands under; without a record for an empty scope, without a scope for an
/// empty resource.
struct Atom<'a> {
    /// Which resource and scope of the request it stands under.
    place: (usize, Option<usize>),
    /// All of the resource but its scopes.
    resource: Vec<u8>,
    /// All of the scope but its records.
    scope: Option<Vec<u8>>,
    record: Option<&'a [u8]>,
}

/// Cuts batches apart and merges neighbours, at random by `seed`. The order of records and every byte of them stay; a
/// part is received when its whole was, a merged batch when its last part was. A payload that is not a message, or
/// whose request has fields we do not know, stays whole.
#[must_use]
pub fn recut(frames: &[RawFrame], seed: u64) -> Vec<RawFrame> {
    let mut rng = Rng::seeded(seed);
    let mut recut: Vec<RawFrame> = Vec::new();
    for part in frames.iter().flat_map(|frame| parts(frame, &mut rng)).collect::<Vec<_>>() {
        match recut.last_mut() {
            Some(last) if last.signal == part.signal && rng.once_in(MERGE_ONCE_IN) => {
                // Protobuf: the concatenation of two messages is their merge, and repeated fields append.
                last.payload.extend(&part.payload);
                last.observed = last.observed.max(part.observed);
            }
            _ => recut.push(part),
        }
    }
    recut
}

fn parts(frame: &RawFrame, rng: &mut Rng) -> Vec<RawFrame> {
    let Some(atoms) = atoms(&frame.payload) else { return vec![frame.clone()] };
    let mut parts: Vec<Vec<&Atom<'_>>> = Vec::new();
    for atom in &atoms {
        match parts.last_mut() {
            Some(part) if !rng.once_in(CUT_ONCE_IN) => part.push(atom),
            _ => parts.push(vec![atom]),
        }
    }
    if parts.is_empty() {
        return vec![frame.clone()];
    }
    parts.iter().map(|atoms| RawFrame { payload: request(atoms), ..frame.clone() }).collect()
}

fn atoms(request: &[u8]) -> Option<Vec<Atom<'_>>> {
    let mut atoms = Vec::new();
    for (resource_at, field) in split(request)?.into_iter().enumerate() {
        if field.number != 1 {
            return None;
        }
        let (resource, scopes) = parted(field.content?)?;
        if scopes.is_empty() {
            atoms.push(Atom {
                place: (resource_at, None),
                resource: resource.clone(),
                scope: None,
                record: None,
            });
        }
        for (scope_at, scope) in scopes.into_iter().enumerate() {
            let (scope, records) = parted(scope)?;
            let records =
                if records.is_empty() { vec![None] } else { records.into_iter().map(Some).collect() };
            atoms.extend(records.into_iter().map(|record| Atom {
                place: (resource_at, Some(scope_at)),
                resource: resource.clone(),
                scope: Some(scope.clone()),
                record,
            }));
        }
    }
    Some(atoms)
}

/// A message without its fields 2, and the contents of those.
fn parted(message: &[u8]) -> Option<(Vec<u8>, Vec<&[u8]>)> {
    let (mut rest, mut contents) = (Vec::new(), Vec::new());
    for field in split(message)? {
        match field.content {
            Some(content) if field.number == 2 => contents.push(content),
            _ => rest.extend(field.raw),
        }
    }
    Some((rest, contents))
}

fn request(atoms: &[&Atom<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    for resource in atoms.chunk_by(|left, right| left.place.0 == right.place.0) {
        let mut message = resource[0].resource.clone();
        for scope in resource.chunk_by(|left, right| left.place == right.place) {
            let Some(mut inner) = scope[0].scope.clone() else { continue };
            scope.iter().filter_map(|atom| atom.record).for_each(|record| put(&mut inner, 2, record));
            put(&mut message, 2, &inner);
        }
        put(&mut request, 1, &message);
    }
    request
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    use selvedge_model::{ObservedTime, SignalKind};

    use super::*;
    use crate::{Renaming, Traffic, rename};

    fn traffic() -> Vec<RawFrame> {
        let mut traffic = Traffic::seeded(3);
        traffic.repeat(40, "web -> cart -> ledger");
        traffic.frames()
    }

    fn records(frames: &[RawFrame]) -> Vec<(SignalKind, Vec<u8>)> {
        frames
            .iter()
            .flat_map(|frame| frame.records().into_iter().map(|record| (frame.signal, record.to_vec())))
            .collect()
    }

    /// Resources and scopes of each span, in order.
    fn surroundings(frames: &[RawFrame]) -> Vec<String> {
        let traces = frames.iter().filter(|frame| frame.signal == SignalKind::Traces);
        let mut seen = Vec::new();
        for request in traces.map(|frame| ExportTraceServiceRequest::decode(&frame.payload[..]).unwrap()) {
            for resource in request.resource_spans {
                for scope in &resource.scope_spans {
                    let around = (&resource.resource, &resource.schema_url, &scope.scope, &scope.schema_url);
                    seen.extend(scope.spans.iter().map(|span| format!("{around:?} {span:?}")));
                }
            }
        }
        seen
    }

    #[test]
    fn recut_batches_hold_the_same_records_in_the_same_order_under_the_same_resources() {
        let frames = traffic();
        for seed in 0..50 {
            let recut = recut(&frames, seed);
            assert_ne!(frames, recut, "seed {seed}");
            assert_eq!(records(&frames), records(&recut), "seed {seed}");
            assert_eq!(surroundings(&frames), surroundings(&recut), "seed {seed}");
            assert!(recut.is_sorted_by_key(|frame| frame.observed), "seed {seed}");
        }
    }

    #[test]
    fn one_seed_gives_one_result() {
        let frames = traffic();
        assert_eq!(recut(&frames, 9), recut(&frames, 9));
        assert_ne!(recut(&frames, 9), recut(&frames, 10));
    }

    #[test]
    fn text_that_is_not_utf8_survives() {
        let garble = Renaming::new([(&b"meshkit"[..], &b"\xff\xfe\x80"[..])]);
        let frames = rename(&traffic(), &garble);
        let bad = |frames: &[RawFrame]| {
            frames
                .iter()
                .flat_map(|frame| frame.payload.windows(3))
                .filter(|bytes| *bytes == b"\xff\xfe\x80")
                .count()
        };
        assert!(bad(&frames) > 40);
        assert_eq!(records(&frames), records(&recut(&frames, 1)));
        assert_eq!(bad(&frames), bad(&recut(&frames, 1)));
    }

    #[test]
    fn empty_resources_and_scopes_and_foreign_payloads_stay() {
        // resource { } ; resource { scope { } } ; resource { scope { record } record-less schema_url }
        let payload = b"\x0a\x00\x0a\x02\x12\x00\x0a\x07\x12\x03\x12\x01\x08\x1a\x00".to_vec();
        let frame = RawFrame { signal: SignalKind::Logs, observed: ObservedTime(1), payload };
        let whole: Vec<u8> = (0..20)
            .map(|seed| {
                recut(std::slice::from_ref(&frame), seed).into_iter().flat_map(|part| part.payload).collect()
            })
            .find(|whole: &Vec<u8>| whole.len() == frame.payload.len())
            .unwrap();
        assert_eq!(whole.len(), frame.payload.len());
        let foreign = RawFrame { payload: b"\xff\xff not protobuf".to_vec(), ..frame };
        assert_eq!(recut(std::slice::from_ref(&foreign), 1), [foreign]);
    }
}
