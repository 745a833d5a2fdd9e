//! Records against counters: a proxy counts each request that it passes, and tells of it in a record. When fewer and fewer
//! come of what it counts, they are lost on their way, or somebody keeps them back.
//!
//! Both are summed over blocks of true time, an edge and side at a time, so that it does not matter when counters are sent. A
//! side is judged once its records were complete for an hour: what is sampled tells of nobody's silence. Two blocks in a row
//! must be short, because what was counted between two points belongs to both blocks that it touches, as it were evenly.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::time::nanos;
use selvedge_model::{EdgeKey, EdgeWindow, EventTime, Node, Reported, Side, SideCount, Window};
use serde::{Deserialize, Serialize};

/// Twice the longest interval between two points of a counter that is placed in windows, and more.
const BLOCK: Duration = Duration::from_mins(5);
/// A block is judged when the one after it is over: by then its counters have come.
const OPEN_BLOCKS: u64 = 2;
/// Blocks of which something is known: those that are open, and the one that is judged.
const SLOTS: usize = 3;
/// Edges and sides that are followed; past it new ones are not (policy `keep_known`). Some 40 MB.
const ENTRIES_MAX: usize = 1 << 18;
/// Blocks of a side whose records were complete, before their absence says something: an hour.
const COMPLETE_BLOCKS: u16 = 12;
/// What blocks before count for: half of it after seven, so that a side that is sampled from now on is soon known to be.
const KEPT: f64 = 0.9;
/// Records of what was counted, of a side that tells of everything. Neither is exact: what is on its way at the edge of a
/// window, calls that were counted twice, a restart.
const COMPLETE: std::ops::RangeInclusive<f64> = 0.95..=1.05;
/// In a row, before something is told.
const SHORT_BLOCKS: u16 = 2;
/// What is short for a day is how it is now: it is learned anew.
const SHORT_BLOCKS_MAX: u16 = 288;
/// A side that counted nothing for so many blocks, a day, makes room.
const SILENT_BLOCKS: u64 = 288;

/// What is asked of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LedgerBounds {
    /// Requests that must have been counted in five minutes.
    pub requests_min: u64,
    /// Share of them of which records came, below which it is short.
    pub share_max: f64,
}

/// A side whose records do not come any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortfall {
    /// The edge.
    pub edge: EdgeKey,
    /// Whose proxy it is.
    pub side: Side,
    /// Begin of the first block that was short.
    pub since: EventTime,
    /// Requests counted since then.
    pub counted: u64,
    /// Records of them.
    pub recorded: u64,
}

impl Shortfall {
    /// The workload whose proxy it is.
    #[must_use]
    pub fn reporter(&self) -> Node {
        reporter(&self.edge, self.side)
    }
}

/// What came of a block.
#[derive(Debug, Default, PartialEq)]
pub struct Audited {
    /// In order of edge and side.
    pub short: Vec<Shortfall>,
    /// Workloads that could be judged.
    pub reporters: usize,
}

/// What was counted and recorded of edges, by both sides.
#[derive(Serialize, Deserialize)]
pub struct Ledger {
    #[serde(with = "selvedge_model::hash::listed")]
    entries: FixedMap<(EdgeKey, Side), Entry>,
    /// The newest block.
    block: u64,
    /// The block that is judged next; nothing until it is known from when on everybody is heard.
    next: Option<u64>,
    refused: u64,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Block {
    number: u64,
    counted: u64,
    recorded: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Entry {
    blocks: [Block; SLOTS],
    /// Sums of the blocks before, less and less of them.
    counted: f64,
    recorded: f64,
    judged: u16,
    short: Option<Short>,
    /// The newest block in which something was counted.
    heard: u64,
}

/// Blocks in a row.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Short {
    first: u64,
    blocks: u16,
    counted: u64,
    recorded: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { entries: FixedMap::with_hasher(fixed_state()), block: 0, next: None, refused: 0 }
    }
}

impl Ledger {
    /// Sides that found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Nobody was heard for an unknown time: what is open is not comparable.
    pub fn gap(&mut self) {
        self.next = None;
    }

    /// Takes a window: what was counted of edges, also of windows before, and the calls that were recorded in it. Windows come
    /// in order. Once a block gives what came of it.
    pub fn note(
        &mut self,
        window: Window,
        counts: &[SideCount],
        calls: &[(EdgeKey, &EdgeWindow)],
        bounds: &LedgerBounds,
    ) -> Audited {
        let audited = self.go_on(block_of(window.start), bounds);
        for count in counts {
            self.count(count);
        }
        if !self.entries.is_empty() {
            calls.iter().for_each(|(edge, seen)| self.record(window, edge, seen));
        }
        audited
    }

    /// The block has begun: what is two before it can be judged, unless nobody was heard in part of it.
    fn go_on(&mut self, block: u64, bounds: &LedgerBounds) -> Audited {
        let next = self.next.unwrap_or(block + 1);
        let mut audited = Audited::default();
        // Of blocks that nobody spoke of there is nothing to judge.
        for over in next..(block + 1).saturating_sub(OPEN_BLOCKS).min(self.block + 1) {
            audited = self.audit(over, bounds);
        }
        self.block = self.block.max(block);
        self.next = Some(next.max((block + 1).saturating_sub(OPEN_BLOCKS)));
        audited
    }

    fn count(&mut self, count: &SideCount) {
        let (key, block) = ((count.edge, count.side), block_of(count.at));
        let open = block <= self.block && self.block < block + SLOTS as u64;
        let room = self.entries.len() < ENTRIES_MAX || self.entries.contains_key(&key);
        self.refused += u64::from(!room);
        if open && room {
            let entry = self.entries.entry(key).or_default();
            entry.heard = entry.heard.max(block);
            entry.block(block).counted += count.requests;
        }
    }

    fn record(&mut self, window: Window, edge: &EdgeKey, seen: &EdgeWindow) {
        for (side, alone) in [(Side::Client, Reported::ClientOnly), (Side::Server, Reported::ServerOnly)] {
            let Some(entry) = self.entries.get_mut(&(*edge, side)) else { continue };
            let by =
                seen.shapes.iter().filter(|(shape, _)| [alone, Reported::Both].contains(&shape.reported));
            entry.block(block_of(window.start)).recorded +=
                by.map(|(shape, stats)| shape.sampling.stands_for(stats.calls)).sum::<u64>();
        }
    }

    fn audit(&mut self, block: u64, bounds: &LedgerBounds) -> Audited {
        let mut audited = Audited::default();
        let mut reporters = Vec::new();
        for ((edge, side), entry) in &mut self.entries {
            let Some(short) = entry.audit(block, bounds) else { continue };
            reporters.push(reporter(edge, *side));
            audited.short.extend(short.filter(|short| short.blocks >= SHORT_BLOCKS).map(|short| Shortfall {
                edge: *edge,
                side: *side,
                since: EventTime(short.first * nanos(BLOCK)),
                counted: short.counted,
                recorded: short.recorded,
            }));
        }
        self.entries.retain(|_, entry| entry.heard + SILENT_BLOCKS > block);
        reporters.sort_unstable();
        reporters.dedup();
        audited.reporters = reporters.len();
        audited.short.sort_unstable_by_key(|short| (short.edge, short.side));
        audited
    }
}

impl Entry {
    fn block(&mut self, number: u64) -> &mut Block {
        let block = &mut self.blocks[usize::try_from(number % SLOTS as u64).unwrap_or(0)];
        if block.number < number {
            *block = Block { number, ..Block::default() };
        }
        block
    }

    /// Nothing where it cannot be judged; else since when it is short, if it is.
    fn audit(&mut self, number: u64, bounds: &LedgerBounds) -> Option<Option<Short>> {
        let Block { counted, recorded, .. } = *self.blocks.iter().find(|block| block.number == number)?;
        if counted < bounds.requests_min {
            return None;
        }
        let complete = COMPLETE.contains(&(self.recorded / self.counted)) && self.judged >= COMPLETE_BLOCKS;
        let is_short = complete && as_float(recorded) < bounds.share_max * as_float(counted);
        if !is_short {
            self.short = None;
            self.counted = self.counted * KEPT + as_float(counted);
            self.recorded = self.recorded * KEPT + as_float(recorded);
            self.judged = (self.judged + 1).min(COMPLETE_BLOCKS);
            return complete.then_some(None);
        }
        let short = self.short.get_or_insert(Short { first: number, blocks: 0, counted: 0, recorded: 0 });
        short.blocks += 1;
        short.counted += counted;
        short.recorded += recorded;
        let short = *short;
        if short.blocks >= SHORT_BLOCKS_MAX {
            *self = Self { blocks: self.blocks, heard: self.heard, ..Self::default() };
        }
        Some(Some(short))
    }
}

fn reporter(edge: &EdgeKey, side: Side) -> Node {
    if side == Side::Client { edge.source } else { edge.destination }
}

fn block_of(at: EventTime) -> u64 {
    at.0 / nanos(BLOCK)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
