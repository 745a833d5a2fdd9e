//! Matching of cuts against calls, backtests over them, and the store of recent traffic.

mod common;

use common::{ONSET, SECOND, at, bare, end, plaintext, principal, row, row_with};
use selvedge_model::{
    CallShape, Caller, Cut, EdgeKey, EdgeWindow, Endpoint, EventTime, IdentitySource, Node, Operation, Place,
    Reported, Security, ShapeStats, Symbol, SymbolTable, Window,
};
use selvedge_policy::{
    Evaluator, Recent, RecentConfig, Scope, TrafficRow, Truth, authenticated, backtest, backtest_cuts,
    matches,
};

fn cut(caller: Caller, operations: &[(&str, &str)]) -> Cut {
    let operation =
        |(method, route): &(&str, &str)| Operation { method: (*method).into(), route: (*route).into() };
    Cut {
        place: Place::Inbound,
        workload: end("store/ledger"),
        caller,
        hosts: Vec::new(),
        operations: operations.iter().map(operation).collect(),
    }
}

fn courier() -> Caller {
    Caller::Principal(principal("yard", "courier"))
}

#[test]
fn a_principal_is_matched_exactly_as_the_proxy_would() {
    let cut = cut(courier(), &[]);
    let call = row("yard/courier", "store/ledger", "GET", "/entries", 1);
    let unsaid = |authenticated| {
        row_with(call.clone(), |row| {
            row.source.principal.clear();
            row.authenticated = authenticated;
        })
    };
    for (row, expected) in [
        (call.clone(), Truth::Yes),
        (row("store/scribe", "store/ledger", "GET", "/entries", 1), Truth::No),
        (row("yard/courier", "store/cart", "GET", "/entries", 1), Truth::No),
        (plaintext("store/ledger", "/entries", 1), Truth::No),
        (unsaid(None), Truth::Unknown),
        (unsaid(Some(true)), Truth::Unknown),
        (row_with(call.clone(), |row| row.external = true), Truth::No),
    ] {
        assert_eq!(matches(&cut, &row), expected, "{row:?}");
    }
}

#[test]
fn the_unidentified_are_those_who_are_recorded_as_that() {
    let cut = cut(Caller::Unauthenticated, &[]);
    for (authenticated, expected) in
        [(Some(false), Truth::Yes), (Some(true), Truth::No), (None, Truth::Unknown)]
    {
        let row = row_with(plaintext("store/ledger", "/entries", 1), |row| row.authenticated = authenticated);
        assert_eq!(matches(&cut, &row), expected);
    }
}

#[test]
fn operations_match_method_and_template() {
    for (method, route, seen_method, seen, expected) in [
        ("GET", "/entries", "GET", "/entries", Truth::Yes),
        ("GET", "/entries", "POST", "/entries", Truth::No),
        ("", "/entries", "POST", "/entries", Truth::Yes),
        ("GET", "", "GET", "/anything", Truth::Yes),
        ("GET", "/entries", "", "/entries", Truth::Unknown),
        ("GET", "/entries", "_OTHER", "/entries", Truth::Unknown),
        ("GET", "/entries/{id}", "GET", "/entries/7", Truth::Yes),
        ("GET", "/entries/{id}", "GET", "/entries/{*}", Truth::Yes),
        ("GET", "/entries/{id}", "GET", "/entries", Truth::No),
        ("GET", "/entries/{id}", "GET", "/entries/7/lines", Truth::No),
        ("GET", "/entries/{*}", "GET", "/entries/7/lines", Truth::Yes),
        ("GET", "/entries/{*}", "GET", "/entries", Truth::No),
        ("GET", "/entries/7", "GET", "/entries/{id}", Truth::Unknown),
        ("GET", "/{*}/lines", "GET", "/entries/lines", Truth::Yes),
        ("GET", "/{*}/lines", "GET", "/a/b/lines", Truth::No),
        ("GET", "/a/b", "GET", "/a/*", Truth::Unknown),
        ("GET", "/entries", "GET", "", Truth::Unknown),
        ("GET", "/entries/", "GET", "/entries", Truth::No),
    ] {
        let row = row("yard/courier", "store/ledger", seen_method, seen, 1);
        let cut = cut(courier(), &[("DELETE", "/other"), (method, route)]);
        assert_eq!(matches(&cut, &row), expected, "{method} {route} on {seen_method} {seen}");
    }
}

#[test]
fn a_cut_at_the_way_out_matches_its_hosts() {
    let out = |hosts: &[&str]| Cut {
        place: Place::Outbound,
        workload: bare("yard/courier"),
        caller: Caller::Local,
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        operations: Vec::new(),
    };
    let outside = |host: &str| {
        row_with(row("yard/courier", host, "POST", "/x", 1), |row| {
            row.external = true;
            row.destination = bare(host);
        })
    };
    let inside = row("yard/courier", "store/ledger", "GET", "/entries", 1);
    assert_eq!(matches(&out(&["Paste.example"]), &outside("paste.example")), Truth::Yes);
    assert_eq!(matches(&out(&["paste.example"]), &outside("api.example")), Truth::No);
    assert_eq!(matches(&out(&["paste.example"]), &inside), Truth::No);
    assert_eq!(matches(&out(&["ledger.store.svc"]), &inside), Truth::Unknown);
    assert_eq!(matches(&out(&[]), &inside), Truth::Yes);
    let other = row_with(outside("paste.example"), |row| row.source = end("store/cart"));
    assert_eq!(matches(&out(&["paste.example"]), &other), Truth::No);
}

#[test]
fn a_backtest_counts_harm_by_the_onset_only() {
    let minute = |row, minute_seconds| row_with(row, |row| row.minute_seconds = minute_seconds);
    let rows = [
        minute(row("yard/courier", "store/ledger", "GET", "/entries", 10), 0),
        minute(row("yard/courier", "store/ledger", "GET", "/entries", 5), ONSET),
        minute(row("yard/courier", "store/ledger", "GET", "/entries", 100), ONSET + 60),
        row_with(row("yard/courier", "store/ledger", "GET", "/export", 2), |row| row.normal = false),
        row("store/scribe", "store/ledger", "GET", "/entries", 83),
        row_with(row("x/y", "store/ledger", "GET", "/entries", 7), |row| {
            row.source.principal.clear();
            row.authenticated = None;
        }),
        row("store/scribe", "store/cart", "GET", "/carts", 1_000),
    ];
    let trial = backtest_cuts(&[cut(courier(), &[])], &rows, at(ONSET));
    let told = &trial.backtest;
    assert_eq!((told.considered, told.denied, told.denied_normal, told.undecided), (207, 117, 15, 7));
    assert_eq!((trial.considered_before, trial.undecided_normal, trial.callers_harmed), (107, 7, 1));
    assert_eq!((told.from_seconds, told.until_seconds), (0, ONSET + 120));
    assert_eq!(told.callers.len(), 1);
    assert_eq!(told.callers[0].caller, end("yard/courier"));
    assert_eq!(told.routes, [("GET /entries".to_owned(), 115), ("GET /export".to_owned(), 2)]);
    assert!((trial.harm_share() - 15.0 / 107.0).abs() < 1e-12);
}

#[test]
fn any_policy_is_tried_by_the_same_evaluator_and_lists_are_bounded() {
    let rows: Vec<TrafficRow> =
        (0..6_000).map(|n| row(&format!("yard/w{n}"), "store/ledger", "GET", &format!("/r{n}"), 1)).collect();
    let trial = backtest(&rows, EventTime(u64::MAX), |row| match row.route.as_str() {
        "/r0" => Truth::Unknown,
        _ => Truth::Yes,
    });
    assert_eq!((trial.backtest.denied, trial.backtest.undecided), (5_999, 1));
    assert!(trial.backtest.callers.len() <= 20 && trial.backtest.routes.len() <= 20);
    assert_eq!(trial.backtest.more, 2 * (5_999 - 20));
    assert_eq!(trial.callers_harmed, 5_999);
    assert_eq!(Evaluator::new(at(1)).finish().backtest.from_seconds, 0);
}

#[test]
fn a_name_by_hearsay_is_nobody_in_a_backtest() {
    let hearsay = row_with(plaintext("store/ledger", "/x", 3), |row| {
        row.source = end("yard/courier");
        row.source.principal.clear();
        row.source_identity = IdentitySource::Header;
    });
    let trial = backtest_cuts(&[cut(Caller::Unauthenticated, &[])], &[hearsay], at(ONSET));
    assert_eq!(trial.backtest.callers[0].caller, Endpoint::default());
}

// Recent traffic.

struct Bench {
    symbols: SymbolTable,
    recent: Recent,
}

impl Bench {
    fn new(config: RecentConfig) -> Self {
        Self { symbols: SymbolTable::new(8 << 20), recent: Recent::new(config) }
    }

    fn node(&mut self, name: &str) -> Node {
        let (namespace, workload) = name.split_once('/').expect("namespace and name");
        Node {
            cluster: Symbol::NONE,
            namespace: self.symbols.intern(namespace),
            workload: self.symbols.intern(workload),
        }
    }

    fn shape(&mut self, route: &str) -> CallShape {
        CallShape {
            method: self.symbols.intern("GET"),
            route: self.symbols.intern(route),
            status: 200,
            source_principal: self.symbols.intern(&principal("yard", "courier")),
            source_identity: IdentitySource::MtlsCertificate,
            security: Security::MutualTls,
            ..CallShape::default()
        }
    }

    fn learn(&mut self, second: u64, callee: &str, shapes: &[(CallShape, u64)]) {
        let key =
            EdgeKey { source: self.node("yard/courier"), destination: self.node(callee), external: false };
        let mut edge = EdgeWindow::default();
        for (shape, calls) in shapes {
            edge.shapes.insert(*shape, ShapeStats { calls: *calls, ..ShapeStats::default() });
        }
        let window = Window { start: at(second), end: at(second + 10) };
        self.recent.learn(window, &key, &edge, &|shape| shape.status == 200);
    }

    fn rows(&self, callee: &str) -> Vec<TrafficRow> {
        let scope = Scope { callees: vec![end(callee)], callers: Vec::new() };
        self.recent.folded(&scope, at(ONSET), &self.symbols)
    }
}

#[test]
fn recent_traffic_is_counted_by_minute_and_folded_at_the_onset() {
    let mut bench = Bench::new(RecentConfig::default());
    let entries = bench.shape("/entries");
    for second in [ONSET - 120, ONSET - 110, ONSET, ONSET + 60, ONSET + 70] {
        bench.learn(second, "store/ledger", &[(entries, 2)]);
    }
    bench.learn(ONSET, "store/cart", &[(entries, 9)]);
    let rows = bench.rows("store/ledger");
    let told: Vec<(u64, u64)> = rows.iter().map(|row| (row.minute_seconds, row.calls)).collect();
    assert_eq!(told, [(ONSET - 120, 6), (ONSET + 60, 4)]);
    assert_eq!(rows[0].source, end("yard/courier"));
    assert_eq!((rows[0].authenticated, rows[0].normal), (Some(true), true));
    let mut minutes = Vec::new();
    bench.recent.visit(None, &bench.symbols, &mut |row| minutes.push((row.minute_seconds, row.calls)));
    assert_eq!(minutes, [(ONSET - 120, 4), (ONSET, 2), (ONSET, 9), (ONSET + 60, 4)]);
    assert_eq!(bench.recent.span(), Some((ONSET - 120, ONSET + 120)));
}

#[test]
fn failed_handshakes_are_no_traffic_and_unverified_principals_are_left_out() {
    let mut bench = Bench::new(RecentConfig::default());
    let failed = CallShape { handshake_failure: bench.symbols.intern("other"), ..bench.shape("/a") };
    let own_word = CallShape { source_identity: IdentitySource::ProxyMetadata, ..bench.shape("/b") };
    bench.learn(0, "store/ledger", &[(failed, 1), (own_word, 1)]);
    let rows = bench.rows("store/ledger");
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].route.as_str(), rows[0].source.principal.as_str()), ("/b", ""));
    assert_eq!(rows[0].authenticated, None);
}

#[test]
fn late_windows_go_to_their_own_minute_and_old_minutes_leave() {
    let retention = std::time::Duration::from_mins(10);
    let mut bench = Bench::new(RecentConfig { retention, ..RecentConfig::default() });
    let shape = bench.shape("/entries");
    for second in [600, 660, 600, 720, 660, 60] {
        bench.learn(second, "store/ledger", &[(shape, 1)]);
    }
    let mut minutes = Vec::new();
    bench.recent.visit(None, &bench.symbols, &mut |row| minutes.push((row.minute_seconds, row.calls)));
    assert_eq!(minutes, [(600, 2), (660, 2), (720, 1)], "a window older than all that is kept is left out");
    bench.learn(5_000, "store/ledger", &[(shape, 1)]);
    assert_eq!(bench.recent.span(), Some((4_980, 5_040)));
    assert_eq!(bench.rows("store/ledger").len(), 1);
}

/// Scenario: an hour of ordinary traffic, then minutes of invented routes.
/// Guarantees: bytes stay inside the bound, the flood is counted, and ordinary traffic goes on being counted.
#[test]
fn a_flood_of_routes_stays_inside_the_bound_and_does_not_wash_away_what_was_known() {
    let bytes_max = 1 << 20;
    let mut bench = Bench::new(RecentConfig { bytes_max, ..RecentConfig::default() });
    let ordinary = bench.shape("/entries");
    for minute in 0..60 {
        bench.learn(minute * 60, "store/ledger", &[(ordinary, 10)]);
    }
    for minute in 60..70 {
        let flood: Vec<(CallShape, u64)> =
            (0..400).map(|n| (bench.shape(&format!("/{minute}/{n}")), 1)).chain([(ordinary, 10)]).collect();
        bench.learn(minute * 60, "store/ledger", &flood);
        assert!(bench.recent.bytes() <= bytes_max, "{}", bench.recent.bytes());
    }
    let rows = bench.rows("store/ledger");
    let known: u64 = rows.iter().filter(|row| row.route == "/entries").map(|row| row.calls).sum();
    assert_eq!(known, 700);
    assert!(bench.recent.overflows().calls > 2_000, "{:?}", bench.recent.overflows());
}

#[test]
fn past_the_bound_the_oldest_minute_goes_and_is_counted() {
    let mut bench = Bench::new(RecentConfig { bytes_max: 64 << 10, ..RecentConfig::default() });
    for minute in 0..400 {
        let shapes: Vec<(CallShape, u64)> =
            (0..4).map(|n| (bench.shape(&format!("/{minute}/{n}")), 1)).collect();
        bench.learn(minute * 60, "store/ledger", &shapes);
        assert!(bench.recent.bytes() <= 64 << 10);
    }
    assert!(bench.recent.overflows().minutes > 100);
    assert_eq!(bench.recent.span().unwrap().1, 400 * 60);
    assert_eq!(SECOND, 1_000_000_000);
}

#[test]
fn what_the_callee_can_say_of_the_caller() {
    let verified = CallShape {
        source_principal: Symbol(7),
        source_identity: IdentitySource::MtlsCertificate,
        security: Security::MutualTls,
        ..CallShape::default()
    };
    let own = IdentitySource::ProxyMetadata;
    for (shape, expected) in [
        (verified, Some(true)),
        (CallShape { reported: Reported::ClientOnly, ..verified }, None),
        (CallShape { security: Security::Plaintext, source_identity: own, ..verified }, Some(false)),
        (CallShape { security: Security::Tls, source_identity: own, ..verified }, Some(false)),
        (CallShape { source_identity: own, ..verified }, None),
        (CallShape { source_identity: own, reported: Reported::ServerOnly, ..verified }, Some(true)),
        (CallShape::default(), None),
        (CallShape { source_principal: Symbol::OVERFLOW, ..verified }, None),
    ] {
        assert_eq!(authenticated(&shape), expected, "{shape:?}");
    }
}
