//! What can be done to an edge on purpose, and what it changes in a window.

use std::fmt;

use selvedge_model::EventTime;

use crate::topology::Protocol;

/// One fault of one edge. It is in force in the windows that start in `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// With which edge: an index into `Mesh::edges`.
    pub edge: usize,
    /// Since when.
    pub start: EventTime,
    /// Until when, excluded.
    pub end: EventTime,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// So many times the requests (3, 10, 0.2). Latency follows load, here too.
    Volume {
        /// The factor.
        times: f64,
    },
    /// No requests, while the reporter is well.
    Vanished,
    /// Every request is so many times slower.
    Latency {
        /// The factor.
        times: f64,
    },
    /// Only the slow mode is slower: a fault of the tail that leaves the median alone.
    SlowerTail {
        /// The factor.
        times: f64,
    },
    /// The slow mode comes so many times as often.
    LongerTail {
        /// The factor.
        times: f64,
    },
    /// More requests fail, in what the edge's protocol has for it: 5xx or a gRPC status.
    Errors {
        /// By so many percentage points.
        points: f64,
    },
    /// Bytes leave with the requests of the edge, as many requests as ever.
    Exfiltration {
        /// KiB a minute.
        kib_a_minute: f64,
    },
    /// The rate grows slowly, to teach a baseline what it should not know; bytes follow requests.
    Ramp {
        /// Percent by day, compounded.
        percent_a_day: f64,
        /// The factor at which it stays.
        times_max: f64,
    },
}

impl FaultKind {
    /// The faults of the goals of `detection.md` section 4 and the tail-only ones of its section 1.1.
    pub const STANDARD: [Self; 10] = [
        Self::Volume { times: 3.0 },
        Self::Volume { times: 10.0 },
        Self::Volume { times: 0.2 },
        Self::Vanished,
        Self::Latency { times: 2.0 },
        Self::Latency { times: 5.0 },
        Self::SlowerTail { times: 4.0 },
        Self::LongerTail { times: 4.0 },
        Self::Errors { points: 2.0 },
        Self::Errors { points: 10.0 },
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume { times } => write!(f, "volume x{times}"),
            Self::Vanished => write!(f, "vanished"),
            Self::Latency { times } => write!(f, "latency x{times}"),
            Self::SlowerTail { times } => write!(f, "tail slower x{times}"),
            Self::LongerTail { times } => write!(f, "tail longer x{times}"),
            Self::Errors { points } => write!(f, "errors +{points} points"),
            Self::Exfiltration { kib_a_minute } => write!(f, "exfiltration {kib_a_minute} KiB/min"),
            Self::Ramp { percent_a_day, times_max } => {
                write!(f, "ramp {percent_a_day} %/day to x{times_max}")
            }
        }
    }
}

/// What events and faults change in a window of an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Effect {
    /// Factor on the request rate.
    pub(crate) rate: f64,
    /// Added to the logarithm of all latencies.
    pub(crate) scale: f64,
    /// Added to the logarithm of latencies of the slow mode.
    pub(crate) slower: f64,
    /// Factor on the slow mode's share.
    pub(crate) slow_times: f64,
    /// The slow mode's share is at least this.
    pub(crate) slow_min: f64,
    /// Factor on the rates of errors.
    pub(crate) failing: f64,
    /// Added to the callee's error rate.
    pub(crate) points: f64,
    /// Factor on the size of requests.
    pub(crate) size: f64,
    /// KiB a second that leave beside.
    pub(crate) kib_a_second: f64,
}

impl Effect {
    /// Nothing special.
    pub(crate) const NONE: Self = Self {
        rate: 1.0,
        scale: 0.0,
        slower: 0.0,
        slow_times: 1.0,
        slow_min: 0.0,
        failing: 1.0,
        points: 0.0,
        size: 1.0,
        kib_a_second: 0.0,
    };

    /// Adds a fault that is in force.
    pub(crate) fn add(&mut self, fault: &Fault, now: EventTime) {
        match fault.kind {
            FaultKind::Volume { times } => self.rate *= times,
            FaultKind::Vanished => self.rate = 0.0,
            FaultKind::Latency { times } => self.scale += times.ln(),
            FaultKind::SlowerTail { times } => self.slower += times.ln(),
            FaultKind::LongerTail { times } => self.slow_times *= times,
            FaultKind::Errors { points } => self.points += points / 100.0,
            FaultKind::Exfiltration { kib_a_minute } => self.kib_a_second += kib_a_minute / 60.0,
            FaultKind::Ramp { percent_a_day, times_max } => {
                let days = now.since(fault.start).as_secs_f64() / 86_400.0;
                self.rate *= (1.0 + percent_a_day / 100.0).powf(days).min(times_max);
            }
        }
    }

    /// Rates of 4xx, 5xx and gRPC failures.
    pub(crate) fn failing(&self, usual: [f64; 3], protocol: Protocol) -> [f64; 3] {
        let mut rates = usual.map(|rate| rate * self.failing);
        let callee = match protocol {
            Protocol::Http => &mut rates[1],
            Protocol::Grpc => &mut rates[2],
        };
        *callee += self.points;
        rates.map(|rate| rate.min(1.0))
    }
}
