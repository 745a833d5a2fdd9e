//! Other names for everything that has one.

use std::collections::BTreeSet;

use selvedge_decode::{Decoded, Decoder, Encoding};
use selvedge_model::{Party, SymbolTable};
use selvedge_testkit::{RawFrame, Renaming};

use crate::labels::Fault;

const NAME_BYTES_MAX: usize = 64 << 20;

/// Replaces the names of all workloads, namespaces and clusters that the frames or the labels name. The new names sort
/// the other way round.
pub(crate) fn replacing_all(frames: &[RawFrame], faults: &[Fault]) -> Renaming {
    let mut symbols = SymbolTable::new(NAME_BYTES_MAX);
    let mut decoder = Decoder::new(selvedge_engine::EngineConfig::default().decode);
    let mut decoded = Decoded::default();
    let mut names: BTreeSet<String> = faults.iter().map(|fault| fault.workload.clone()).collect();
    for frame in frames {
        let (signal, body) = (frame.signal, &frame.payload);
        if decoder
            .decode(signal, Encoding::Protobuf, body, frame.observed, &mut symbols, &mut decoded)
            .is_err()
        {
            continue;
        }
        let of_calls = decoded.observations.iter().flat_map(|seen| [seen.reporter, seen.peer]);
        let of_points = decoded.points.iter().flat_map(|point| [point.reporter, point.peer]);
        let parts = |party: Party| [party.workload, party.namespace, party.cluster];
        names.extend(of_calls.chain(of_points).flat_map(parts).map(|part| symbols.resolve(part).to_owned()));
    }
    let count = names.len();
    Renaming::new(names.into_iter().enumerate().map(|(at, name)| (name, format!("n{:05}x", count - at))))
}
