//! Calls that are alike, counted where they were counted last: most calls of a mesh are of a few hundred shapes.
//!
//! A look-up by window and edge and another by shape hash every name of a call twice. Here a few of its names find the
//! place, and a comparison of all of them makes sure of it.

use hashbrown::HashTable;
use selvedge_model::{Call, CallShape, EdgeKey, ShapeStats, Window};

/// Shapes counted here before they are handed on to the counts by edge, which have bounds of their own: some 2 MB.
pub(crate) const SHAPES_MAX: usize = 4_096;

/// Counts by window, edge and shape.
#[derive(Default)]
pub(crate) struct ShapeCounts {
    index: HashTable<u32>,
    entries: Vec<Alike>,
}

/// Calls that are alike.
pub(crate) struct Alike {
    pub(crate) window: Window,
    pub(crate) edge: EdgeKey,
    pub(crate) shape: CallShape,
    pub(crate) stats: ShapeStats,
}

impl ShapeCounts {
    /// Counts a call. To be emptied when it says that it is full.
    pub(crate) fn count(&mut self, window: Window, call: &Call) -> Fullness {
        let Self { index, entries } = self;
        let hash = mix(&call.edge, &call.shape);
        let alike = |at: &u32| {
            let entry = &entries[*at as usize];
            entry.shape == call.shape && entry.edge == call.edge && entry.window == window
        };
        let at = match index.find(hash, alike) {
            Some(at) => *at as usize,
            None => {
                let at = entries.len();
                let number = u32::try_from(at).expect("it is emptied when it is full");
                index.insert_unique(hash, number, |at| {
                    let entry = &entries[*at as usize];
                    mix(&entry.edge, &entry.shape)
                });
                let stats = ShapeStats::default();
                entries.push(Alike { window, edge: call.edge, shape: call.shape, stats });
                at
            }
        };
        entries[at].stats.record(call);
        if entries.len() < SHAPES_MAX { Fullness::Room } else { Fullness::Full }
    }

    /// Takes everything, in no particular order.
    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, Alike> {
        self.index.clear();
        self.entries.drain(..)
    }
}

/// Whether another shape would find room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fullness {
    /// It would.
    Room,
    /// It would not.
    Full,
}

/// A hash of what tells shapes apart, with everything in it that a caller can invent. Who finds collisions all the same
/// makes a look-up as dear as [`SHAPES_MAX`] comparisons, at most.
fn mix(edge: &EdgeKey, shape: &CallShape) -> u64 {
    let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let ends = pair(edge.source.workload.0, edge.destination.workload.0);
    let asked = pair(shape.route.0, u32::from(shape.status) << 16 | shape.method.0 & 0xffff);
    let who = pair(shape.source_principal.0, shape.certificate.fingerprint.0);
    let place = edge.source.namespace.0 << 16 ^ edge.destination.namespace.0;
    let rest = pair(place, shape.user_agent.0 << 2 | shape.reported as u32);
    let claims = pair(shape.claimed_principal.0, shape.sni.0);
    let verdicts = pair(shape.denied_by.0, shape.shadow_denied_by.0 ^ shape.handshake_failure.0 << 16);
    let mut mixed = ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ asked;
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ who;
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xc4ce_b9fe_1a85_ec53) ^ rest;
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ claims;
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ verdicts;
    (mixed ^ (mixed >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}
