//! What gauges normally show: quantiles that a sender computed, of which no counts are left to judge.
//!
//! A gauge has no exposure, so it gets a small state of its own, in logarithms (`state.rs`): a level (median of the last
//! hour of points), its own spread (median absolute deviation), an envelope of what it did in the last day, an effect that
//! must be exceeded at all, and evidence that adds up over points, capped a point, so that one point alone never tells.
//! Judged before learned, frozen under suspicion for a bounded time; points that are missing are a gap.
//!
//! Both sides of an edge are two witnesses (`pairs.rs`): how many times the callee's time the caller's is, is a series of
//! its own. Load moves both sides alike and cancels; **what moves the ratio is between them: the network**.

mod pairs;
mod state;

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EventTime, GaugeKey, GaugePoint, Side, Symbol};
use serde::{Deserialize, Serialize};

use pairs::Pair;
pub use state::{Bounds, GaugeState};

/// Gauges that are followed; past it new ones are not (policy `keep_known`). Some 30 MB.
const GAUGES_MAX: usize = 1 << 16;
/// Most of them that one sender may have: a scraper speaks for a whole mesh, and must still leave room for others.
const SENDER_MAX: usize = GAUGES_MAX / 2;
/// A gauge that was not heard for this long makes room: its sender is gone.
const SILENT_AFTER: Duration = Duration::from_hours(25);
const HOUR: u64 = 3_600_000_000_000;

/// All gauges that are followed.
#[derive(Serialize, Deserialize)]
pub struct Gauges {
    #[serde(with = "selvedge_model::hash::listed")]
    states: FixedMap<GaugeKey, Followed>,
    #[serde(with = "selvedge_model::hash::listed")]
    pairs: FixedMap<GaugeKey, Pair>,
    #[serde(with = "selvedge_model::hash::listed")]
    senders: FixedMap<Symbol, usize>,
    /// Series that are judged: durations of edges, and their pairs.
    judged: usize,
    hour: u64,
    refused: u64,
}

#[derive(Serialize, Deserialize)]
struct Followed {
    state: GaugeState,
    origin: Symbol,
}

/// What of a gauge deviates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Aspect {
    /// Its value.
    Level,
    /// The caller's time less the callee's.
    Network,
}

/// A gauge that is far from normal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaugeReading {
    /// Which gauge; of a pair the caller's.
    pub key: GaugeKey,
    /// What of it.
    pub aspect: Aspect,
    /// It is a duration.
    pub duration: bool,
    /// What it shows: nanoseconds for durations; of a pair what the network takes.
    pub seen: f64,
    /// What it usually shows.
    pub usual: f64,
    /// When it began.
    pub onset: EventTime,
    /// When the last point held.
    pub at: EventTime,
    /// Evidence, in nats.
    pub evidence: f64,
}

/// What points of a window came to.
#[derive(Debug, Default)]
pub struct GaugesJudged {
    /// What is far from normal, in the order of the points.
    pub readings: Vec<GaugeReading>,
    /// The largest evidence of each judged series in the hour that ended, when one did.
    pub hour: Vec<f32>,
}

impl Default for Gauges {
    fn default() -> Self {
        Self {
            states: FixedMap::with_hasher(fixed_state()),
            pairs: FixedMap::with_hasher(fixed_state()),
            senders: FixedMap::with_hasher(fixed_state()),
            judged: 0,
            hour: 0,
            refused: 0,
        }
    }
}

impl Gauges {
    /// Series of edges that are judged: a mesh with more of them needs more evidence for each.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.judged
    }

    /// Points of gauges that found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Gauges followed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len() + self.pairs.len()
    }

    /// True when none is followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Judges the points of a window by what was learned before, then learns them, minus what is suspected. When
    /// `approved`, all of it is how things should be. Windows come in order.
    pub fn take(&mut self, points: &[GaugePoint], bounds: &Bounds, approved: bool) -> GaugesJudged {
        let mut judged = GaugesJudged::default();
        let newest = points.iter().map(|point| point.at).max().unwrap_or(EventTime::ABSENT);
        if newest.0 / HOUR > self.hour {
            self.end_hour(newest, &mut judged.hour);
        }
        for point in points {
            if !point.beside_only {
                judged.readings.extend(self.level(point, bounds, approved));
            }
            if point.key.of_edge() && point.duration && point.key.side != Side::Internal {
                judged.readings.extend(self.network(point, bounds, approved));
            }
        }
        judged
    }

    /// Telemetry pauses for an unknown time: nothing went on in it.
    pub fn gap(&mut self) {
        self.states.values_mut().for_each(|followed| followed.state.gap());
        self.pairs.values_mut().for_each(Pair::gap);
    }

    fn level(&mut self, point: &GaugePoint, bounds: &Bounds, approved: bool) -> Option<GaugeReading> {
        let margin = if point.key.of_edge() { bounds.level_margin } else { bounds.resource_margin };
        let followed = self.follow(point)?;
        let verdict = followed.state.take(point.at, point.value.ln(), margin, bounds.evidence, approved)?;
        Some(GaugeReading {
            key: point.key,
            aspect: Aspect::Level,
            duration: point.duration,
            seen: point.value,
            usual: verdict.usual.exp(),
            onset: verdict.onset,
            at: point.at,
            evidence: verdict.evidence,
        })
    }

    fn network(&mut self, point: &GaugePoint, bounds: &Bounds, approved: bool) -> Option<GaugeReading> {
        let key = GaugeKey { side: Side::Client, ..point.key };
        if !self.pairs.contains_key(&key) {
            if self.pairs.len() >= GAUGES_MAX {
                self.refused += 1;
                return None;
            }
            self.judged += 1;
        }
        let hour = self.hour;
        let pair = self.pairs.entry(key).or_insert_with(|| Pair::since(hour));
        let (at, ratio, callee) = pair.beside(point)?;
        let verdict = pair.state.take(at, ratio, bounds.network_margin, bounds.evidence, approved)?;
        Some(GaugeReading {
            key,
            aspect: Aspect::Network,
            duration: true,
            seen: callee * ratio.exp_m1(),
            usual: callee * verdict.usual.exp_m1(),
            onset: verdict.onset,
            at,
            evidence: verdict.evidence,
        })
    }

    fn follow(&mut self, point: &GaugePoint) -> Option<&mut Followed> {
        if !self.states.contains_key(&point.key) {
            let sender = self.senders.entry(point.origin).or_default();
            if self.states.len() >= GAUGES_MAX || *sender >= SENDER_MAX {
                self.refused += 1;
                return None;
            }
            *sender += 1;
            self.judged += usize::from(point.key.of_edge());
        }
        let hour = self.hour;
        let new = || Followed { state: GaugeState::since(hour), origin: point.origin };
        Some(self.states.entry(point.key).or_insert_with(new))
    }

    /// An hour ended: what each series came to in it goes to the mesh's record, and who is gone makes room.
    fn end_hour(&mut self, now: EventTime, ended: &mut Vec<f32>) {
        self.hour = now.0 / HOUR;
        let Self { states, pairs, senders, judged, .. } = self;
        states.retain(|key, followed| {
            let largest = followed.state.end_hour(self.hour);
            let keep = now.since(followed.state.heard()) < SILENT_AFTER;
            if key.of_edge() {
                ended.extend(largest);
                *judged -= usize::from(!keep);
            }
            if !keep && let Some(sender) = senders.get_mut(&followed.origin) {
                *sender -= 1;
            }
            keep
        });
        pairs.retain(|_, pair| {
            ended.extend(pair.state.end_hour(self.hour));
            let keep = now.since(pair.heard()) < SILENT_AFTER;
            *judged -= usize::from(!keep);
            keep
        });
        senders.retain(|_, gauges| *gauges > 0);
        // The order of a map is nobody's business: blocks are pooled.
        ended.sort_by(f32::total_cmp);
    }
}
