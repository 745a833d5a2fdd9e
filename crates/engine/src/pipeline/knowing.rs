//! What people do to what is known: see it, approve it, have it forgotten, mark it as brought from elsewhere.

use selvedge_learn::{KnownBy, Provenance};
use selvedge_model::EdgeKey;

use super::Pipeline;
use crate::snapshot::EdgeSummary;

/// Which edges are meant.
pub type Pick<'a> = &'a dyn Fn(&EdgeSummary) -> bool;

impl Pipeline {
    /// Has edges known from now on as `provenance` says; the lists of those that were known otherwise.
    pub fn mark_edges(&mut self, pick: Pick<'_>, provenance: Provenance) -> Vec<EdgeSummary> {
        let mut marked = self.picked(pick);
        marked.retain(|(_, edge)| edge.provenance != provenance);
        marked.iter().for_each(|(key, _)| self.baselines.mark(key, provenance));
        marked.into_iter().map(|(_, edge)| edge).collect()
    }

    /// Forgets edges: the next call on one is the first. What their callers and callees are known to do stays.
    pub fn forget_edges(&mut self, pick: Pick<'_>) -> Vec<EdgeSummary> {
        let forgotten = self.picked(pick);
        forgotten.iter().for_each(|(key, _)| self.baselines.forget(key));
        forgotten.into_iter().map(|(_, edge)| edge).collect()
    }

    fn picked(&self, pick: Pick<'_>) -> Vec<(EdgeKey, EdgeSummary)> {
        let symbols = self.router.symbols();
        let mut picked: Vec<(EdgeKey, EdgeSummary)> = self
            .baselines
            .edges()
            .map(|(key, baseline)| (*key, EdgeSummary::of(key, baseline, KnownBy::Calls, symbols)))
            .filter(|(_, edge)| pick(edge))
            .collect();
        picked.sort_by(|(_, left), (_, right)| left.edge.cmp(&right.edge));
        picked
    }
}
