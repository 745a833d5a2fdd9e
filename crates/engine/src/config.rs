//! What the engine can be told, checked by the stages that own each part.

use std::time::Duration;

use selvedge_correlate::CorrelateConfig;
use selvedge_decode::DecodeConfig;
use selvedge_detect::calibration::Budgets;
use selvedge_join::JoinConfig;
use selvedge_learn::LearnConfig;
use selvedge_policy::PolicyConfig;
use selvedge_query::StoreConfig;

/// Names of workloads, routes, agents and certificates of a large mesh fit many times over; past it names pool.
pub(crate) const SYMBOL_BYTES_MAX_DEFAULT: usize = 64 << 20;
/// Findings kept for people to look at; older ones are in the incidents and in what the sinks were sent.
pub(crate) const FINDINGS_KEPT_MAX_DEFAULT: usize = 2_000;
/// A stream that brought nothing for this long has nothing newer than this to bring: proxies flush each second.
pub(crate) const IDLE_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// Edges and shapes of calls in open windows: 100,000 edges with nine shapes each; some 500 MB at worst.
pub(crate) const WINDOW_ENTRIES_MAX_DEFAULT: usize = 1 << 20;

/// Configuration of the engine and its stages.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Number of shards; each beyond the first is a thread.
    pub shards: usize,
    /// Reading of the wire.
    pub decode: DecodeConfig,
    /// The join window.
    pub join: JoinConfig,
    /// Baselines.
    pub learn: LearnConfig,
    /// How often people may be told of what is nothing: thresholds of behaviour follow from it.
    pub budgets: Budgets,
    /// Incidents.
    pub correlate: CorrelateConfig,
    /// Bytes of the symbol table.
    pub symbol_bytes_max: usize,
    /// Edges, and shapes of edges, in open windows; past it the newest edges are counted together (policy `pool_newest`).
    pub window_entries_max: usize,
    /// Findings kept for people to look at.
    pub findings_kept_max: usize,
    /// How far the clock runs ahead of a silent stream before event time follows it.
    pub idle_grace: Duration,
    /// Quarantines.
    pub policy: PolicyConfig,
    /// What is kept for SQL; nothing when absent, and then nothing is paid for it.
    pub record: Option<StoreConfig>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            shards: 1,
            decode: DecodeConfig::default(),
            join: JoinConfig::default(),
            learn: LearnConfig::default(),
            budgets: Budgets::default(),
            correlate: CorrelateConfig::default(),
            symbol_bytes_max: SYMBOL_BYTES_MAX_DEFAULT,
            window_entries_max: WINDOW_ENTRIES_MAX_DEFAULT,
            findings_kept_max: FINDINGS_KEPT_MAX_DEFAULT,
            idle_grace: IDLE_GRACE_DEFAULT,
            policy: PolicyConfig::default(),
            record: None,
        }
    }
}
