//! What a shard promises: who joins whom, when, and that every record has one fate.

use selvedge_model::hash::partition;
use selvedge_model::{
    CallShape, Fate, ForwardedIdentity, IdentitySource, Party, RequestId, Security, SignalKind, SpanId,
    Symbol, TraceId,
};

use super::*;
use crate::testing::{
    CART, Exchange, LEDGER, MILLI, WEB, at_millis, merged, own, picture, verified, without_spans,
};

fn store() -> CallStore {
    CallStore::new(&JoinConfig::default())
}

/// Admits under the given key and checks the ledger.
fn admit(store: &mut CallStore, key: Option<u128>, records: &[Observation]) -> Vec<Admission> {
    records
        .iter()
        .map(|record| {
            let admission = store.admit(key, record, EventTime::ABSENT);
            assert!(store.ledger().balanced(), "after {admission:?}");
            admission
        })
        .collect()
}

fn advance(store: &mut CallStore, millis: u64) -> TickDelta {
    let delta = store.advance(at_millis(millis));
    assert!(store.ledger().balanced());
    delta
}

fn flush(store: &mut CallStore) -> TickDelta {
    let delta = store.flush();
    assert!(store.ledger().balanced());
    assert_eq!(fate(store, Fate::Open), 0);
    assert_eq!(store.groups(), 0);
    delta
}

fn fate(store: &CallStore, fate: Fate) -> u64 {
    SignalKind::ALL.iter().map(|kind| store.ledger().count(*kind, fate)).sum()
}

/// The only call's shape and edge (source, destination).
fn only(delta: TickDelta) -> (CallShape, u32, u32) {
    assert_eq!(delta.calls, 1, "{delta:?}");
    let ((_, key), edge) = &delta.edges[0];
    let shape = *edge.shapes.keys().next().unwrap();
    (shape, key.source.workload.0, key.destination.workload.0)
}

fn exchange() -> Exchange {
    Exchange::new(1, 1, WEB, CART, 1_000)
}

#[test]
fn four_records_of_one_call_become_one_call_and_all_are_joined() {
    let mut store = store();
    let exchange = exchange();
    admit(&mut store, exchange.key(), &exchange.all());
    let delta = advance(&mut store, 1_010);
    let completeness = *delta.completeness.values().next().unwrap();
    assert_eq!((completeness.both, completeness.client_only, completeness.server_only), (1, 0, 0));
    let latency = delta.edges[0].1.latency().quantile(1.0).unwrap();
    assert!((8 * MILLI..10 * MILLI).contains(&latency), "the callee's duration counts: {latency}");
    let (shape, from, to) = only(delta);
    assert_eq!((from, to, shape.reported), (WEB, CART, Reported::Both));
    assert_eq!(shape.source_principal, own(WEB).principal);
    assert_eq!(shape.destination_principal, own(CART).principal);
    assert_eq!(
        (shape.source_identity, shape.security),
        (IdentitySource::MtlsCertificate, Security::MutualTls)
    );
    assert_eq!(fate(&store, Fate::Joined), 4);
    assert_eq!(flush(&mut store).calls, 0);
}

#[test]
fn spans_alone_join_by_parent_at_the_watermark() {
    let mut store = store();
    let exchange = exchange();
    admit(&mut store, exchange.key(), &[exchange.client_span(), exchange.server_span()]);
    assert_eq!(advance(&mut store, 1_009).calls, 0);
    let (shape, ..) = only(advance(&mut store, 1_300));
    assert_eq!(shape.reported, Reported::Both);
    assert_eq!(fate(&store, Fate::Joined), 2);
}

#[test]
fn logs_without_spans_join_by_request_id() {
    for strip in [false, true] {
        let mut store = store();
        let exchange = exchange();
        let logs = [exchange.client_log(), exchange.server_log()];
        let logs = if strip { logs.map(without_spans) } else { logs };
        admit(&mut store, exchange.key(), &logs);
        let (shape, from, to) = only(advance(&mut store, 10));
        assert_eq!((from, to, shape.reported), (WEB, CART, Reported::Both), "complete before the watermark");
        assert_eq!(fate(&store, Fate::Joined), 2);
    }
}

#[test]
fn a_log_without_span_id_joins_its_own_span_and_the_other_side() {
    let mut store = store();
    let exchange = exchange();
    let mut records = exchange.all();
    records[0] = without_spans(records[0]);
    records[2] = without_spans(records[2]);
    admit(&mut store, exchange.key(), &records);
    let (shape, ..) = only(flush(&mut store));
    assert_eq!(shape.reported, Reported::Both);
    assert_eq!(fate(&store, Fate::Joined), 4);
}

#[test]
fn a_chosen_request_id_joins_nobody_whose_identity_disagrees() {
    let mut store = store();
    let exchange = exchange();
    let stolen = Observation { peer: verified(LEDGER), ..exchange.server_log() };
    admit(&mut store, exchange.key(), &[exchange.client_log(), stolen]);
    let delta = flush(&mut store);
    assert_eq!(delta.calls, 2);
    let edges = merged(vec![delta]);
    let pairs: Vec<_> = edges.keys().map(|(_, key)| (key[1], key[3])).collect();
    assert_eq!(pairs, [(WEB, CART), (LEDGER, CART)]);
    assert_eq!(fate(&store, Fate::Unmatched), 2);
}

#[test]
fn a_chosen_parent_span_joins_nobody_whose_identity_disagrees() {
    let mut store = store();
    let exchange = exchange();
    let stolen = Observation { peer: verified(LEDGER), ..exchange.server_span() };
    admit(&mut store, exchange.key(), &[exchange.client_span(), exchange.client_log(), stolen]);
    assert_eq!(flush(&mut store).calls, 2);
}

#[test]
fn an_unknown_caller_with_a_copied_parent_takes_nobodys_place() {
    let mut store = store();
    let exchange = exchange();
    let copy = Observation {
        span_id: SpanId([9; 8]),
        start: at_millis(900),
        peer: Party::default(),
        security: Security::Plaintext,
        ..exchange.server_span()
    };
    admit(&mut store, exchange.key(), &exchange.all());
    admit(&mut store, exchange.key(), &[copy]);
    let delta = flush(&mut store);
    let mut reported: Vec<_> =
        delta.edges.iter().flat_map(|(_, edge)| edge.shapes.keys()).map(|s| s.reported).collect();
    reported.sort();
    assert_eq!(reported, [Reported::Both, Reported::ServerOnly]);
}

#[test]
fn plaintext_at_one_end_and_mutual_tls_at_the_other_are_two_connections() {
    let mut store = store();
    let exchange = exchange();
    let client = Observation { security: Security::MutualTls, ..exchange.client_span() };
    let server =
        Observation { security: Security::Plaintext, peer: Party::default(), ..exchange.server_span() };
    admit(&mut store, exchange.key(), &[client, server]);
    assert_eq!(flush(&mut store).calls, 2);
}

#[test]
fn retries_under_one_view_of_the_caller_are_calls_that_both_sides_reported() {
    let mut store = store();
    let exchange = Exchange { took: 100, ..exchange() };
    let short = Exchange { took: 20, ..exchange };
    let first = Observation { status: 503, ..short.server_span() };
    let second = Observation { span_id: SpanId([8; 8]), ..Exchange { start: 1_050, ..short }.server_span() };
    let second = Observation { parent_span_id: first.parent_span_id, ..second };
    admit(&mut store, exchange.key(), &[exchange.client_span(), first, second]);
    let delta = flush(&mut store);
    let completeness = *delta.completeness.values().next().unwrap();
    assert_eq!((completeness.both, delta.calls), (2, 2));
    assert_eq!(fate(&store, Fate::Joined), 3);
}

#[test]
fn a_retry_that_comes_after_its_caller_was_counted_is_vouched_for() {
    let mut store = store();
    let exchange = Exchange { took: 100, ..exchange() };
    admit(&mut store, exchange.key(), &exchange.all());
    assert_eq!(advance(&mut store, 10).calls, 1);
    let retry = Observation { span_id: SpanId([8; 8]), start: at_millis(1_050), ..exchange.server_span() };
    admit(&mut store, exchange.key(), &[retry]);
    let (shape, ..) = only(advance(&mut store, 1_400));
    assert_eq!(shape.reported, Reported::Both);
    assert_eq!(fate(&store, Fate::Joined), 5);
}

#[test]
fn a_trace_with_many_calls_keeps_them_apart() {
    let mut store = store();
    let outer = Exchange { took: 500, ..Exchange::new(1, 1, WEB, CART, 1_000) };
    let inner: Vec<_> =
        (2..8).map(|number| Exchange::new(1, number, CART, LEDGER, 1_000 + u64::from(number) * 20)).collect();
    for exchange in inner.iter().chain([&outer]) {
        admit(&mut store, outer.key(), &exchange.all());
    }
    let delta = flush(&mut store);
    assert_eq!(delta.calls, 7);
    assert!(delta.completeness.values().all(|counts| counts.client_only + counts.server_only == 0));
    assert_eq!(fate(&store, Fate::Joined), 28);
}

#[test]
fn the_same_request_id_over_a_chain_pairs_each_hop_with_its_own_mate() {
    let mut store = store();
    let outer = Exchange { took: 500, ..Exchange::new(1, 1, WEB, CART, 1_000) };
    let inner = Exchange::new(1, 2, CART, LEDGER, 1_100);
    let logs = [outer.client_log(), outer.server_log(), inner.client_log(), inner.server_log()];
    admit(&mut store, outer.key(), &logs.map(without_spans));
    let delta = flush(&mut store);
    assert_eq!(delta.calls, 2);
    assert!(delta.completeness.values().all(|counts| counts.both == 1));
}

#[test]
fn both_access_logs_complete_a_call_before_the_watermark_and_late_spans_join_it() {
    let mut store = store();
    let exchange = exchange();
    admit(&mut store, exchange.key(), &[exchange.client_log(), exchange.server_log()]);
    assert_eq!(advance(&mut store, 100).calls, 1);
    admit(&mut store, exchange.key(), &[exchange.client_span(), exchange.server_span()]);
    assert_eq!(advance(&mut store, 2_000).calls, 0);
    assert_eq!(fate(&store, Fate::Joined), 4);
    assert_eq!(flush(&mut store).calls, 0);
}

#[test]
fn one_side_alone_is_a_call_once_the_other_had_its_time() {
    let exchange = exchange();
    for (record, reported) in
        [(exchange.client_log(), Reported::ClientOnly), (exchange.server_log(), Reported::ServerOnly)]
    {
        let mut store = store();
        admit(&mut store, exchange.key(), &[record]);
        assert_eq!(advance(&mut store, 1_300).calls, 0);
        let (shape, from, to) = only(advance(&mut store, 1_510));
        assert_eq!((shape.reported, from, to), (reported, WEB, CART));
        assert_eq!(fate(&store, Fate::Unmatched), 1);
    }
}

#[test]
fn a_late_other_side_joins_the_counted_call_and_is_not_counted_again() {
    let exchange = exchange();
    let halves = [
        ([exchange.server_span(), exchange.server_log()], [exchange.client_log(), exchange.client_span()]),
        ([exchange.client_span(), exchange.client_log()], [exchange.server_log(), exchange.server_span()]),
    ];
    for (early, late) in halves {
        for strip in [false, true] {
            let mut store = store();
            let strip = |records: [Observation; 2]| if strip { records.map(without_spans) } else { records };
            admit(&mut store, exchange.key(), &strip(early));
            assert_eq!(advance(&mut store, 2_000).calls, 1);
            admit(&mut store, exchange.key(), &strip(late));
            assert_eq!(advance(&mut store, 9_000).calls, 0);
            assert_eq!(fate(&store, Fate::Joined), 4);
        }
    }
}

#[test]
fn a_record_sent_twice_is_joined_to_itself_and_counted_once() {
    let mut store = store();
    let exchange = exchange();
    admit(&mut store, exchange.key(), &[exchange.server_log(), exchange.server_log(), exchange.server_log()]);
    let (shape, ..) = only(advance(&mut store, 5_000));
    assert_eq!(shape.reported, Reported::ServerOnly);
    assert_eq!((fate(&store, Fate::Joined), fate(&store, Fate::Unmatched)), (2, 1));
    admit(&mut store, exchange.key(), &[exchange.server_log()]);
    assert_eq!(advance(&mut store, 6_000).calls, 0);
    assert_eq!(fate(&store, Fate::Joined), 3);
}

#[test]
fn a_reused_span_id_with_another_reporter_or_time_is_another_call() {
    let exchange = exchange();
    let elsewhere = Observation { reporter: own(LEDGER), ..exchange.server_log() };
    let another_time = Exchange { start: 9_000, ..exchange }.server_log();
    for contradiction in [elsewhere, another_time] {
        let mut store = store();
        admit(&mut store, exchange.key(), &[exchange.server_log(), contradiction]);
        assert_eq!(flush(&mut store).calls, 2);
    }
}

#[test]
fn an_applications_span_inside_its_proxys_is_the_same_call() {
    let mut store = store();
    let exchange = exchange();
    let application_server = Observation {
        span_id: SpanId([5; 8]),
        parent_span_id: exchange.server_span().span_id,
        ..exchange.server_span()
    };
    let application_client = Observation {
        span_id: exchange.client_span().parent_span_id,
        parent_span_id: SpanId([4; 8]),
        ..exchange.client_span()
    };
    admit(&mut store, exchange.key(), &[application_server, application_client]);
    admit(&mut store, exchange.key(), &exchange.all());
    let (shape, from, to) = only(flush(&mut store));
    assert_eq!((shape.reported, from, to), (Reported::Both, WEB, CART));
    assert_eq!(fate(&store, Fate::Joined), 6);
}

#[test]
fn an_applications_span_that_comes_later_joins_the_counted_call() {
    let mut store = store();
    let exchange = exchange();
    admit(&mut store, exchange.key(), &exchange.all());
    advance(&mut store, 4_000);
    let inner = Observation {
        span_id: SpanId([5; 8]),
        parent_span_id: exchange.server_span().span_id,
        ..exchange.server_span()
    };
    let outer = Observation { span_id: exchange.client_span().parent_span_id, ..exchange.client_span() };
    admit(&mut store, exchange.key(), &[inner, outer]);
    assert_eq!(flush(&mut store).calls, 0);
    assert_eq!(fate(&store, Fate::Joined), 6);
}

#[test]
fn a_span_directly_under_another_workloads_names_its_caller() {
    let mut store = store();
    let outer = Exchange { took: 500, ..exchange() };
    let inner = Exchange::new(1, 2, CART, LEDGER, 1_100);
    let orphan = Observation {
        parent_span_id: outer.server_span().span_id,
        peer: Party::default(),
        security: Security::Unknown,
        ..inner.server_span()
    };
    admit(&mut store, outer.key(), &[outer.server_span(), orphan]);
    let edges = merged(vec![flush(&mut store)]);
    let (key, edge) = edges.iter().find(|((_, key), _)| key[3] == LEDGER).unwrap();
    assert_eq!(key.1[1], CART);
    assert_eq!(edge.shapes.keys().next().unwrap().source_identity, IdentitySource::ParentSpan);
}

#[test]
fn a_failed_handshake_is_a_call_of_nobody() {
    let mut store = store();
    let refused = Observation {
        kind: ObservationKind::ConnectionLog,
        side: Side::Server,
        start: at_millis(500),
        end: at_millis(503),
        reporter: own(CART),
        handshake_failure: Symbol(70),
        claimed_principal: verified(WEB).principal,
        grpc_status: -1,
        ..Observation::default()
    };
    assert_eq!(admit(&mut store, None, &[refused]), [Admission::Settled(Fate::Unmatched)]);
    let (shape, from, to) = only(advance(&mut store, 100));
    assert_eq!((from, to), (0, CART));
    assert_eq!((shape.source_principal, shape.claimed_principal), (Symbol::NONE, verified(WEB).principal));
    assert_eq!((shape.handshake_failure, shape.source_identity), (Symbol(70), IdentitySource::None));
}

#[test]
fn a_connection_that_closed_normally_is_no_call() {
    let mut store = store();
    let closed = Observation { kind: ObservationKind::ConnectionLog, ..exchange().server_log() };
    admit(&mut store, exchange().key(), &[closed]);
    assert_eq!(flush(&mut store).calls, 0);
    assert_eq!(fate(&store, Fate::Unmatched), 1);
}

#[test]
fn a_log_without_any_id_is_a_call_of_its_own() {
    let mut store = store();
    let record =
        Observation { trace_id: TraceId::default(), request_id: RequestId(0), ..exchange().server_log() };
    admit(&mut store, None, &[without_spans(record)]);
    let (shape, from, to) = only(advance(&mut store, 0));
    assert_eq!((shape.reported, from, to), (Reported::ServerOnly, WEB, CART));
}

#[test]
fn internal_spans_and_logs_belong_to_the_call_of_their_trace_or_to_nothing() {
    let exchange = exchange();
    let internal = Observation { side: Side::Internal, ..exchange.client_span() };
    let note =
        Observation { kind: ObservationKind::ApplicationLog, side: Side::Internal, ..exchange.client_log() };
    let mut with_call = store();
    admit(&mut with_call, exchange.key(), &[internal, note]);
    admit(&mut with_call, exchange.key(), &[exchange.server_log(), exchange.client_log()]);
    assert_eq!(fate(&with_call, Fate::Joined), 2);
    advance(&mut with_call, 2_000);
    assert_eq!(admit(&mut with_call, exchange.key(), &[note]), [Admission::Settled(Fate::Joined)]);
    let mut alone = store();
    admit(&mut alone, exchange.key(), &[internal, note]);
    advance(&mut alone, 30_000);
    assert_eq!(fate(&alone, Fate::Open), 2, "the call's span may still come");
    advance(&mut alone, 31_500);
    assert_eq!((fate(&alone, Fate::Unmatched), alone.groups()), (2, 0));
    admit(&mut alone, None, &[note]);
    assert_eq!(flush(&mut alone).calls, 0);
}

#[test]
fn the_callees_log_speaks_before_spans() {
    let mut store = store();
    let exchange = exchange();
    let server_log =
        Observation { status: 500, forwarded: ForwardedIdentity::Contradicts, ..exchange.server_log() };
    let mut records = exchange.all();
    records[2] = server_log;
    records[1].tls_version = Symbol(60);
    admit(&mut store, exchange.key(), &records);
    let (shape, ..) = only(flush(&mut store));
    assert_eq!((shape.status, shape.forwarded), (500, ForwardedIdentity::Contradicts));
    assert_eq!(shape.tls_version, Symbol(60), "what the callee does not say, the caller may");
}

#[test]
fn a_call_that_left_the_mesh_is_external_unless_somebody_inside_answered() {
    let exchange = exchange();
    let outside =
        Party { workload: Symbol(300), source: IdentitySource::Header, external: true, ..Party::default() };
    let client = Observation { peer: outside, ..exchange.client_span() };
    let mut store = store();
    admit(&mut store, exchange.key(), &[client]);
    let delta = flush(&mut store);
    assert!(delta.edges[0].0.1.external);
    assert_eq!(delta.edges[0].1.arrivals, [at_millis(1_000)]);
    admit(&mut store, exchange.key(), &[client, exchange.server_span()]);
    let delta = flush(&mut store);
    assert!(!delta.edges[0].0.1.external);
    assert_eq!(only(delta).2, CART);
}

/// Guarantees: where no log will come, both sides' spans are a call at once; before that is known, they wait.
#[test]
fn spans_that_are_last_words_complete_a_call_before_the_watermark() {
    let exchange = exchange();
    let last_word = |record: Observation| Observation { last_word: true, ..record };
    for (is_last, open) in [(false, 2), (true, 0)] {
        let mut store = store();
        let word = |record| if is_last { last_word(record) } else { record };
        admit(&mut store, exchange.key(), &[word(exchange.client_span()), word(exchange.server_span())]);
        store.settle_touched();
        assert_eq!(fate(&store, Fate::Open), open);
        assert_eq!(advance(&mut store, 0).calls, u64::from(is_last));
    }
}

/// Guarantees: a link by span id that nobody confirms is enough before the watermark only where the callee cannot tell
/// who called; one that names somebody else may still find its owner.
#[test]
fn an_unconfirmed_link_waits_for_the_watermark_unless_the_callee_names_nobody() {
    let exchange = exchange();
    let named = Party { source: IdentitySource::Header, workload: Symbol(999), ..Party::default() };
    for (peer, open) in [(Party::default(), 0), (named, 2)] {
        let client = Observation { last_word: true, ..exchange.client_span() };
        let server = Observation { last_word: true, peer, ..exchange.server_span() };
        let mut store = store();
        admit(&mut store, exchange.key(), &[client, server]);
        store.settle_touched();
        assert_eq!(fate(&store, Fate::Open), open, "{peer:?}");
        flush(&mut store);
    }
}

#[path = "store_bounds_tests.rs"]
mod bounds;
