//! Quarantines from outside: read by everybody, changed by the holder of the token, and only when it is stored.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use selvedge_enforce::audit::{AuditRecord, PublicKey, records, verify};
use selvedge_enforce::store::Moment;
use selvedge_enforce::xds::{XdsConfig, XdsServer};
use selvedge_enforce::{Enforcer, Order};
use selvedge_engine::{Effect, Engine, EngineConfig, Pipeline, RuleSet, Snapshot};
use selvedge_model::{
    Backtest, Caller, Cut, Endpoint, ObservedTime, Operation, Place, Progress, Quarantine, QuarantineState,
    SteadyTime,
};
use selvedge_receive::Secret;
use selvedge_serve::{Lifecycle, QuarantineDoor, ServeAuthSection, ServeConfig, ServeSection, Sources};
use serde_json::{Value, json};
use support::{Answer, FixedClock, exchange, get, serve_while, sources};

const TOKEN: &str = "a-long-token";
const FIRST: &str = "selvedge-q-00000000000000a1";
const SECOND: &str = "selvedge-q-00000000000000b2";

fn quarantine(id: &str, created: u64) -> Quarantine {
    let ledger =
        Endpoint { namespace: "store".to_owned(), workload: "ledger".to_owned(), ..Endpoint::default() };
    let export = Operation { method: "GET".to_owned(), route: "/admin/export".to_owned() };
    Quarantine {
        id: id.to_owned(),
        incident_id: format!("incident-{created}"),
        cuts: vec![Cut {
            place: Place::Inbound,
            workload: ledger,
            caller: Caller::Principal("spiffe://mesh.example/ns/store/sa/courier".to_owned()),
            hosts: Vec::new(),
            operations: vec![export],
        }],
        state: QuarantineState::Proposed,
        progress: Progress::Planned,
        reason: "store/courier asked store/ledger for what it never asked".to_owned(),
        evidence: vec!["f1".to_owned(), "f2".to_owned()],
        not_stopped: vec!["the same attacker under another identity".to_owned()],
        backtest: Backtest { considered: 100, denied: 3, ..Backtest::default() },
        owner: "engine".to_owned(),
        created: ObservedTime(created),
        ttl_seconds: 1_800,
        expires: None,
        renewals: 0,
        ended: String::new(),
    }
}

fn two() -> Vec<Quarantine> {
    vec![quarantine(FIRST, 1), Quarantine { state: QuarantineState::Shadow, ..quarantine(SECOND, 2) }]
}

fn auth() -> Option<ServeAuthSection> {
    let token = Some(Secret::new(TOKEN.to_owned()));
    Some(ServeAuthSection { bearer_token: token, name: Some("night shift".to_owned()), ..Default::default() })
}

/// Serves a view that nobody changes.
fn still(
    auth: Option<ServeAuthSection>,
    quarantines: Vec<Quarantine>,
    ask: impl FnOnce(SocketAddr) + Send + 'static,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let view = Snapshot { quarantines: Arc::new(quarantines), ..Snapshot::default() };
        let sources = sources(Arc::new(ArcSwap::from_pointee(view))).await;
        sources.health.set(Lifecycle::Ready);
        serve_while(sources, auth, ask).await;
    });
}

/// Serves a live engine that proposes two quarantines, with a real lease store, audit log and xDS server in `folder`.
fn live(folder: &Path, ask: impl FnOnce(SocketAddr) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = XdsConfig { address: "127.0.0.1:0".parse().unwrap(), ..XdsConfig::default() };
        let (_xds, handle, events) = XdsServer::bind(config).await.unwrap();
        let (reports, mut reported) = tokio::sync::mpsc::channel(64);
        let clock = || Moment { wall: ObservedTime(1), steady: SteadyTime(1) };
        let (enforcer, stored) = Enforcer::open(folder, handle, Arc::new(clock), reports).unwrap();
        assert!(stored.is_empty());
        let mut pipeline = Pipeline::new(&EngineConfig::default(), RuleSet::shipped());
        pipeline.restore(vec![quarantine(FIRST, 1), quarantine(SECOND, 2)]);
        let engine = Engine::new(pipeline, 10);
        let (orders, view) = (engine.orders(), engine.view());
        let (enforce, inbox) = tokio::sync::mpsc::channel(64);
        let door = QuarantineDoor {
            orders: Some(orders.clone()),
            enforcer: Some(enforce.clone()),
            ..Default::default()
        };
        let sources = Sources { quarantines: door, ..sources(view).await };
        sources.health.set(Lifecycle::Ready);
        let (submissions, submitted) = tokio::sync::mpsc::channel(1);
        let act = move |effect| {
            if let Effect::Containment { event, .. } = effect {
                enforce.try_send(Order::Decided(event)).unwrap();
            }
        };
        let serving = async {
            serve_while(sources, auth(), ask).await;
            drop(submissions);
        };
        let reporting = async {
            while let Some(report) = reported.recv().await {
                orders.report(report).await;
            }
        };
        let engine = selvedge_engine::run(engine, submitted, Arc::new(FixedClock), act);
        let ((), (), (), ended) = tokio::join!(serving, engine, reporting, enforcer.run(inbox, events));
        ended.unwrap();
    });
}

fn read(address: SocketAddr, path: &str) -> Value {
    let answer = get(address, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn post(address: SocketAddr, path: &str, lines: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {length}\r\n{lines}\r\n");
    exchange(address, &head, body.as_bytes())
}

/// A change by the holder of the token.
fn change(address: SocketAddr, id: &str, what: &str, body: &Value) -> Answer {
    let lines = format!("content-type: application/json\r\nauthorization: Bearer {TOKEN}\r\n");
    post(address, &format!("/api/v1/quarantines/{id}/{what}"), &lines, &body.to_string())
}

/// A refusal: its status and code.
fn refusal(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["status"], answer.status);
    (answer.status, document["code"].as_str().unwrap().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn quarantines_are_listed_newest_first_filtered_paged_and_shown_without_a_token() {
    still(auth(), two(), |address| {
        let all = read(address, "/api/v1/quarantines");
        assert_eq!((&all["quarantines"][0]["id"], &all["total"]), (&SECOND.into(), &2.into()));
        let shadows = read(address, "/api/v1/quarantines?state=shadow");
        assert_eq!((&shadows["quarantines"][0]["id"], &shadows["total"]), (&SECOND.into(), &1.into()));
        assert_eq!(read(address, "/api/v1/quarantines?incident=incident-1")["quarantines"][0]["id"], FIRST);
        let page = read(address, "/api/v1/quarantines?limit=1");
        assert_eq!(page["next_offset"], 1);
        let one = read(address, &format!("/api/v1/quarantines/{FIRST}"));
        assert_eq!((&one["state"], &one["backtest"]["denied"]), (&"proposed".into(), &3.into()));
        assert_eq!(one["not_stopped"][0], "the same attacker under another identity");
        let wrong = get(address, "/api/v1/quarantines?state=shadwo");
        assert_eq!(refusal(&wrong), refused(400, "unknown_state"));
        assert_eq!(get(address, "/api/v1/quarantines?sate=shadow").status, 400);
        let nobody = get(address, "/api/v1/quarantines/selvedge-q-0");
        assert_eq!(refusal(&nobody), refused(404, "unknown_quarantine"));
    });
}

#[test]
fn a_preview_is_the_policy_of_the_enforcement_point_or_why_there_is_none() {
    still(None, two(), |address| {
        let preview =
            |id: &str, target: &str| get(address, &format!("/api/v1/quarantines/{id}/preview{target}"));
        let envoy = preview(FIRST, "");
        assert_eq!((envoy.status, envoy.header("content-type")), (200, "application/yaml; charset=utf-8"));
        let text = envoy.text();
        assert!(text.contains(FIRST) && text.contains("spiffe://mesh.example/ns/store/sa/courier"), "{text}");
        assert!(text.starts_with("# "), "{text}");
        let istio = preview(SECOND, "?target=istio").text();
        assert!(istio.contains("AuthorizationPolicy") && istio.contains("dry-run"), "{istio}");
        // Network policies see no identity and no path, and Kubernetes' own cannot deny.
        for target in ["cluster_network_policy", "cluster-network-policy", "network-policy", "linkerd"] {
            let none = preview(FIRST, &format!("?target={target}"));
            assert_eq!(refusal(&none), refused(422, "not_rendered"), "{target}");
            let document: Value = serde_json::from_slice(&none.body).unwrap();
            assert!(!document["reasons"].as_array().unwrap().is_empty());
        }
        assert_eq!(refusal(&preview(FIRST, "?target=iptables")), refused(400, "unknown_target"));
        assert_eq!(refusal(&preview("selvedge-q-0", "")), refused(404, "unknown_quarantine"));
    });
}

/// Guarantees: a name from telemetry cannot end the comment that it is told in, and become part of the policy.
#[test]
fn a_line_break_in_a_workloads_name_adds_no_line_to_the_policy() {
    let mut named = quarantine(FIRST, 1);
    named.cuts[0].workload.workload = "ledger\nrules: {}\u{2028}x: y".to_owned();
    still(None, vec![named], |address| {
        let answer = get(address, &format!("/api/v1/quarantines/{FIRST}/preview"));
        let lines = answer.text();
        assert!(lines.lines().all(|line| line.trim() != "rules: {}"), "{lines}");
        assert!(!lines.contains('\u{2028}') || answer.status != 200, "{lines}");
    });
}

#[test]
fn nothing_can_be_changed_while_no_token_is_configured() {
    still(None, two(), |address| {
        for what in ["approve", "lift"] {
            let answer = change(address, FIRST, what, &json!({ "why": "it is an attack" }));
            assert_eq!(refusal(&answer), refused(403, "read_only"));
            assert!(answer.text().contains("serve.auth.bearer_token_file"), "{}", answer.text());
        }
    });
}

#[test]
fn only_the_holder_of_the_token_may_change_something_and_no_page_of_another_site() {
    still(auth(), two(), |address| {
        let path = format!("/api/v1/quarantines/{FIRST}/lift");
        let body = "{\"why\": \"a test\"}";
        let lines = |token: &str, more: &str| format!("content-type: application/json\r\n{token}{more}");
        for token in ["", "authorization: Bearer a-long-toke\r\n", "authorization: Basic a-long-token\r\n"] {
            let answer = post(address, &path, &lines(token, ""), body);
            assert_eq!(refusal(&answer), refused(401, "unauthenticated"), "{token}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        let right = format!("authorization: Bearer {TOKEN}\r\n");
        let foreign = post(address, &path, &lines(&right, "origin: https://evil.example\r\n"), body);
        assert_eq!(refusal(&foreign), refused(403, "foreign_origin"));
        for media in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let answer = post(address, &path, &format!("{right}content-type: {media}\r\n"), body);
            assert_eq!(refusal(&answer), refused(415, "unsupported_media_type"), "{media}");
        }
        for (body, code) in [
            ("{}", "no_reason"),
            ("{\"why\": \"  \"}", "no_reason"),
            ("{\"wyh\": \"x\"}", "unreadable_request"),
            ("why", "unreadable_request"),
            ("{\"why\": \"a\\nb\"}", "unusable_reason"),
        ] {
            let answer = post(address, &path, &lines(&right, ""), body);
            assert_eq!(refusal(&answer), refused(400, code), "{body}");
        }
        let long = json!({ "why": "x".repeat(20_000) }).to_string();
        assert_eq!(post(address, &path, &lines(&right, ""), &long).status, 413);
        assert_eq!(get(address, &path).status, 405);
        // Nobody takes orders here.
        assert_eq!(refusal(&change(address, FIRST, "approve", &json!({}))), refused(409, "not_enforcing"));
    });
}

/// Guarantees: when a change is answered it is in the audit log, under the name of whoever holds the token.
#[test]
fn a_change_is_stored_and_audited_before_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    live(folder.path(), move |address| {
        let audit = path.join("audit");
        let last =
            || -> AuditRecord { records(&audit, 1, 1_000).unwrap().map(Result::unwrap).last().unwrap() };
        let of = |kind: &str, id: &str| -> Vec<AuditRecord> {
            let all = records(&audit, 1, 1_000).unwrap().map(Result::unwrap);
            all.filter(|record| record.kind == kind && record.subject == id).collect()
        };
        let approved = change(address, FIRST, "approve", &json!({}));
        let told = of("approve", FIRST);
        assert_eq!(approved.status, 200, "{}", approved.text());
        let approved: Value = serde_json::from_slice(&approved.body).unwrap();
        assert_eq!((&approved["state"], &approved["owner"]), (&"enforced".into(), &"night shift".into()));
        assert!(approved["expires_unix_nano"].is_string());
        assert_eq!((told.len(), told[0].who.as_str()), (1, "night shift"));
        assert_eq!(read(address, &format!("/api/v1/quarantines/{FIRST}"))["state"], "enforced");
        let lifted = change(address, FIRST, "lift", &json!({ "why": "it was a deployment" }));
        let told = of("lift", FIRST);
        let lifted: Value = serde_json::from_slice(&lifted.body).unwrap();
        assert_eq!(lifted["state"], "lifted");
        assert!(lifted["ended"].as_str().unwrap().contains("it was a deployment"), "{lifted}");
        assert_eq!((told[0].who.as_str(), told[0].why.as_str()), ("night shift", "it was a deployment"));
        let seq = last().seq;
        let again = change(address, FIRST, "approve", &json!({ "why": "again" }));
        assert_eq!(refusal(&again), refused(409, "ended"));
        let unknown = change(address, "selvedge-q-0", "lift", &json!({ "why": "x" }));
        assert_eq!(refusal(&unknown), refused(404, "unknown_quarantine"));
        assert_eq!(read(address, &format!("/api/v1/quarantines/{SECOND}"))["state"], "proposed");
        assert_eq!(of("approve", FIRST).len(), 1, "since record {seq}");
    });
    let audit = folder.path().join("audit");
    verify(&audit, &PublicKey::beside(&audit).unwrap()).unwrap();
}

#[test]
fn the_section_tells_what_is_wrong_with_it() {
    let check = |section: ServeAuthSection| {
        let section = ServeSection { auth: Some(section), ..ServeSection::default() };
        ServeConfig::try_from(section).map(drop).map_err(|error| error.to_string())
    };
    let token = || Some(Secret::new(TOKEN.to_owned()));
    assert!(check(ServeAuthSection { bearer_token: token(), ..Default::default() }).is_ok());
    let named = |name: &str| ServeAuthSection {
        bearer_token: token(),
        name: Some(name.to_owned()),
        ..Default::default()
    };
    for (section, part) in [
        (ServeAuthSection::default(), "serve.auth: give exactly one"),
        (
            ServeAuthSection { bearer_token: Some(Secret::new(" ".to_owned())), ..Default::default() },
            "serve.auth.bearer_token: is empty",
        ),
        (named("engine"), "serve.auth.name"),
        (named("a\nb"), "serve.auth.name"),
        (named(&"x".repeat(200)), "serve.auth.name"),
    ] {
        let told = check(section).unwrap_err();
        assert!(told.contains(part), "`{part}` is missing in {told}");
        assert!(!told.contains(TOKEN));
    }
}
