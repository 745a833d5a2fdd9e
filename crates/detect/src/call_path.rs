//! Ways of requests that were never taken: lateral movement over edges that all exist shows in nothing else.
//!
//! A way is news only where its absence meant something: calls of its first edge were many enough that some would have gone
//! on over the second, if the workload in between treated all callers alike.

use selvedge_learn::{EdgeBaseline, RouteKey};
use selvedge_model::{
    CallPath, EdgeKey, Exemplar, Finding, FindingKind, Node, PathStats, SpanId, Symbol, Window,
};

use crate::case::Context;
use crate::detector::{Detector, sorted};
use crate::draft::Draft;
use crate::parameters::NewCallPath;
use crate::rules::RuleSet;

/// A way that was taken in a window, for the first time in it.
#[derive(Clone, Copy)]
pub struct PathSighting<'a> {
    /// The way.
    pub path: CallPath,
    /// Window.
    pub window: Window,
    /// How often so far, and when first.
    pub stats: &'a PathStats,
}

impl Detector {
    /// Judges ways that were taken for the first time in their window; they come in any order.
    pub fn judge_paths<'a>(
        &mut self,
        cx: &Context<'_>,
        sightings: impl Iterator<Item = PathSighting<'a>>,
    ) -> Vec<Finding> {
        if cx.learning {
            return Vec::new();
        }
        let judged = |sighting: PathSighting<'_>| {
            let draft = judge(cx, self.rules(), &sighting)?;
            Some((sighting.window, sighting.path, draft))
        };
        let mut news: Vec<(Window, CallPath, Draft)> = sightings.filter_map(judged).collect();
        // Few ways are news, so only those are put in the order of names.
        news.sort_by_cached_key(|(window, path, _)| (*window, names(cx, path)));
        let mut findings = Vec::new();
        for (window, path, draft) in news {
            let finding = self.tell(cx, window, path.edge, draft);
            findings.extend(self.tell_news(cx, window, path.edge, finding, true));
        }
        sorted(findings)
    }
}

/// What is new about a way that was taken, if anything is.
fn judge(cx: &Context<'_>, rules: &RuleSet, sighting: &PathSighting<'_>) -> Option<Draft> {
    let rule = rules.new_call_path()?;
    let PathSighting { path, stats, .. } = sighting;
    let known = Known::of(cx, path)?;
    let expected = known.expected_calls();
    if !known.told_of(rule)
        || expected < rule.expected_calls_min.0
        || known.first.onward.knows(known.route, path.onward, cx.now)
    {
        return None;
    }
    let (caller, via, callee) =
        (cx.node(&path.edge.source), cx.node(&path.edge.destination), cx.node(&path.onward));
    let mut draft = Draft::new(FindingKind::NewCallPath, stats.first.start)
        .subject(&callee)
        .note(
            "route",
            format!("{} {}", cx.symbols.resolve(path.method), cx.symbols.resolve(path.route)).trim(),
        )
        .summary(format!(
            "A request of {caller} went on from {via} to {callee}, where such requests never went"
        ))
        .fact("calls_onward", stats.calls, 0)
        .note("calls_expected_on_the_way_so_far", &expected.to_string())
        .note("source_identity", stats.first.identity.name())
        .raise_if(leaves(cx, path), "it leads to a namespace or cluster that the caller never reached")
        .lower_if(
            known.first.onward.known(cx.now).any(|node| *node == path.onward),
            1,
            "other routes of the caller take it",
        )
        .lower_if(taken_by_sibling(cx, path), 1, "the same workload of another cluster takes it");
    draft.exemplars = vec![Exemplar {
        start: stats.first.start,
        trace_id: stats.first.trace_id,
        span_id: SpanId::default(),
    }];
    (draft.source_principal, draft.source_identity) = (stats.first.principal, stats.first.identity);
    Some(draft)
}

/// A way in words, for an order that does not depend on when names became known.
fn names(cx: &Context<'_>, path: &CallPath) -> ([String; 12], [String; 2]) {
    let edges = [path.edge.names(cx.symbols), path.second().names(cx.symbols)].concat();
    let edges = std::array::from_fn(|at| edges[at].to_owned());
    (edges, [path.method, path.route].map(|symbol| cx.symbols.resolve(symbol).to_owned()))
}

/// What is known of both edges of a way.
struct Known<'a> {
    first: &'a EdgeBaseline,
    second: &'a EdgeBaseline,
    route: RouteKey,
    /// Calls of the route over the first.
    calls: u64,
    /// Calls of anybody to the workload in between.
    calls_via: u64,
}

impl<'a> Known<'a> {
    /// `None` where an edge or the route is not known: then that is the news; or where names found no room.
    fn of(cx: &Context<'a>, path: &CallPath) -> Option<Self> {
        let (first, second) = (cx.baselines.edge(&path.edge)?, cx.baselines.edge(&path.second())?);
        let route = RouteKey { method: path.method, route: path.route };
        let calls = if path.route.present() { first.route(route)?.calls } else { first.calls };
        let via = cx.baselines.mesh().destination(&path.edge.destination)?;
        let pooled = [path.edge.source, path.edge.destination, path.onward]
            .iter()
            .any(|node| node.workload == Symbol::OVERFLOW);
        (cx.baselines.mesh().warm() && !pooled && !first.onward.full()).then_some(Self {
            first,
            second,
            route,
            calls,
            calls_via: via.calls,
        })
    }

    /// True when it is told for whom calls of the second edge are made.
    #[expect(clippy::cast_precision_loss, reason = "windows stay far below 2^52")]
    fn told_of(&self, rule: &NewCallPath) -> bool {
        let (driven, windows) = (self.second.driven_windows, self.second.requests.windows);
        driven >= rule.windows_min.0 && driven as f64 >= windows as f64 * rule.driven_share_min.0
    }

    /// Calls onward that those of the route would have made so far, if the workload in between made as many for each.
    fn expected_calls(&self) -> u64 {
        let calls = u128::from(self.calls) * u128::from(self.second.calls);
        u64::try_from(calls / u128::from(self.calls_via.max(1))).unwrap_or(u64::MAX)
    }
}

/// True when the caller reached nothing in the place where the way ends, directly or by one other.
fn leaves(cx: &Context<'_>, path: &CallPath) -> bool {
    let place = |node: &Node| (node.cluster, node.namespace);
    let (from, to) = (path.edge.source, place(&path.onward));
    if !path.onward.namespace.present() || place(&from) == to {
        return false;
    }
    let Some(source) = cx.baselines.mesh().source(&from) else { return true };
    let reaches = |callee: Node| {
        let key = EdgeKey { source: from, destination: callee, external: false };
        let further = cx
            .baselines
            .edge(&key)
            .is_some_and(|edge| edge.onward.known(cx.now).any(|node| place(node) == to));
        place(&callee) == to || further
    };
    !source.callees.iter().any(|(callee, _)| reaches(callee))
}

/// True when workloads of the same names in another cluster are known to take the way.
fn taken_by_sibling(cx: &Context<'_>, path: &CallPath) -> bool {
    let same =
        |left: &Node, right: &Node| (left.namespace, left.workload) == (right.namespace, right.workload);
    let from = path.edge.source;
    let others = cx.baselines.mesh().sources_named(from.workload);
    others.filter(|other| same(other, &from) && **other != from).any(|other| {
        let Some(source) = cx.baselines.mesh().source(other) else { return false };
        source.callees.iter().filter(|(callee, _)| same(callee, &path.edge.destination)).any(|(callee, _)| {
            let key = EdgeKey { source: *other, destination: callee, external: false };
            let edge = cx.baselines.edge(&key);
            edge.is_some_and(|edge| edge.onward.known(cx.now).any(|node| same(node, &path.onward)))
        })
    })
}
