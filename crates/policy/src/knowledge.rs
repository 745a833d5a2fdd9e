//! What planning needs to know beside the incident.

use selvedge_learn::Baselines;
use selvedge_model::{Endpoint, EventTime, Symbol, SymbolTable};

use crate::recent::{Recent, Scope};
use crate::traffic::TrafficRow;

/// What is known, in words.
pub trait Knowledge {
    /// Workloads that are known to hold a principal.
    fn holders(&self, principal: &str) -> Vec<Endpoint>;

    /// Recent traffic of `scope`, split at `onset`: see [`Recent::folded`].
    fn traffic(&self, scope: &Scope, onset: EventTime) -> Vec<TrafficRow>;

    /// First second of recent traffic and the first that is not, Unix time.
    fn span(&self) -> Option<(u64, u64)>;
}

/// What the engine has learned.
#[derive(Clone, Copy)]
pub struct Learned<'a> {
    /// Names.
    pub symbols: &'a SymbolTable,
    /// Baselines.
    pub baselines: &'a Baselines,
    /// Recent traffic.
    pub recent: &'a Recent,
}

impl Knowledge for Learned<'_> {
    fn holders(&self, principal: &str) -> Vec<Endpoint> {
        let Some(principal) = self.symbols.find(principal).filter(|principal| principal.present()) else {
            return Vec::new();
        };
        let nodes = self.baselines.mesh().holders(principal).iter();
        let mut holders: Vec<Endpoint> =
            nodes.map(|node| node.endpoint(Symbol::NONE, self.symbols)).collect();
        holders.sort_unstable();
        holders
    }

    fn traffic(&self, scope: &Scope, onset: EventTime) -> Vec<TrafficRow> {
        self.recent.folded(scope, onset, self.symbols)
    }

    fn span(&self) -> Option<(u64, u64)> {
        self.recent.span()
    }
}
