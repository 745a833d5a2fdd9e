//! Which statements the calls of each route made in one window: counts that merge, and a few calls to look at.

use std::collections::BTreeMap;

use crate::edge::Node;
use crate::id::TraceId;
use crate::symbol::Symbol;
use serde::{Deserialize, Serialize};

/// Routes of one window (policy `count_only`).
const ROUTES_MAX: usize = 65_536;
/// Statements of one route and window; past it new ones are not counted.
const STATEMENTS_MAX: usize = 512;
/// Callers of one route and window.
const CALLERS_MAX: usize = 8;
/// Calls of one route and window that are kept to look at.
const SAMPLES_MAX: usize = 16;

/// What is served: a route of a workload. Ordered by the numbers of names, as nodes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServedRoute {
    /// The callee.
    pub node: Node,
    /// Method.
    pub method: Symbol,
    /// Templated path or RPC method.
    pub route: Symbol,
}

/// Statements and calls of one window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogWindow {
    /// By route.
    pub routes: BTreeMap<ServedRoute, RouteCalls>,
    /// Workloads whose statements came after their calls were counted without them, since the window before.
    pub late: Vec<Node>,
    /// Calls of routes that found no room.
    pub overflowed: u64,
}

/// Calls of one route in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteCalls {
    /// Calls served.
    pub calls: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that made any statement.
    pub speaking: u32,
    /// Calls that made each statement, by its number.
    pub statements: Vec<(u32, u32)>,
    /// Who called, and how often.
    pub callers: Vec<(Node, u32)>,
    /// Some of the calls.
    pub samples: Vec<Sample>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its trace.
    pub trace_id: TraceId,
    /// What it made, in order.
    pub statements: Box<[u32]>,
}

impl LogWindow {
    /// Counts one call. `statements` are sorted, without repetition.
    pub fn count(
        &mut self,
        route: ServedRoute,
        caller: Node,
        trace_id: TraceId,
        failed: bool,
        speaks: bool,
        statements: &[u32],
    ) {
        if self.routes.len() >= ROUTES_MAX && !self.routes.contains_key(&route) {
            self.overflowed += 1;
            return;
        }
        let calls = self.routes.entry(route).or_default();
        calls.calls += 1;
        calls.failed += u32::from(failed);
        calls.speaking += u32::from(speaks);
        for statement in statements {
            match calls.statements.binary_search_by_key(statement, |(known, _)| *known) {
                Ok(at) => calls.statements[at].1 += 1,
                Err(at) if calls.statements.len() < STATEMENTS_MAX => {
                    calls.statements.insert(at, (*statement, 1))
                }
                Err(_) => {}
            }
        }
        match calls.callers.iter().position(|(known, _)| *known == caller) {
            Some(at) => calls.callers[at].1 += 1,
            None if calls.callers.len() < CALLERS_MAX => calls.callers.push((caller, 1)),
            None => {}
        }
        if calls.samples.len() < SAMPLES_MAX {
            calls.samples.push(Sample { trace_id, statements: statements.into() });
        }
    }
}

impl RouteCalls {
    /// Calls that made a statement.
    #[must_use]
    pub fn with(&self, statement: u32) -> u32 {
        let found = self.statements.binary_search_by_key(&statement, |(known, _)| *known);
        found.map_or(0, |at| self.statements[at].1)
    }
}
