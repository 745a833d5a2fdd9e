//! What is known of who reports: what their records carry, which sides speak, and for how long that is remembered.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::time::Duration;

use selvedge_engine::{EngineConfig, Pipeline, RawBatch, ReporterSummary, RuleSet, Sides};
use selvedge_model::{ObservedTime, SignalKind, SteadyTime};
use selvedge_testkit::{RawFrame, Refusal, Request, Traffic, recut, without};

fn pipeline() -> Pipeline {
    Pipeline::new(&EngineConfig::default(), RuleSet::shipped())
}

fn feed(pipeline: &mut Pipeline, frames: &[RawFrame]) {
    let mut effects = Vec::new();
    for frame in frames {
        let encoding = selvedge_engine::Encoding::Protobuf;
        let (observed, steady) = (frame.observed, SteadyTime::recorded(frame.observed));
        let batch = RawBatch { signal: frame.signal, encoding, body: &frame.payload, observed, steady };
        pipeline.ingest(batch, &mut effects).unwrap();
    }
}

fn reporter(pipeline: &Pipeline, name: &str) -> ReporterSummary {
    let known = pipeline.reporters();
    known
        .iter()
        .find(|one| one.workload.workload == name)
        .unwrap_or_else(|| panic!("no {name}: {known:?}"))
        .clone()
}

fn quiet() -> Traffic {
    let mut traffic = Traffic::seeded(3);
    traffic.repeat(200, "web -> cart -> ledger");
    traffic
}

#[test]
fn what_records_carry_is_counted_by_workload_kind_and_side() {
    let mut traffic = quiet();
    traffic.refuse("ledger", "web", Refusal::UnknownIssuer);
    traffic.send(Request::along("cart -> paste.example"));
    traffic.send(Request::along("? -> cart"));
    let mut pipeline = pipeline();
    feed(&mut pipeline, &traffic.frames());
    pipeline.finish(&mut Vec::new());
    let cart = reporter(&pipeline, "cart");
    let logs = cart.brought.access_logs;
    assert_eq!((logs.server.records, logs.client.records), (201, 201));
    let due = "one call came in plaintext, one went out of the mesh: neither has a peer to name";
    assert_eq!((logs.server.identity_due, logs.client.identity_due), (200, 200), "{due}");
    for carried in [logs.server, logs.client] {
        assert_eq!((carried.peer_principal, carried.own_principal), (200, 200));
        assert_eq!((carried.request_id, carried.trace_id), (201, 201));
    }
    assert_eq!(logs.server.tls_version, 200);
    assert_eq!(cart.brought.spans.server.peer_principal, 200);
    assert_eq!(cart.workload.principal, "spiffe://mesh.test/ns/store/sa/cart");
    let both = Sides { both: 200, ..Sides::default() };
    assert_eq!((cart.brought.as_caller, cart.brought.as_callee.both), (both, 200));
    let ledger = reporter(&pipeline, "ledger");
    assert_eq!(ledger.brought.connection_logs, 1);
    assert_eq!(ledger.brought.as_callee, both, "a refused handshake is no call");
    assert!(ledger.heard.is_some() && ledger.brought.delay_min.unwrap() <= Duration::from_secs(1));
    assert_eq!(pipeline.reporters()[0].workload.workload, "cart", "who brings most comes first");
}

#[test]
fn what_is_missing_is_seen_to_be_missing() {
    let less = ["source.principal", "upstream.peer.principal", "http.request_id"];
    let frames = quiet().frames();
    let logs = frames.iter().filter(|frame| frame.signal == SignalKind::Logs);
    let less: Vec<RawFrame> = logs.map(|frame| without(frame, &less)).collect();
    let mut pipeline = pipeline();
    feed(&mut pipeline, &less);
    pipeline.finish(&mut Vec::new());
    let cart = reporter(&pipeline, "cart").brought;
    assert_eq!(cart.spans.server.records, 0);
    for carried in [cart.access_logs.server, cart.access_logs.client] {
        assert_eq!((carried.identity_due, carried.peer_principal), (200, 0));
        assert_eq!((carried.request_id, carried.trace_id), (0, 200));
    }
}

/// Scenario: a callee's proxy says nothing; minutes later it does.
/// Guarantees: the callers' word alone is counted as such, under the name of who does not speak, and forgotten soon after.
#[test]
fn a_side_that_does_not_speak_is_known_by_the_other_one_until_it_does() {
    let mut traffic = quiet();
    let of_ledger = |frame: &RawFrame| frame.payload.windows(8).any(|window| window == b"ledger-0");
    let before: Vec<RawFrame> = traffic.frames().into_iter().filter(|frame| !of_ledger(frame)).collect();
    let mut pipeline = pipeline();
    feed(&mut pipeline, &before);
    traffic = Traffic::seeded(4);
    traffic.wait(Duration::from_mins(6));
    traffic.repeat(200, "web -> cart -> ledger");
    let known = reporter(&pipeline, "ledger");
    assert!(known.heard.is_none());
    assert!(known.brought.as_callee.client_only > 50 && known.brought.as_callee.both == 0, "{known:?}");
    feed(&mut pipeline, &traffic.frames());
    let known = reporter(&pipeline, "ledger");
    assert!(known.heard.is_some() && known.brought.as_callee.client_only > 0, "still remembered");
    traffic = Traffic::seeded(5);
    traffic.wait(Duration::from_mins(20));
    traffic.repeat(200, "web -> cart -> ledger");
    feed(&mut pipeline, &traffic.frames());
    let known = reporter(&pipeline, "ledger").brought.as_callee;
    assert!(known.both > 100 && known.client_only == 0, "{known:?}");
}

#[test]
fn refused_records_are_whose_batch_it_is_and_nobodys_in_a_mixed_one() {
    // A log record without any time, in a batch that came at no time.
    let frames = quiet().frames();
    let of = |name: &[u8]| {
        frames.iter().find(|frame| {
            frame.signal == SignalKind::Logs && frame.payload.windows(name.len()).any(|window| window == name)
        })
    };
    let malformed = |payload: &[u8]| {
        // A second resource whose one scope holds a record that breaks off: field 2, three bytes, of which one is there.
        let record = [0x12, 0x02, 0x0a, 0x7f];
        let mut scope = vec![0x12, 4];
        scope.extend(record);
        let mut payload = payload.to_vec();
        payload.extend([0x0a, 6]);
        payload.extend(scope);
        payload
    };
    let mut pipeline = pipeline();
    let (cart, web) = (of(b"cart-0").unwrap(), of(b"web-0").unwrap());
    let sole = RawFrame { payload: malformed(&cart.payload), ..cart.clone() };
    let mixed = RawFrame { payload: malformed(&[&cart.payload[..], &web.payload].concat()), ..cart.clone() };
    feed(&mut pipeline, &[sole, mixed]);
    let rejected = |name| reporter(&pipeline, name).brought.rejected.total();
    assert_eq!((rejected("cart"), rejected("web"), rejected("")), (1, 0, 1));
}

/// Guarantees: what is shown does not depend on where batches are cut, and a flood of names stays bounded.
#[test]
fn cuts_change_nothing_and_names_without_end_are_bounded() {
    let summary = |frames: &[RawFrame]| {
        let mut pipeline = pipeline();
        feed(&mut pipeline, frames);
        pipeline.finish(&mut Vec::new());
        pipeline
            .reporters()
            .iter()
            .map(|one| format!("{:?} {:?}", one.workload, one.brought))
            .collect::<Vec<_>>()
    };
    let frames = quiet().frames();
    assert_eq!(summary(&frames), summary(&recut(&frames, 1)));
    let mut pipeline = pipeline();
    for number in 0..5_000_u32 {
        let mut traffic = Traffic::seeded(u64::from(number));
        traffic.send(Request::along(&format!("web -> cart{number}")));
        feed(&mut pipeline, &traffic.frames_of(SignalKind::Logs));
    }
    assert!(pipeline.reporters().len() <= 4_096);
    let refused =
        pipeline.stats().overloads.into_iter().find(|one| one.limit == "reporters_counted").unwrap();
    assert!(refused.count > 0 && refused.policy == "keep_known");
}

/// Scenario: somebody invents more names than there is room for, then stops.
/// Guarantees: what finds no room is told while it lasts; minutes later those names make room for who is heard.
#[test]
fn names_that_nobody_uses_any_more_make_room() {
    let mut pipeline = pipeline();
    for number in 0..5_000_u32 {
        let mut traffic = Traffic::seeded(u64::from(number));
        traffic.send(Request::along(&format!("web -> cart{number}")));
        feed(&mut pipeline, &traffic.frames_of(SignalKind::Logs));
    }
    assert!(pipeline.uncounted() > 0 && pipeline.reporters().len() == 4_096);
    let mut traffic = Traffic::seeded(1);
    traffic.wait(Duration::from_mins(20));
    traffic.repeat(50, "courier -> ledger");
    feed(&mut pipeline, &traffic.frames());
    assert_eq!(reporter(&pipeline, "courier").brought.access_logs.client.records, 50);
    assert_eq!((pipeline.uncounted(), pipeline.reporters().len()), (0, 4_096));
    let named = |name: &str| pipeline.reporters().iter().filter(|one| one.workload.workload == name).count();
    assert_eq!((named("courier"), named("ledger")), (1, 1), "each has one place");
}

/// Scenario: a sender's clock is an hour ahead, so that its records are taken as of their arrival.
/// Guarantees: it is seen to be ahead, and how far; its records do not pass for ones that came at once.
#[test]
fn a_clock_that_is_too_far_ahead_to_be_believed_is_known_to_be_ahead() {
    let frames = quiet().frames();
    let early = frames
        .iter()
        .map(|frame| RawFrame { observed: frame.observed.before(Duration::from_hours(1)), ..frame.clone() });
    let mut pipeline = pipeline();
    feed(&mut pipeline, &early.collect::<Vec<_>>());
    for name in ["web", "cart", "ledger"] {
        let brought = reporter(&pipeline, name).brought;
        let ahead = Duration::from_secs(3_590)..=Duration::from_secs(3_600);
        assert!(ahead.contains(&brought.ahead_max) && brought.delay_min.is_none(), "{brought:?}");
    }
}

/// Scenario: a caller's counter counts more requests than its proxy tells of; it had counted some before we first heard of it.
/// Guarantees: what came since its first record is counted as such, and what came before is not.
#[test]
fn requests_that_counters_count_are_known_beside_those_that_are_told() {
    let mut pipeline = pipeline();
    let traffic = quiet();
    feed(&mut pipeline, &traffic.frames());
    let mut effects = Vec::new();
    for (number, total) in [5_000, 5_300, 5_400].into_iter().enumerate() {
        let at = traffic.now().after(Duration::from_secs(5 * number as u64));
        let request = format!(
            r#"{{"resourceMetrics": [{{
                "resource": {{"attributes": [
                    {{"key": "service.name", "value": {{"stringValue": "web"}}}},
                    {{"key": "service.namespace", "value": {{"stringValue": "store"}}}}]}},
                "scopeMetrics": [{{"metrics": [{{"name": "envoy.cluster.upstream_rq_xx", "sum": {{
                    "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{{
                        "startTimeUnixNano": "{start}", "timeUnixNano": "{time}", "asInt": "{total}",
                        "attributes": [
                            {{"key": "envoy.cluster_name", "value": {{"stringValue": "outbound|80||cart"}}}},
                            {{"key": "envoy.response_code_class", "value": {{"stringValue": "2"}}}}]}}]}}}}]}}]}}]}}"#,
            start = traffic.now().before(Duration::from_hours(9)).0,
            time = at.0,
        );
        let observed = ObservedTime(at.0);
        let batch = RawBatch {
            signal: SignalKind::Metrics,
            encoding: selvedge_engine::Encoding::Json,
            body: request.as_bytes(),
            observed,
            steady: SteadyTime::recorded(observed),
        };
        pipeline.ingest(batch, &mut effects).unwrap();
    }
    let web = reporter(&pipeline, "web").brought;
    assert_eq!((web.points, web.requests_counted), (3, 400));
    assert_eq!(web.access_logs.client.records, 200);
}
