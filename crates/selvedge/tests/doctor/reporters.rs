//! Reporters that do not send what is needed, told by a running engine; and the same after they were put right.

use std::time::Duration;

use selvedge_model::SignalKind;
use selvedge_testkit::{RawFrame, Refusal, Traffic, without};
use serde_json::{Value, json};

use crate::live::{Place, Sender, until};
use crate::{Told, doctor, text, told};

/// Calls in each part of the traffic.
const CALLS: usize = 200;
/// What they take: pauses of 250 to 500 ms.
const LASTS: Duration = Duration::from_millis(250 * 3 / 2 * CALLS as u64);

fn now() -> Duration {
    std::time::UNIX_EPOCH.elapsed().unwrap()
}

/// Calls that ended at this time, or seconds before.
fn traffic(seed: u64, end: Duration) -> Traffic {
    let mut traffic = Traffic::seeded(seed);
    let begin = end - LASTS - Duration::from_secs(2);
    traffic.wait(begin - Duration::from_nanos(traffic.now().0));
    traffic.repeat(CALLS, "web -> cart -> ledger");
    traffic.refuse("ledger", "web", Refusal::UnknownIssuer);
    traffic
}

fn send(place: &Place, frames: &[RawFrame]) {
    let mut sender = Sender::connect(place.http).unwrap();
    for frame in frames {
        let status = sender.send(frame.signal.name(), "application/x-protobuf", &frame.payload);
        assert_eq!(status, Some(200));
    }
}

/// What a workload's proxy counts of the calls that it made: as many as it tells of.
fn send_counter(place: &Place) {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let end = now();
    let points = [(7, end - Duration::from_secs(1)), (7 + CALLS, end)].map(|(total, at)| {
        json!({
            "startTimeUnixNano": (end - LASTS).as_nanos().to_string(),
            "timeUnixNano": at.as_nanos().to_string(),
            "asInt": total.to_string(),
            "attributes": [
                attribute("envoy.cluster_name", "outbound|80||ledger"),
                attribute("envoy.response_code_class", "2"),
            ],
        })
    });
    let request = json!({"resourceMetrics": [{
        "resource": {"attributes": [attribute("service.name", "cart"), attribute("service.namespace", "store")]},
        "scopeMetrics": [{"metrics": [{"name": "envoy.cluster.upstream_rq_xx", "sum": {
            "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points,
        }}]}],
    }]});
    let mut sender = Sender::connect(place.http).unwrap();
    assert_eq!(sender.send("metrics", "application/json", request.to_string().as_bytes()), Some(200));
}

fn of(frame: &RawFrame, name: &str) -> bool {
    let pod = format!("{name}-0");
    frame.payload.windows(pod.len()).any(|window| window == pod.as_bytes())
}

/// Waits until the view shows it: it is replaced every ten seconds.
fn seen(place: &Place, so: impl Fn(&[Value]) -> bool) {
    until("seen", || {
        let (_, body) = place.get("/api/v1/reporters");
        let document: Value = serde_json::from_str(&body).unwrap_or_default();
        document["reporters"].as_array().is_some_and(|reporters| so(reporters))
    });
}

fn named<'a>(reporters: &'a [Value], name: &str) -> Option<&'a Value> {
    reporters.iter().find(|one| one["workload"]["workload"] == name)
}

fn subjects(told: &Told, level: &str) -> Vec<String> {
    told.of("reporters", level).iter().map(|check| text(&check["subject"]).to_owned()).collect()
}

/// Scenario: a callee sends no identities, a caller no request ids, a workload nothing at all, nobody metrics; then
/// everybody sends what the doctor asks for.
/// Guarantees: each is told with its name, the findings that cannot be made, and a snippet that has what is missing; once
/// put right, nothing is left to say.
#[test]
fn what_reporters_do_not_send_is_told_until_they_do() {
    let place = Place::new("journal: off\n");
    let _live = place.start(place.command(&[]));
    let said = told(&place);
    assert!(said.only("reporters", "warn").contains("nothing was received"));
    let logs = traffic(1, now() - Duration::from_mins(30)).frames_of(SignalKind::Logs);
    let less: Vec<RawFrame> = logs
        .iter()
        .filter(|frame| !of(frame, "ledger"))
        .map(|frame| match () {
            () if of(frame, "cart") => without(frame, &["source.principal"]),
            () if of(frame, "web") => without(frame, &["http.request_id"]),
            () => frame.clone(),
        })
        .collect();
    send(&place, &less);
    seen(&place, |reporters| {
        named(reporters, "ledger")
            .is_some_and(|one| one["calls_answered"]["client_only"].as_u64() >= Some(100))
    });
    let said = told(&place);
    for (subject, level, whom, unseen, snippet) in [
        ("callers' identities", "fail", "store/cart", "forged_identity", "%DOWNSTREAM_PEER_URI_SAN%"),
        ("request ids", "warn", "store/web", "one_sided_call", "%REQ(X-REQUEST-ID)%"),
        (
            "both sides",
            "warn",
            "store/ledger",
            "one_sided_call",
            "mesh.reporter, value: {string_value: inbound}",
        ),
        ("counters", "warn", "nobody", "telemetry_suppressed", "stats_sinks"),
        ("senders' clocks", "fail", "all senders", "edge_silent", ""),
    ] {
        let checks = said.checks("reporters");
        let check = checks.iter().find(|check| check["subject"] == subject).unwrap();
        assert_eq!(check["level"], level, "{check:#}");
        assert!(format!("{} {}", check["text"], check["advice"]).contains(whom), "{check:#}");
        assert!(check["unseen"].as_array().unwrap().contains(&unseen.into()), "{check:#}");
        let named = check["snippets"].as_array().unwrap();
        let snippets = said.document["snippets"].as_array().unwrap().iter();
        let mut of_check = snippets.filter(|one| named.contains(&one["name"])).map(|one| text(&one["yaml"]));
        assert!(snippet.is_empty() || of_check.any(|yaml| yaml.contains(snippet)), "{check:#}");
    }
    assert_eq!(said.code, 1);
    send(&place, &traffic(2, now()).frames());
    send_counter(&place);
    seen(&place, |reporters| {
        let whole =
            |name| named(reporters, name).is_some_and(|one| one["calls_made"]["both"].as_u64() >= Some(100));
        whole("web") && whole("cart") && named(reporters, "cart").is_some_and(|one| one["metric_points"] == 2)
    });
    let said = told(&place);
    for level in ["fail", "warn", "unknown"] {
        assert_eq!(subjects(&said, level), Vec::<String>::new(), "{:#}", said.document["groups"]);
    }
    let output = doctor(&place).output().unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains("store/cart") && page.contains("callers' identities"), "{page}");
}

/// Scenario: a caller's clock is an hour ahead, so that its records are taken as of their arrival.
/// Guarantees: it is told by its name and by how much, and nobody else is.
#[test]
fn a_clock_that_is_an_hour_ahead_is_told_with_whose_it_is() {
    let place = Place::new("journal: off\n");
    let _live = place.start(place.command(&[]));
    let hour = Duration::from_hours(1);
    let [early, timely] = [now() + hour, now()].map(|end| traffic(3, end).frames_of(SignalKind::Logs));
    let early = early.into_iter().filter(|frame| of(frame, "web"));
    send(&place, &early.chain(timely.into_iter().filter(|frame| !of(frame, "web"))).collect::<Vec<_>>());
    seen(&place, |reporters| {
        let has = |name, key: &str| named(reporters, name).is_some_and(|one| one[key].as_f64() > Some(0.0));
        has("web", "ahead_seconds_max") && has("cart", "delay_seconds_min")
    });
    let said = told(&place);
    let checks = said.of("reporters", "fail");
    let clocks = checks.iter().find(|check| check["subject"] == "senders' clocks").unwrap();
    let line = text(&clocks["text"]);
    assert!(
        line.starts_with("store/web are ahead of ours by up to 3") && !line.contains("store/cart"),
        "{line}"
    );
}
