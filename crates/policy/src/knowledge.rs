//! What planning needs to know beside the incident.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use selvedge_learn::Baselines;
use selvedge_model::{Endpoint, EventTime, Symbol, SymbolTable};

use crate::recent::{Recent, Scope};
use crate::traffic::TrafficRow;

/// Answers about traffic that are remembered; past it all are forgotten and asked for anew (policy `forget_all`).
const REMEMBERED_MAX: usize = 32;

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

/// Rows, shared by all who ask for them.
type Rows = Rc<[TrafficRow]>;

/// Knowledge that is asked for the same traffic only once: a day of it is long. It must not outlive one decision.
pub(crate) struct Remembered<'a> {
    knowledge: &'a dyn Knowledge,
    traffic: RefCell<BTreeMap<(Scope, EventTime), Rows>>,
}

impl<'a> Remembered<'a> {
    pub(crate) fn new(knowledge: &'a dyn Knowledge) -> Self {
        Self { knowledge, traffic: RefCell::default() }
    }

    /// As [`Knowledge::holders`].
    pub(crate) fn holders(&self, principal: &str) -> Vec<Endpoint> {
        self.knowledge.holders(principal)
    }

    /// As [`Knowledge::span`].
    pub(crate) fn span(&self) -> Option<(u64, u64)> {
        self.knowledge.span()
    }

    /// As [`Knowledge::traffic`].
    pub(crate) fn rows(&self, scope: Scope, onset: EventTime) -> Rows {
        let mut traffic = self.traffic.borrow_mut();
        let asked = (scope, onset);
        if traffic.len() >= REMEMBERED_MAX && !traffic.contains_key(&asked) {
            traffic.clear();
        }
        let rows = traffic.entry(asked);
        Rc::clone(rows.or_insert_with_key(|(scope, onset)| self.knowledge.traffic(scope, *onset).into()))
    }
}
