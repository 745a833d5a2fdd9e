//! What is judged of which counts: one thing missing at a time, and nothing when nothing is.

use std::collections::BTreeMap;

use selvedge_act::document::UnixNano;
use selvedge_act::reporter_document::{BySideDocument, CarriedDocument, SidesDocument};
use selvedge_engine::RuleSet;

use super::super::check::Level;
use super::*;

const NOW: ObservedTime = ObservedTime(3_600_000_000_000);

/// Records that carry everything.
fn full(records: u64) -> CarriedDocument {
    CarriedDocument {
        records,
        identity_due: records,
        peer_principal: records,
        own_principal: records,
        tls_version: records,
        sni: records,
        request_id: records,
        trace_id: records,
    }
}

/// A workload that sends all there is.
fn good(name: &str) -> ReporterDocument {
    let sides = BySideDocument { client: full(300), server: full(300) };
    let calls = SidesDocument { both: 300, ..SidesDocument::default() };
    ReporterDocument {
        workload: EndpointDocument {
            cluster: String::new(),
            namespace: "bank".to_owned(),
            workload: name.to_owned(),
            principal: format!("spiffe://mesh.test/ns/bank/sa/{name}"),
        },
        heard_unix_nano: Some(UnixNano(NOW.0 - 1_000_000_000)),
        covers_seconds: 600.0,
        spans: sides,
        access_logs: sides,
        internal_spans: 0,
        connection_logs: 3,
        application_logs: 0,
        metric_points: 100,
        requests_counted: 290,
        rejected: BTreeMap::new(),
        calls_made: calls,
        calls_answered: calls,
        ahead_seconds_max: 0.0,
        delay_seconds_min: Some(0.2),
    }
}

fn scene(reporters: &[ReporterDocument]) -> Scene<'_> {
    let bounds = Bounds::of(&EngineConfig::default());
    Scene { reporters, uncounted: 0, mesh: Mesh::Envoy, now: NOW, bounds }
}

fn all(reporters: &[ReporterDocument]) -> Vec<Check> {
    judge(&scene(reporters)).checks
}

fn of(subject: &str, checks: &[Check]) -> Check {
    checks.iter().find(|check| check.subject == subject).unwrap_or_else(|| panic!("{checks:#?}")).clone()
}

fn judged(change: impl FnOnce(&mut ReporterDocument)) -> Vec<Check> {
    let mut one = good("ledger");
    change(&mut one);
    all(&[good("web"), one])
}

/// The only check that is not as it should be.
fn only(change: impl FnOnce(&mut ReporterDocument)) -> Check {
    let checks = judged(change);
    let mut wrong = checks.iter().filter(|check| check.level != Level::Ok);
    let first = wrong.next().unwrap_or_else(|| panic!("nothing is said: {checks:#?}")).clone();
    assert_eq!(wrong.next(), None, "beside {first:?}");
    first
}

#[test]
fn where_nothing_is_missing_nothing_is_said() {
    for check in judged(|_| ()) {
        assert!(check.level == Level::Ok && check.advice.is_empty(), "{check:?}");
    }
}

/// Takes something away.
type Change = fn(&mut ReporterDocument);

/// What is taken away, the check that tells it and how badly, and the snippet that has it.
const CASES: [(Change, &str, Level, &str); 12] = [
    (
        |one| one.access_logs.server.peer_principal = 0,
        "callers' identities",
        Level::Fail,
        "access_log_inbound",
    ),
    (
        |one| one.access_logs.server.peer_principal = 150,
        "callers' identities",
        Level::Warn,
        "access_log_inbound",
    ),
    (
        |one| one.access_logs.client.peer_principal = 0,
        "callees' identities",
        Level::Warn,
        "access_log_outbound",
    ),
    (
        |one| {
            one.access_logs.server.own_principal = 0;
            one.access_logs.client.own_principal = 0;
        },
        "own identities",
        Level::Warn,
        "access_log_inbound",
    ),
    (|one| one.access_logs.server.tls_version = 0, "TLS", Level::Warn, "access_log_inbound"),
    (
        |one| {
            one.access_logs.server.request_id = 0;
            one.access_logs.client.request_id = 0;
        },
        "request ids",
        Level::Warn,
        "access_log_inbound",
    ),
    (
        |one| {
            for carried in [&mut one.access_logs.server, &mut one.access_logs.client] {
                carried.request_id = 0;
                carried.trace_id = 0;
            }
        },
        "request ids",
        Level::Fail,
        "access_log_inbound",
    ),
    (|one| one.access_logs = BySideDocument::default(), "access logs", Level::Warn, "access_log_outbound"),
    (
        |one| {
            one.access_logs.client = CarriedDocument::default();
            one.spans.client = CarriedDocument::default();
            one.calls_made = SidesDocument { server_only: 300, ..SidesDocument::default() };
        },
        "both sides",
        Level::Warn,
        "access_log_outbound",
    ),
    (
        |one| {
            one.access_logs.server = CarriedDocument::default();
            one.spans.server = CarriedDocument::default();
            one.calls_answered = SidesDocument { client_only: 300, ..SidesDocument::default() };
        },
        "both sides",
        Level::Warn,
        "access_log_inbound",
    ),
    (
        |one| one.calls_answered = SidesDocument { both: 200, client_only: 300, server_only: 0 },
        "meeting",
        Level::Warn,
        "collector/pipeline",
    ),
    (|one| one.requests_counted = 1_000, "counters", Level::Warn, "collector/pipeline"),
];

#[test]
fn each_thing_that_is_missing_is_told_with_what_cannot_be_seen_and_what_mends_it() {
    for (change, subject, level, snippet) in CASES {
        let check = only(change);
        assert_eq!((check.subject.as_str(), check.level), (subject, level), "{check:?}");
        assert!(check.text.contains("bank/ledger") && !check.text.contains("bank/web"), "{check:?}");
        assert!(!check.advice.is_empty() && !check.unseen.is_empty(), "{check:?}");
        assert!(check.snippets.iter().any(|one| one.name.ends_with(snippet)), "{check:?}");
        let rules = RuleSet::shipped();
        for kind in check.unseen {
            assert!(rules.iter().any(|(known, _)| known.name() == *kind), "{kind} is no kind that is found");
        }
    }
}

#[test]
fn refusals_clocks_and_silence_are_told_with_how_much() {
    let refused = only(|one| one.rejected = BTreeMap::from([("no_time".to_owned(), 700)]));
    assert_eq!((refused.subject.as_str(), refused.level), ("refused records", Level::Fail));
    assert!(refused.text.contains("bank/ledger (no_time: 700)"), "{refused:?}");
    assert_eq!(only(|one| one.rejected = BTreeMap::from([("no_time".to_owned(), 1)])).level, Level::Warn);
    for (ahead, delay, level) in [
        (3.0, 0.0, Level::Warn),
        (12.0, 0.0, Level::Fail),
        (0.0, 15.0, Level::Warn),
        (0.0, 90.0, Level::Fail),
    ] {
        let clock = only(|one| (one.ahead_seconds_max, one.delay_seconds_min) = (ahead, Some(delay)));
        assert_eq!((clock.subject.as_str(), clock.level), ("senders' clocks", level), "{clock:?}");
        assert!(clock.advice.contains("nodes"), "{clock:?}");
    }
    let mut both = [good("web"), good("ledger")];
    both.iter_mut().for_each(|one| one.ahead_seconds_max = 5.0);
    let clock = of("senders' clocks", &all(&both));
    assert!(clock.advice.contains("this machine's clock"), "{clock:?}");
    let silent = only(|one| one.heard_unix_nano = Some(UnixNano(1)));
    assert_eq!((silent.subject.as_str(), silent.level), ("silence", Level::Warn));
}

#[test]
fn who_has_no_name_and_who_is_only_spoken_of_are_told() {
    let nameless =
        only(|one| one.workload = EndpointDocument { workload: String::new(), ..one.workload.clone() });
    assert_eq!((nameless.subject.as_str(), nameless.level), ("names", Level::Fail));
    let unheard = only(|one| {
        *one = ReporterDocument {
            heard_unix_nano: None,
            spans: BySideDocument::default(),
            access_logs: BySideDocument::default(),
            connection_logs: 0,
            metric_points: 0,
            calls_made: SidesDocument::default(),
            calls_answered: SidesDocument { client_only: 300, ..SidesDocument::default() },
            ..one.clone()
        };
    });
    assert_eq!((unheard.subject.as_str(), unheard.level), ("both sides", Level::Warn));
    assert_eq!(unheard.snippets.len(), 3, "it needs all of it");
    let nothing = all(&[]);
    assert!(nothing.len() == 1 && nothing[0].text.contains("nothing was received"), "{nothing:?}");
}

#[test]
fn a_gateway_is_not_blamed_for_callers_without_a_certificate() {
    let gateway = only(|one| {
        one.access_logs.server.peer_principal = 0;
        one.calls_answered = SidesDocument { server_only: 300, ..SidesDocument::default() };
    });
    assert_eq!((gateway.subject.as_str(), gateway.level), ("gateways", Level::Unknown));
}

#[test]
fn spans_alone_are_judged_by_what_counters_count() {
    let sampled = judged(|one| {
        one.access_logs = BySideDocument::default();
        one.requests_counted = 5_000;
    });
    let sampling = of("sampling", &sampled);
    assert!(sampling.level == Level::Warn && sampling.text.contains("of 6 % of"), "{sampling:?}");
    let logged = judged(|one| one.spans = BySideDocument { client: full(3), server: full(3) });
    let sampling = of("sampling", &logged);
    assert!(
        sampling.level == Level::Ok && sampling.text.contains("access logs are complete"),
        "{sampling:?}"
    );
}

#[test]
fn the_mesh_is_guessed_by_what_identities_look_like() {
    let guessed = |principal: &str| {
        let mut one = good("web");
        principal.clone_into(&mut one.workload.principal);
        guess(&[one])
    };
    assert_eq!(guessed("web.bank.serviceaccount.identity.linkerd.cluster.local"), Mesh::Linkerd);
    assert_eq!(guessed("spiffe://cluster.local/ns/bank/sa/web"), Mesh::Istio);
    assert_eq!(guessed("spiffe://mesh.test/ns/bank/sa/web"), Mesh::Envoy);
    assert_eq!(guess(&[]), Mesh::Envoy);
}

/// Of every share: all there, too little of it, none of it.
#[test]
fn what_is_there_in_part_is_told_of_every_share() {
    let half: [(Change, &str); 5] = [
        (|one| one.access_logs.server.peer_principal = 150, "callers' identities"),
        (|one| one.access_logs.client.peer_principal = 150, "callees' identities"),
        (
            |one| {
                one.access_logs.server.own_principal = 150;
                one.access_logs.client.own_principal = 90;
            },
            "own identities",
        ),
        (|one| one.access_logs.server.tls_version = 150, "TLS"),
        (
            |one| {
                one.access_logs.server.request_id = 150;
                one.access_logs.client.request_id = 150;
            },
            "request ids",
        ),
    ];
    for (change, subject) in half {
        let check = only(change);
        assert_eq!((check.subject.as_str(), check.level), (subject, Level::Warn), "{check:?}");
        assert!(check.text.contains("50 %") && check.text.contains("bank/ledger"), "{check:?}");
    }
    let once = judged(|one| one.access_logs.client.own_principal = 0);
    assert_eq!(of("own identities", &once).level, Level::Ok, "inbound records say it");
}

/// Some records of a workload, of which these many carry what they should.
fn little(name: &str, records: u64, carrying: u64) -> ReporterDocument {
    let carried = CarriedDocument { records, identity_due: records, ..full(carrying) };
    let sides = BySideDocument { client: carried, server: carried };
    let calls = SidesDocument { both: records, ..SidesDocument::default() };
    ReporterDocument {
        spans: BySideDocument::default(),
        access_logs: sides,
        connection_logs: 0,
        metric_points: 1,
        requests_counted: records,
        calls_made: calls,
        calls_answered: calls,
        ..good(name)
    }
}

/// Guarantees: what nobody brings enough of to tell is not called good; and many who bring little are enough together.
#[test]
fn too_few_records_are_no_evidence() {
    let subjects = [
        "senders' clocks",
        "access logs",
        "both sides",
        "request ids",
        "sampling",
        "counters",
        "callers' identities",
        "callees' identities",
        "own identities",
        "TLS",
    ];
    let checks = all(&[little("web", 3, 0)]);
    for subject in subjects {
        let check = of(subject, &checks);
        assert!(check.level == Level::Unknown && !check.advice.is_empty(), "{check:?}");
    }
    let many =
        |carrying| (0..100).map(|number| little(&format!("web-{number}"), 3, carrying)).collect::<Vec<_>>();
    let good = all(&many(3));
    for subject in subjects {
        assert_eq!(of(subject, &good).level, Level::Ok, "{subject}");
    }
    let bad = all(&many(0));
    for (subject, level) in
        [("callers' identities", Level::Fail), ("TLS", Level::Warn), ("request ids", Level::Fail)]
    {
        let check = of(subject, &bad);
        assert_eq!(check.level, level, "{check:?}");
        assert!(check.text.contains("and 95 more"), "{check:?}");
    }
}

#[test]
fn a_mesh_that_fell_silent_is_told_with_how_long() {
    let both = [good("web"), good("ledger")];
    let later = Scene { now: NOW.after(Duration::from_mins(66)), ..scene(&both) };
    let checks = judge(&later).checks;
    let [silent] = &checks[..] else { panic!("{checks:#?}") };
    assert!(silent.level == Level::Fail && silent.text.contains("66 min"), "{silent:?}");
}

#[test]
fn names_are_cut_and_counted_past_the_first_few() {
    let refused = |number: u64| {
        let mut one = good(&format!("{}{number}", "w".repeat(200)));
        one.rejected = BTreeMap::from([("no_time".to_owned(), 700)]);
        one
    };
    let many: Vec<_> = (0..4_000).map(refused).collect();
    let check = of("refused records", &all(&many));
    assert!(check.text.contains("and 3995 more") && check.text.chars().count() < 600, "{check:?}");
}

#[test]
fn workloads_without_room_are_told() {
    let both = [good("web"), good("ledger")];
    let check = of("room", &judge(&Scene { uncounted: 12, ..scene(&both) }).checks);
    assert!(check.level == Level::Warn && check.text.contains("12 records"), "{check:?}");
}

/// The same delay is late or not by what the engine is told to wait.
#[test]
fn how_late_is_too_late_is_said_by_the_configuration() {
    let mut config = EngineConfig::default();
    let mut both = [good("web"), good("ledger")];
    both[1].delay_seconds_min = Some(90.0);
    let mut level = |lateness| {
        config.join.allowed_lateness = lateness;
        let bounds = Bounds::of(&config);
        of("senders' clocks", &judge(&Scene { bounds, ..scene(&both) }).checks).level
    };
    assert_eq!(level(Duration::from_secs(30)), Level::Fail);
    assert_eq!(level(Duration::from_secs(120)), Level::Warn);
}

#[test]
fn application_logs_without_a_name_are_records_too() {
    let nameless = ReporterDocument {
        workload: EndpointDocument { workload: String::new(), ..good("web").workload },
        application_logs: 40,
        ..little("", 0, 0)
    };
    let nameless = ReporterDocument { metric_points: 0, ..nameless };
    let check = of("names", &all(&[good("web"), nameless]));
    assert!(check.level == Level::Fail && check.text.starts_with("40 records"), "{check:?}");
}
