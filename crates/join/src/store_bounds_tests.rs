//! Tests of what a store holds at most and for how long, of flushing, and of its properties whatever the order of arrival.

use super::*;

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
