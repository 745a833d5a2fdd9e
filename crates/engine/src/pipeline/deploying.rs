//! The pipeline's part for deployments: what excuses what changes on an edge, and what may be the cause of it.

use std::time::Duration;

use selvedge_correlate::VersionChange;
use selvedge_learn::versions::Deployment;
use selvedge_model::{EventTime, Finding, Symbol};

use super::Pipeline;

/// A finding dates from hours before it is told at most: what was deployed before that is evidence of nothing.
const EVIDENCE_FOR: Duration = Duration::from_hours(24);

impl Pipeline {
    /// A workload runs a new version: what its edges do differently from now on is no fault, within bounds.
    pub(super) fn deploy(&mut self, deployment: &Deployment) {
        if deployment.excuses {
            self.baselines.norms_mut().deploy(&deployment.node, deployment.at);
            self.measured.norms_mut().deploy(&deployment.node, deployment.at);
        }
    }

    /// Says what was deployed lately to who ranks suspects of `findings`.
    pub(super) fn know_changes(&mut self, findings: &[Finding], now: EventTime) {
        if findings.is_empty() {
            return;
        }
        let symbols = self.router.symbols();
        let lately = |deployment: &&Deployment| now.since(deployment.at) < EVIDENCE_FOR;
        let change = |deployment: &Deployment| VersionChange {
            workload: deployment.node.endpoint(Symbol::NONE, symbols),
            version: symbols.resolve(deployment.version).to_owned(),
            at: deployment.at,
        };
        let changes = self.router.versions().deployments().filter(lately).map(change).collect();
        self.correlator.know_changes(changes);
    }
}
