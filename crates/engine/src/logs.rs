//! Logs of workloads: mined, joined to the calls that made them, and judged by window. Sequential, in the order of
//! arrival, before the shards: nothing here depends on their number.

use selvedge_decode::Statement;
use selvedge_detect::{Context, Detector};
use selvedge_join::{JoinConfig, LogJoin};
use selvedge_learn::logs::{Habits, Miner};
use selvedge_model::{EventTime, Finding, Node, Observation};
use serde::{Deserialize, Serialize};

use crate::overload::Overload;

/// Everything that is known of logs.
#[derive(Serialize, Deserialize)]
pub(crate) struct Logs {
    miner: Miner,
    join: LogJoin,
    habits: Habits,
}

impl Logs {
    pub(crate) fn new(join: &JoinConfig) -> Self {
        Self { miner: Miner::new(), join: LogJoin::new(join.window_length), habits: Habits::new() }
    }

    /// Takes the limits of `config`, as after a restart with another configuration.
    pub(crate) fn configure(&mut self, config: &JoinConfig) {
        self.join.configure(config.window_length);
    }

    /// Takes a record that is named already, with what it says if it is an application's log.
    pub(crate) fn take(&mut self, key: Option<u128>, seen: &Observation, statement: Option<Statement<'_>>) {
        match statement {
            Some(said) => {
                let node = Node::of(&seen.reporter);
                let template = self.miner.statement(node, said.text, said.severity, seen.end);
                self.join.log(key, seen, template.map(|id| id.0));
            }
            None => self.join.call(key, seen),
        }
    }

    /// Judges, then learns, the windows that are complete at `watermark`.
    pub(crate) fn judge(
        &mut self,
        cx: &Context<'_>,
        watermark: EventTime,
        detector: &Detector,
    ) -> Vec<Finding> {
        let ended = watermark == EventTime(u64::MAX);
        let closed = if ended { self.join.flush() } else { self.join.advance(watermark) };
        let mut findings = Vec::new();
        for (window, counts) in closed {
            let least = |class, habits: &Habits| detector.log_evidence_min(class, habits);
            let deviations = self.habits.take(window, &counts, &self.miner, cx.learning, &least);
            findings.extend(detector.judge_logs(cx, &self.miner, &self.habits, &deviations));
        }
        findings
    }

    /// What the limits did.
    pub(crate) fn overloads(&self) -> [Overload; 5] {
        let (joined, habits) = (self.join.counts(), self.habits.overflows());
        [
            Overload::new("log_templates", "pool", self.miner.pooled()),
            Overload::new("log_workloads", "keep_known", joined.unfollowed),
            Overload::new("log_traces", "oldest_trace_first", joined.traces_dropped),
            Overload::new("log_routes", "keep_known", habits.routes),
            Overload::new("log_statements", "keep_known", habits.statements),
        ]
    }
}
