//! The same quantile as both sides of an edge see it.

use std::time::Duration;

use selvedge_model::{EventTime, GaugePoint, Side};
use serde::{Deserialize, Serialize};

use super::state::GaugeState;

/// Points of both sides that are no farther apart are of the same minute.
const WITHIN: Duration = Duration::from_secs(30);

/// Both sides' last points, and what their ratio normally is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) state: GaugeState,
    client: (EventTime, f64),
    server: (EventTime, f64),
}

impl Pair {
    pub(super) fn since(hour: u64) -> Self {
        let nothing = (EventTime::ABSENT, 0.0);
        Self { state: GaugeState::since(hour), client: nothing, server: nothing }
    }

    /// Takes a point of one side. When the other side's is of the same time: that time, the logarithm of the caller's time
    /// over the callee's, and the callee's.
    pub(super) fn beside(&mut self, point: &GaugePoint) -> Option<(EventTime, f64, f64)> {
        let (own, other) = match point.key.side {
            Side::Server => (&mut self.server, self.client),
            _ => (&mut self.client, self.server),
        };
        *own = (point.at, point.value);
        let apart = point.at.since(other.0).max(other.0.since(point.at));
        if !other.0.present() || WITHIN < apart {
            return None;
        }
        let (caller, callee) = (self.client.1, self.server.1);
        (self.client.0, self.server.0) = (EventTime::ABSENT, EventTime::ABSENT);
        Some((point.at.max(other.0), (caller / callee).ln(), callee))
    }

    pub(super) fn heard(&self) -> EventTime {
        self.state.heard().max(self.client.0).max(self.server.0)
    }

    pub(super) fn gap(&mut self) {
        (self.client.0, self.server.0) = (EventTime::ABSENT, EventTime::ABSENT);
        self.state.gap();
    }
}
