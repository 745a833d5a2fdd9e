//! Which calls were made for whom.

use selvedge_model::{
    CallPath, EventTime, FirstOnPath, IdentitySource, Observation, ObservationKind, PathStats, Side, Symbol,
};

use crate::delta::Tally;
use crate::testing::{CART, Exchange, LEDGER, WEB, at_millis, own, without_spans};
use crate::{CallStore, JoinConfig, TickDelta};

const STOCK: u32 = 104;

/// A call to the cart, and one from there to the ledger within it, as its child.
fn chain() -> [Exchange; 2] {
    let outer = Exchange { took: 20, ..Exchange::new(1, 1, WEB, CART, 1_000) };
    [outer, Exchange::new(1, 2, CART, LEDGER, 1_005)]
}

fn child_of(parent: &Exchange, records: [Observation; 4]) -> [Observation; 4] {
    let parent = parent.server_span().span_id;
    records.map(|record| match record.kind == ObservationKind::Span && record.side == Side::Client {
        true => Observation { parent_span_id: parent, ..record },
        false => record,
    })
}

/// What a store counts of records that come in this order, with a tick after each group of them.
fn counted(groups: &[&[Observation]]) -> Vec<(CallPath, PathStats)> {
    let mut store = CallStore::new(&JoinConfig::default());
    let mut deltas: Vec<TickDelta> = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        for record in *group {
            store.admit(chain()[0].key(), record, EventTime::ABSENT);
        }
        deltas.push(store.advance(at_millis(1_100 + 6_000 * at as u64)));
    }
    deltas.push(store.flush());
    deltas.into_iter().flat_map(|delta| delta.paths).map(|((_, path), stats)| (path, stats)).collect()
}

fn names(path: &CallPath) -> [Symbol; 3] {
    [path.edge.source.workload, path.edge.destination.workload, path.onward.workload]
}

/// Scenario: a call within another, the inner one told first, last or at the same time; as spans, or as logs without spans.
/// Guarantees: one way, counted once, with who called.
#[test]
fn a_call_that_was_made_while_another_was_served_is_one_way() {
    let [outer, inner] = chain();
    let (outer_all, inner_all) = (outer.all(), child_of(&outer, inner.all()));
    let bare = |records: [Observation; 4]| records.map(without_spans);
    for (outer_all, inner_all) in [(outer_all, inner_all), (bare(outer_all), bare(inner_all))] {
        let together = [&outer_all[..], &inner_all[..]].concat();
        for groups in
            [vec![&inner_all[..], &outer_all[..]], vec![&outer_all[..], &inner_all[..]], vec![&together[..]]]
        {
            let paths = counted(&groups);
            assert_eq!(paths.len(), 1, "{paths:?}");
            let (path, stats) = &paths[0];
            assert_eq!(names(path), [Symbol(WEB), Symbol(CART), Symbol(LEDGER)]);
            assert_eq!((stats.calls, stats.first.start), (1, at_millis(1_000)));
            assert_eq!(
                (stats.first.principal, stats.first.trace_id),
                (own(WEB).principal, outer.client_log().trace_id)
            );
            assert_eq!(stats.first.identity, IdentitySource::MtlsCertificate);
        }
    }
}

/// Scenario: two callers are served by the same workload at the same time, in one request; each call onward names its parent.
/// Guarantees: each belongs to its parent, whatever the times say.
#[test]
fn a_parent_that_is_named_is_believed_before_times() {
    let [outer, inner] = chain();
    let other = Exchange { took: 40, ..Exchange::new(1, 3, STOCK, CART, 990) };
    let records = [outer.all(), other.all(), child_of(&outer, inner.all())].concat();
    let paths = counted(&[&records]);
    assert_eq!(paths.iter().map(|(path, _)| names(path)[0]).collect::<Vec<_>>(), [Symbol(WEB)]);
}

/// Scenario: a call of the same workload after the other was answered, or one to a host outside.
/// Guarantees: neither is a way of it.
#[test]
fn what_comes_after_the_answer_or_leaves_the_mesh_is_no_way() {
    let [outer, _] = chain();
    let later = Exchange::new(1, 2, CART, LEDGER, 1_030);
    assert!(counted(&[&[outer.all(), later.all()].concat()]).is_empty());
    let mut outside = chain()[1].client_log();
    outside.peer.external = true;
    assert!(counted(&[&outer.all(), &[outside]]).is_empty());
}

/// Scenario: far more ways than are counted apart.
/// Guarantees: the smallest are kept whole, and every call is kept or counted as dropped.
#[test]
fn ways_are_bounded() {
    let config = JoinConfig { tick_edges_max: 50, ..JoinConfig::default() };
    let mut tally = Tally::new(&config);
    let path = |number| {
        let mut path = CallPath::default();
        path.onward.workload = Symbol(number);
        path
    };
    for number in (0..1_000).chain(0..1_000) {
        tally.pass(path(number * 7_919 % 1_000), FirstOnPath::default(), at_millis(1));
    }
    let delta = tally.take();
    assert_eq!(delta.paths.len(), 50);
    assert!(delta.paths.iter().all(|((_, path), stats)| path.onward.workload.0 < 50 && stats.calls == 2));
    assert_eq!(delta.paths_dropped, 1_900);
}
