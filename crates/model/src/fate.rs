//! What became of each signal. Every signal received ends in exactly one fate, and the counts add up.

use serde::{Deserialize, Serialize};

/// The three signals of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalKind {
    /// Spans.
    Traces,
    /// Metric data points.
    Metrics,
    /// Log records.
    Logs,
}

impl SignalKind {
    /// All three, in the order of the capture format's numbers.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// `traces`, `metrics`, `logs`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// What became of a signal (one span, log record or metric point).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Became part of a call that at least one other signal speaks of, or of a series with a predecessor.
    Joined,
    /// Stands alone: nothing else spoke of the same request, or it speaks of no request.
    Unmatched,
    /// Not understood, or not a whole signal.
    Rejected,
    /// Came after its window had closed and the allowed lateness had passed.
    Late,
    /// Dropped from the join window to stay inside its byte budget.
    Evicted,
    /// Still in the join window.
    Open,
}

impl Fate {
    /// All fates, in reporting order.
    pub const ALL: [Self; 6] =
        [Self::Joined, Self::Unmatched, Self::Rejected, Self::Late, Self::Evicted, Self::Open];

    /// Snake-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Unmatched => "unmatched",
            Self::Rejected => "rejected",
            Self::Late => "late",
            Self::Evicted => "evicted",
            Self::Open => "open",
        }
    }
}

/// Counts of fates by signal kind. Mergeable: shards add theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateLedger {
    /// Signals received, by kind: what the fates must add up to.
    received: [u64; 3],
    counts: [[u64; 6]; 3],
}

impl FateLedger {
    /// Counts signals that came in.
    pub fn receive(&mut self, kind: SignalKind, signals: u64) {
        self.received[kind as usize] += signals;
    }

    /// Counts signals whose fate is known.
    pub fn settle(&mut self, kind: SignalKind, fate: Fate, signals: u64) {
        self.counts[kind as usize][fate as usize] += signals;
    }

    /// Moves signals from `Open` to the fate they have come to.
    pub fn close(&mut self, kind: SignalKind, fate: Fate, signals: u64) {
        let open = &mut self.counts[kind as usize][Fate::Open as usize];
        debug_assert!(*open >= signals, "more signals closed than were open");
        *open = open.saturating_sub(signals);
        self.settle(kind, fate, signals);
    }

    /// Open signals whose fate another ledger is going to count.
    pub fn hand_over(&mut self, to: &mut Self, kind: SignalKind, signals: u64) {
        let open = &mut self.counts[kind as usize][Fate::Open as usize];
        debug_assert!(*open >= signals, "more signals handed over than were open");
        *open = open.saturating_sub(signals);
        let received = &mut self.received[kind as usize];
        *received = received.saturating_sub(signals);
        to.receive(kind, signals);
        to.settle(kind, Fate::Open, signals);
    }

    /// Adds another ledger.
    pub fn merge(&mut self, other: &Self) {
        for kind in SignalKind::ALL {
            self.received[kind as usize] += other.received[kind as usize];
            for fate in Fate::ALL {
                self.counts[kind as usize][fate as usize] += other.counts[kind as usize][fate as usize];
            }
        }
    }

    /// Signals of a kind that came in.
    #[must_use]
    pub fn received(&self, kind: SignalKind) -> u64 {
        self.received[kind as usize]
    }

    /// Signals of a kind with this fate.
    #[must_use]
    pub fn count(&self, kind: SignalKind, fate: Fate) -> u64 {
        self.counts[kind as usize][fate as usize]
    }

    /// Invariant 2 of the design: received equals the sum over all fates, for every kind.
    #[must_use]
    pub fn balanced(&self) -> bool {
        SignalKind::ALL.iter().all(|kind| {
            self.received(*kind) == Fate::ALL.iter().map(|fate| self.count(*kind, *fate)).sum::<u64>()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_balances_only_when_every_signal_has_a_fate() {
        let mut ledger = FateLedger::default();
        ledger.receive(SignalKind::Logs, 3);
        ledger.settle(SignalKind::Logs, Fate::Open, 2);
        assert!(!ledger.balanced());
        ledger.settle(SignalKind::Logs, Fate::Rejected, 1);
        ledger.close(SignalKind::Logs, Fate::Joined, 2);
        assert!(ledger.balanced());
        assert_eq!(ledger.count(SignalKind::Logs, Fate::Open), 0);
    }
}
