//! Regular beats of calls to outside hosts that the caller is not known to use.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::time::nanos;
use selvedge_model::{EdgeKey, EventTime};
use serde::{Deserialize, Serialize};

use crate::parameters::Beacon;

/// Edges followed; past it new ones are not.
const EDGES_MAX: usize = 1_024;
/// Beats remembered for one edge.
const BEATS_MAX: usize = 32;
/// Calls this close together are one beat: a connection and its retries.
const BEAT_WIDTH: Duration = Duration::from_secs(1);

/// Beats of calls to outside hosts.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Beats {
    #[serde(with = "selvedge_model::hash::listed")]
    edges: FixedMap<EdgeKey, Vec<EventTime>>,
    unfollowed: u64,
}

/// A regular beat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rhythm {
    pub(crate) beats: u64,
    pub(crate) interval: Duration,
    /// Median absolute deviation of the intervals over their median.
    pub(crate) jitter: f64,
    pub(crate) first: EventTime,
}

impl Default for Beats {
    fn default() -> Self {
        Self { edges: FixedMap::with_hasher(fixed_state()), unfollowed: 0 }
    }
}

impl Beats {
    /// True when beats of this edge were seen before.
    pub(crate) fn follows(&self, key: &EdgeKey) -> bool {
        self.edges.contains_key(key)
    }

    /// Windows of edges that found no room.
    pub(crate) fn unfollowed(&self) -> u64 {
        self.unfollowed
    }

    /// Adds the calls of one closed window; the rhythm when there is one.
    pub(crate) fn add(&mut self, key: &EdgeKey, arrivals: &[EventTime], rule: &Beacon) -> Option<Rhythm> {
        let newest = arrivals.last()?;
        let idle = Duration::from_secs(rule.interval_seconds_max.0.saturating_mul(2));
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(key) {
            self.edges.retain(|_, beats| beats.last().is_some_and(|last| newest.since(*last) < idle));
        }
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(key) {
            self.unfollowed += 1;
            return None;
        }
        let beats = self.edges.entry(*key).or_default();
        for arrival in arrivals {
            if beats.last().is_none_or(|last| arrival.since(*last) > BEAT_WIDTH) {
                beats.push(*arrival);
            }
        }
        let surplus = beats.len().saturating_sub(BEATS_MAX);
        beats.drain(..surplus);
        rhythm(beats, rule)
    }
}

fn rhythm(beats: &[EventTime], rule: &Beacon) -> Option<Rhythm> {
    let wanted = usize::try_from(rule.beats_min.0).unwrap_or(usize::MAX);
    if beats.len() < wanted || wanted < 3 {
        return None;
    }
    let recent = &beats[beats.len() - wanted..];
    let intervals: Vec<u64> = recent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let interval = median(&intervals);
    let deviations: Vec<u64> = intervals.iter().map(|other| other.abs_diff(interval)).collect();
    let jitter = ratio(median(&deviations), interval);
    let seconds = nanos(Duration::from_secs(1));
    let (shortest, longest) = (
        rule.interval_seconds_min.0.saturating_mul(seconds),
        rule.interval_seconds_max.0.saturating_mul(seconds),
    );
    let regular = (shortest..=longest).contains(&interval) && jitter <= rule.jitter_max.0;
    regular.then(|| Rhythm {
        beats: recent.len() as u64,
        interval: Duration::from_nanos(interval),
        jitter,
        first: recent[0],
    })
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of minutes; a ratio needs no more")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuleSet;

    fn judge(seconds: &[f64]) -> Option<Rhythm> {
        let rules = RuleSet::shipped();
        let mut beats = Beats::default();
        let times = seconds.iter().map(|at| EventTime(1_000 + nanos(Duration::from_secs_f64(*at))));
        times
            .map(|at| beats.add(&EdgeKey::default(), &[at], rules.beacon().expect("shipped")))
            .last()
            .flatten()
    }

    #[test]
    fn equal_intervals_are_a_beat_and_a_little_jitter_does_not_hide_it() {
        assert_eq!(
            judge(&[0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0]).map(|found| found.beats),
            Some(8)
        );
        assert!(judge(&[0.0, 33.0, 58.0, 91.0, 118.0, 152.0, 177.0, 212.0]).is_some());
    }

    #[test]
    fn people_bursts_and_short_series_are_no_beat() {
        assert!(judge(&[0.0, 4.0, 90.0, 97.0, 240.0, 250.0, 600.0, 604.0]).is_none());
        assert!(judge(&[0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6]).is_none());
        assert!(judge(&[0.0, 30.0, 60.0, 90.0]).is_none());
    }
}
