//! What happened in the mesh, with its times: the truth that reports are measured against.

use selvedge_model::EventTime;

use crate::fault::FaultKind;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// What.
    pub cause: Cause,
    /// To whom.
    pub extent: Extent,
    /// Since when.
    pub start: EventTime,
    /// Until when, excluded. A deployment is a moment: its end is its start.
    pub end: EventTime,
}

/// To whom something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One edge: an index into `Mesh::edges`.
    Edge(usize),
    /// All edges of a service, either way: an index into `Mesh::services`.
    Service(usize),
    /// All edges that the proxies of a service report: those of which it is the callee.
    Reporter(usize),
    /// All edges.
    Mesh,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// Injected.
    Fault(FaultKind),
    /// A cron ran: so many times the requests.
    Cron(f64),
    /// A benign burst: so many times the requests.
    Burst(f64),
    /// Benign slow minutes: such a share of requests in the slow mode.
    Slow(f64),
    /// Benign failing minutes: so many times the errors.
    Failing(f64),
    /// Benign large uploads: so many times the size.
    Upload(f64),
    /// A new version; logarithms of how it changed the rate and the latency, 0 mostly.
    Deployment {
        /// Of the rate of all edges of the service.
        rate: f64,
        /// Of their latency.
        latency: f64,
    },
    /// A reporter, or all of them, was silent.
    Gap,
    /// A reporter kept such a share of its records and said so.
    Sampling(f64),
    /// A reporter kept such a share of its records and said nothing.
    UnsaidSampling(f64),
    /// A reporter's clock was ahead by so many seconds.
    ClockStep(f64),
}

/// Labels up to a limit.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    pub(crate) kept: Vec<Label>,
    pub(crate) lost: u64,
    kept_max: usize,
}

impl Labels {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { kept: Vec::new(), lost: 0, kept_max }
    }

    pub(crate) fn add(&mut self, label: Label) {
        if self.kept.len() < self.kept_max {
            self.kept.push(label);
        } else {
            self.lost += 1;
        }
    }
}
