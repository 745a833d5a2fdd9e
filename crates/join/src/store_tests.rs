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
fn stubs_are_forgotten_after_the_allowed_lateness() {
    let mut store = store();
    let exchange = exchange();
    admit(&mut store, exchange.key(), &exchange.all());
    advance(&mut store, 20_000);
    assert_eq!(store.groups(), 1);
    advance(&mut store, 31_600);
    assert_eq!((store.groups(), store.bytes()), (0, 0));
}

#[test]
fn a_record_past_the_allowed_lateness_is_late_and_counts_nowhere() {
    let mut store = store();
    let exchange = exchange();
    advance(&mut store, 31_011);
    let admissions = admit(&mut store, exchange.key(), &[exchange.client_log()]);
    assert_eq!(admissions, [Admission::Late { by: Duration::from_millis(1) }]);
    assert_eq!(fate(&store, Fate::Late), 1);
    assert_eq!(flush(&mut store).calls, 0);
}

#[test]
fn a_late_call_is_counted_into_a_window_that_is_still_open() {
    let mut store = store();
    let exchange = exchange();
    advance(&mut store, 20_000);
    admit(&mut store, exchange.key(), &exchange.all());
    let delta = advance(&mut store, 21_000);
    assert_eq!(delta.calls, 1);
    assert_eq!(delta.edges[0].0.0.start, at_millis(20_000));
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

/// Evicts as the owner of the stores does.
fn make_room(store: &mut CallStore, bytes_max: usize) {
    store.settle_touched();
    while store.bytes() > bytes_max {
        let oldest = store.pressure().oldest.unwrap();
        (0..CallStore::SLICES).for_each(|slice| store.make_room(oldest, slice));
        assert_ne!(store.pressure().oldest, Some(oldest), "every round goes on");
    }
}

#[test]
fn past_its_budget_a_store_forgets_stubs_first_and_then_evicts_the_oldest_groups() {
    let mut store = CallStore::new(&JoinConfig::default());
    let counted = exchange();
    admit(&mut store, counted.key(), &counted.all());
    advance(&mut store, 100);
    for number in 0..200_u64 {
        let exchange = Exchange::new(9, 1, WEB, CART, 2_000 + number * 300);
        let before = store.bytes();
        let spans = [exchange.client_span(), exchange.server_span()];
        admit(&mut store, Some(u128::from(number) + 1), &spans);
        assert!(store.bytes() - before <= 4 * CallStore::RECORD_BYTES_MAX);
        if number == 0 {
            store.settle_touched();
            let stubs = store.pressure().oldest;
            assert!(matches!(stubs, Some(Oldest::Stubs(_))));
            let all_but_a_byte = store.bytes() - 1;
            make_room(&mut store, all_but_a_byte);
            assert_eq!((fate(&store, Fate::Evicted), store.groups()), (0, 1));
        }
        make_room(&mut store, 64 << 10);
    }
    assert!(fate(&store, Fate::Evicted) > 100);
    let newest = advance(&mut store, 200_000);
    let last = merged(vec![newest]).into_iter().next_back().unwrap();
    assert_eq!(last.0.0.start, at_millis(60_000), "the newest are kept");
    flush(&mut store);
}

#[test]
fn a_group_that_is_full_refuses_more_and_harms_no_other() {
    let mut store = CallStore::new(&JoinConfig { group_records_max: 8, ..JoinConfig::default() });
    let exchange = exchange();
    for number in 0..20 {
        admit(&mut store, exchange.key(), &[Exchange { number, ..exchange }.server_log()]);
    }
    assert_eq!(fate(&store, Fate::Evicted), 12);
    assert_eq!(admit(&mut store, exchange.key(), &[exchange.client_log()]), [Admission::GroupFull]);
    assert_eq!(admit(&mut store, Some(5), &[exchange.server_log()]), [Admission::Admitted]);
    assert_eq!(flush(&mut store).calls, 9);
}

#[test]
fn after_a_flush_time_may_start_earlier() {
    let mut store = store();
    advance(&mut store, 500_000);
    flush(&mut store);
    let exchange = exchange();
    admit(&mut store, exchange.key(), &exchange.all());
    let delta = advance(&mut store, 2_000);
    assert_eq!(delta.edges[0].0.0.start, at_millis(0));
    assert_eq!(fate(&store, Fate::Late), 0);
}

#[test]
fn a_hostile_trace_of_one_repeated_id_is_settled_within_its_bounds() {
    let mut store = store();
    let exchange = exchange();
    for number in 0..4_096_u32 {
        let record = Observation {
            start: EventTime(at_millis(0).0 + u64::from(number)),
            end: at_millis(5_000),
            reporter: own(200 + number),
            ..if number % 2 == 0 { exchange.server_span() } else { exchange.client_span() }
        };
        assert_eq!(admit(&mut store, exchange.key(), &[record]), [Admission::Admitted]);
    }
    assert!(advance(&mut store, 10_000).calls >= 2_048);
    flush(&mut store);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Traffic with missing, doubled and contradicting records, over few traces, workloads and seconds.
    fn traffic() -> impl Strategy<Value = Vec<(u8, Observation)>> {
        let exchange = (1..4_u8, 0..5_u8, 101..104_u32, 101..104_u32, 0..8_000_u64, 5..900_u64);
        let record = (0..4_usize, 0..6_u8, any::<bool>());
        let records = (exchange, prop::collection::vec(record, 1..8)).prop_map(|(exchange, records)| {
            let (trace, number, from, to, start, took) = exchange;
            let exchange = Exchange { took, ..Exchange::new(trace, number, from, to, start) };
            let pick = move |(which, twist, strip): (usize, u8, bool)| {
                let mut record = exchange.all()[which];
                match twist {
                    0 => record.peer = Party::default(),
                    1 => record.status = 503,
                    2 => record.side = Side::Internal,
                    _ => {}
                }
                (trace, if strip { without_spans(record) } else { record })
            };
            records.into_iter().map(pick).collect::<Vec<_>>()
        });
        prop::collection::vec(records, 1..12).prop_map(|all| all.into_iter().flatten().collect())
    }

    /// Runs the records through `shards` stores, a tick after each part.
    fn run(parts: &[Vec<(u8, Observation)>], shards: usize) -> (Vec<String>, FateLedger) {
        let mut stores: Vec<_> = (0..shards).map(|_| CallStore::new(&JoinConfig::default())).collect();
        let mut deltas = Vec::new();
        for (tick, part) in parts.iter().enumerate() {
            for (trace, record) in part {
                let key = u128::from(*trace);
                admit(&mut stores[partition(key, shards)], Some(key), &[*record]);
            }
            let watermark = at_millis(1_000 * (tick as u64 + 1));
            deltas.extend(stores.iter_mut().map(|store| store.advance(watermark)));
        }
        deltas.extend(stores.iter_mut().map(flush));
        let mut ledger = FateLedger::default();
        stores.iter().for_each(|store| ledger.merge(store.ledger()));
        assert!(ledger.balanced());
        (picture(deltas), ledger)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arrival_order_between_ticks_changes_nothing(
            (records, shuffled) in traffic().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
        ) {
            prop_assert_eq!(run(&[records], 1), run(&[shuffled], 1));
        }

        #[test]
        fn arrival_order_inside_each_of_several_ticks_changes_nothing(
            (first, first_shuffled) in traffic().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
            (second, second_shuffled) in traffic().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            prop_assert_eq!(run(&[first, second], 1), run(&[first_shuffled, second_shuffled], 1));
        }

        #[test]
        fn the_number_of_shards_changes_nothing(first in traffic(), second in traffic()) {
            let parts = [first, second];
            let one = run(&parts, 1);
            prop_assert_eq!(&one, &run(&parts, 2));
            prop_assert_eq!(&one, &run(&parts, 8));
        }
    }
}
