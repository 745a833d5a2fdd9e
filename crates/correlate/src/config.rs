//! How close findings must be to belong together, and how much is kept.

use std::time::Duration;

/// Findings whose times are farther apart are about different things, unless they are on one edge that is still
/// deviating. Windows are 10 s and a cause needs a few of them to show up next door; two minutes cover both.
const JOIN_WITHIN: Duration = Duration::from_mins(2);
/// In a mesh of a few hops everything touches everything in the end: past half an hour an incident no longer spreads to
/// its neighbourhood, so that a chain of small things cannot swallow a whole day.
const SPREAD_WITHIN: Duration = Duration::from_mins(30);
/// Five minutes are Alertmanager's default `resolve_timeout`: shorter, and one attack flaps.
const QUIET: Duration = Duration::from_mins(5);
/// An attacker who pauses twice as long as `quiet` is still the same attacker on the same edge.
const REOPEN_WITHIN: Duration = Duration::from_mins(10);
/// At about 100 KB for a full incident this stays near 100 MB in the worst case, and well under 1 MB in practice.
const INCIDENTS_MAX: usize = 1_024;
/// More findings tell a person nothing new; past it only worse ones are taken.
const FINDINGS_MAX: usize = 128;

/// Limits of the correlator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelateConfig {
    /// Findings this far apart in event time may still belong together.
    pub join_within: Duration,
    /// An incident older than this takes new evidence only on the edges and traces it has.
    pub spread_within: Duration,
    /// An incident without new evidence for this long is resolved.
    pub quiet: Duration,
    /// New evidence of a known kind on a known edge this soon after the end reopens the incident.
    pub reopen_within: Duration,
    /// Incidents kept. Past it the one that was resolved first is forgotten, then the quietest open one (policy
    /// `oldest`).
    pub incidents_max: usize,
    /// Findings kept for an incident. Past it a worse finding replaces the least bad one (policy `least_severe`).
    pub findings_max: usize,
}

impl Default for CorrelateConfig {
    fn default() -> Self {
        Self {
            join_within: JOIN_WITHIN,
            spread_within: SPREAD_WITHIN,
            quiet: QUIET,
            reopen_within: REOPEN_WITHIN,
            incidents_max: INCIDENTS_MAX,
            findings_max: FINDINGS_MAX,
        }
    }
}
