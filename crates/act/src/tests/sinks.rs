//! Every sink against a peer that speaks HTTP: what it sends, and what it makes of answers.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::TlsAcceptor;

use crate::alert::{Alert, AlertStatus};
use crate::delivery::{Dispatcher, WallClock};
use crate::document::AlertMessage;
use crate::error::{ActError, Retry, SendError};
use crate::ledger::DeliveryStatus;
use crate::sample;
use crate::secret::Secret;
use crate::sink::webhook::{sign, signing_key};
use crate::sink::{self, Named, Outgoing, Output};
use crate::test_fire::test_fire;
use crate::tests::ManualClock;
use crate::tests::config;
use crate::tests::peer::{Answer, Peer, status};

const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2VsdmVkZ2UtZW5kLXRvLWVuZC10ZXN0LXNlY3JldA=="];
const NOW: u64 = sample::ONSET.0 + 10_000_000_000;

/// The sinks of an `alerts` section, without the terminal.
fn sinks(yaml: &str) -> Vec<Named> {
    let mut config = config(yaml);
    config.terminal = None;
    sink::build(&config, Output::new(Box::new(std::io::sink())), Vec::new()).unwrap()
}

async fn send(named: &Named, alert: &Alert, now: u64) -> Result<(), SendError> {
    let outgoing = Outgoing { id: "msg_1".to_owned(), alert: Arc::new(alert.clone()) };
    named.sink.send(&outgoing, now).await
}

fn firing() -> Alert {
    sample::alert("i-1", AlertStatus::Firing)
}

fn resolved() -> Alert {
    sample::alert("i-1", AlertStatus::Resolved)
}

#[tokio::test]
async fn a_webhook_is_signed_with_every_secret_and_carries_the_alert() {
    let peer = Peer::start([]).await;
    let [one, other] = SECRETS;
    let sinks = sinks(&format!(
        "{{webhook: {{url: '{}/hook', secrets: [{one}, '{other}'], bearer_token: tok}}}}",
        peer.url()
    ));
    send(&sinks[0], &firing(), NOW).await.unwrap();
    let posted = peer.posted().remove(0);
    assert_eq!(posted.path, "/hook");
    assert_eq!(posted.header("webhook-id"), "msg_1");
    assert_eq!(posted.header("content-type"), "application/json");
    assert_eq!(posted.header("authorization"), "Bearer tok");
    let seconds: u64 = posted.header("webhook-timestamp").parse().unwrap();
    assert_eq!(seconds, NOW / 1_000_000_000);
    let expected = SECRETS.map(|secret| {
        let key = signing_key(&Secret::new(secret.to_owned())).unwrap();
        sign(&key, "msg_1", seconds, &posted.raw)
    });
    assert_eq!(posted.header("webhook-signature"), expected.join(" "));
    let body = posted.json();
    assert_eq!(body, serde_json::json!(AlertMessage::new(&firing(), None)));
    assert_eq!(
        (&body["type"], &body["timestamp"]),
        (&"alert.firing".into(), &"2026-11-23T20:00:03.000Z".into())
    );
    assert_eq!(body["data"]["deduplication_key"], "i-1");
}

#[tokio::test]
async fn a_webhook_can_speak_as_alertmanager_does() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!(
        "{{external_url: 'https://selvedge.example', webhook: {{url: '{}', format: alertmanager}}}}",
        peer.url()
    ));
    for alert in [firing(), resolved()] {
        send(&sinks[0], &alert, NOW).await.unwrap();
    }
    let bodies: Vec<Value> = peer.posted().iter().map(|posted| posted.json()).collect();
    assert_eq!((&bodies[0]["version"], &bodies[0]["status"]), (&"4".into(), &"firing".into()));
    let alert = &bodies[0]["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "MeshMtlsDowngrade");
    assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(alert["generatorURL"], "https://selvedge.example/api/v1/incidents/i-1");
    assert_eq!(bodies[1]["status"], "resolved");
    assert_eq!(bodies[1]["alerts"][0]["endsAt"], "2026-11-23T20:06:40.000Z");
    assert_eq!(bodies[0]["groupKey"], bodies[1]["groupKey"]);
    assert_eq!(alert["fingerprint"], bodies[1]["alerts"][0]["fingerprint"]);
    assert!(!peer.posted()[0].headers.contains_key("webhook-signature"), "no secret, no signature");
}

#[tokio::test]
async fn alertmanager_gets_labels_annotations_and_an_end_that_lies_ahead() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{alertmanager: {{urls: ['{}/am/'], resend_interval: 30s}}}}", peer.url()));
    assert_eq!(sinks[0].sink.resend_every(), Some(Duration::from_secs(30)));
    send(&sinks[0], &firing(), NOW).await.unwrap();
    let posted = peer.posted().remove(0);
    assert_eq!(posted.path, "/am/api/v2/alerts");
    let body = posted.json();
    let labels = serde_json::json!({
        "alertname": "MeshMtlsDowngrade", "severity": "high", "incident_id": "i-1",
        "source": "web", "source_namespace": "shop",
        "destination": "ledger", "destination_namespace": "bank", "cluster": "east",
    });
    assert_eq!(body[0]["labels"], labels);
    assert_eq!(body[0]["startsAt"], "2026-11-23T20:00:00.000Z");
    assert_eq!(body[0]["endsAt"], "2026-11-23T20:02:10.000Z", "four intervals ahead");
    let annotations = body[0]["annotations"].as_object().unwrap();
    for key in ["summary", "description", "runbook", "evidence", "trace_id", "attack"] {
        assert!(annotations[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    assert_eq!(annotations["attack"], "T1021,T1562.001");
}

#[tokio::test]
async fn alertmanager_is_reminded_of_what_fires_and_for_five_minutes_of_what_ended() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{alertmanager: {{urls: ['{}']}}}}", peer.url()));
    let sink = &sinks[0];
    let minute = 60_000_000_000;
    send(sink, &firing(), NOW).await.unwrap();
    sink.sink.resend(NOW + minute).await.unwrap();
    let repeated = peer.posted()[1].json();
    assert_eq!(repeated[0]["labels"], peer.posted()[0].json()[0]["labels"]);
    assert_eq!(repeated[0]["endsAt"], "2026-11-23T20:05:10.000Z");
    send(sink, &resolved(), NOW + 10 * minute).await.unwrap();
    let ended = peer.posted()[2].json();
    assert_eq!(ended[0]["endsAt"], "2026-11-23T20:06:40.000Z", "the incident's end, which is past");
    sink.sink.resend(NOW + 15 * minute).await.unwrap();
    assert_eq!(peer.posted()[3].json(), ended);
    sink.sink.resend(NOW + 16 * minute).await.unwrap();
    assert_eq!(peer.posted().len(), 4, "nothing to repeat, nothing sent");
}

/// Guarantees: what a process before us told Alertmanager goes on firing there, without being sent anew.
#[tokio::test]
async fn alertmanager_is_reminded_of_what_a_process_before_us_told_it() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{alertmanager: {{urls: ['{}']}}}}", peer.url()));
    sinks[0].sink.recall(&Arc::new(firing()), NOW);
    assert!(peer.posted().is_empty());
    sinks[0].sink.resend(NOW).await.unwrap();
    let repeated = peer.posted()[0].json();
    send(&sinks[0], &firing(), NOW).await.unwrap();
    assert_eq!(repeated[0]["labels"], peer.posted()[1].json()[0]["labels"]);
}

#[tokio::test]
async fn when_an_incident_becomes_worse_alertmanager_ends_it_under_its_old_labels() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{alertmanager: {{urls: ['{}']}}}}", peer.url()));
    let mut worse = firing();
    worse.incident.severity = selvedge_model::Severity::Critical;
    for alert in [firing(), worse] {
        send(&sinks[0], &alert, NOW).await.unwrap();
    }
    let body = peer.posted()[1].json();
    assert_eq!(body[0]["labels"]["severity"], "critical");
    assert_eq!(body[1]["labels"]["severity"], "high");
    assert_eq!(body[1]["endsAt"], "2026-11-23T20:00:10.000Z", "now");
}

#[tokio::test]
async fn an_unidentified_source_is_said_to_be_unknown() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{alertmanager: {{urls: ['{}']}}}}", peer.url()));
    let mut alert = firing();
    alert.incident.edges[0].source = selvedge_model::Endpoint::default();
    send(&sinks[0], &alert, NOW).await.unwrap();
    let labels = &peer.posted()[0].json()[0]["labels"];
    assert_eq!(labels["source"], "unknown");
    assert!(labels.get("source_namespace").is_none(), "an empty label is no label");
}

#[tokio::test]
async fn pagerduty_gets_a_trigger_and_a_resolve_with_one_key() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{pagerduty: {{routing_key: k, url: '{}/v2/enqueue'}}}}", peer.url()));
    for alert in [firing(), resolved()] {
        send(&sinks[0], &alert, NOW).await.unwrap();
    }
    let [trigger, resolve] = [0, 1].map(|index| peer.posted()[index].json());
    assert_eq!((&trigger["event_action"], &trigger["dedup_key"]), (&"trigger".into(), &"i-1".into()));
    assert_eq!(trigger["routing_key"], "k");
    let payload = &trigger["payload"];
    assert_eq!((&payload["severity"], &payload["source"]), (&"error".into(), &"shop/web".into()));
    assert_eq!(payload["custom_details"]["kinds"][0], "mtls_downgrade");
    assert_eq!(
        resolve,
        serde_json::json!({"routing_key": "k", "dedup_key": "i-1", "event_action": "resolve"})
    );
}

#[tokio::test]
async fn pagerduty_never_gets_more_than_it_takes() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{pagerduty: {{routing_key: k, url: '{}'}}}}", peer.url()));
    let mut alert = firing();
    alert.incident.title = "t".repeat(5_000);
    alert.incident.highlights = vec!["evidence ".repeat(100_000)];
    send(&sinks[0], &alert, NOW).await.unwrap();
    let posted = peer.posted().remove(0);
    assert!(posted.raw.len() <= 512 << 10);
    assert_eq!(posted.json()["payload"]["summary"].as_str().unwrap().chars().count(), 1_024);
}

#[tokio::test]
async fn slack_gets_blocks_and_a_fallback() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{slack: {{url: '{}/services/T/B/x'}}}}", peer.url()));
    send(&sinks[0], &firing(), NOW).await.unwrap();
    let posted = peer.posted().remove(0);
    assert_eq!(posted.path, "/services/T/B/x");
    assert_eq!(posted.json()["text"], "[high] Web calls ledger in plaintext, which it never did");
    assert_eq!(posted.json()["blocks"][0]["type"], "header");
}

#[tokio::test]
async fn answers_decide_what_comes_next() {
    let retry_after =
        |value: &str| Answer { headers: vec![("retry-after", value.to_owned())], ..status(429) };
    let elsewhere = |peer: &Peer| Answer { headers: vec![("location", peer.url())], ..status(307) };
    let trap = Peer::start([]).await;
    let script = [status(503), retry_after("7"), status(400), elsewhere(&trap), status(410)];
    let expected =
        [Retry::Backoff, Retry::After(Duration::from_secs(7)), Retry::Never, Retry::Never, Retry::Disable];
    let peer = Peer::start(script).await;
    let sinks = sinks(&format!("{{webhook: {{url: '{}'}}}}", peer.url()));
    for expected in expected {
        let error = send(&sinks[0], &firing(), NOW).await.unwrap_err();
        assert_eq!(error.retry(), expected, "{error}");
        assert!(!error.outage());
    }
    assert!(trap.posted().is_empty(), "a redirect is not followed");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let long = Answer { body: "x".repeat(10 << 20), ..status(500) };
    let peer = Peer::start([long.clone(), Answer { status: 200, ..long }]).await;
    let sinks = sinks(&format!("{{webhook: {{url: '{}'}}}}", peer.url()));
    let error = send(&sinks[0], &firing(), NOW).await.unwrap_err();
    assert!(error.to_string().len() < 1_000);
    send(&sinks[0], &firing(), NOW).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_an_outage() {
    let peer = Peer::start([]).await;
    let sinks = sinks(&format!("{{slack: {{url: '{}/secret'}}}}", peer.url()));
    drop(peer);
    let error = loop {
        // The listener closes when its task has been dropped.
        match send(&sinks[0], &firing(), NOW).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(error.outage(), "{error}");
    assert_eq!(error.retry(), Retry::Backoff);
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&ca, certified.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let peer = Peer::start_tls(TlsAcceptor::from(Arc::new(server))).await;
    let url = format!("https://{}", peer.address);
    let trusting = sinks(&format!("{{webhook: {{url: '{url}', ca_file: '{}'}}}}", ca.display()));
    send(&trusting[0], &firing(), NOW).await.unwrap();
    assert_eq!(peer.posted().len(), 1);
    let strict = sinks(&format!("{{webhook: {{url: '{url}'}}}}"));
    let error = send(&strict[0], &firing(), NOW).await.unwrap_err();
    assert!(crate::error::with_causes(&error).contains("certificate"), "{error:?}");
}

#[tokio::test]
async fn alerts_are_lines_of_the_file_even_when_it_was_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.jsonl");
    let sinks = sinks(&format!("{{jsonl: {{path: '{}'}}}}", path.display()));
    send(&sinks[0], &firing(), NOW).await.unwrap();
    std::fs::rename(&path, folder.path().join("alerts.jsonl.1")).unwrap();
    send(&sinks[0], &firing(), NOW).await.unwrap();
    send(&sinks[0], &resolved(), NOW).await.unwrap();
    let lines: Vec<Value> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!([&lines[0]["type"], &lines[1]["type"]], ["alert.firing", "alert.resolved"]);
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_file_that_cannot_be_used_is_told_at_the_start_with_its_key() {
    let start = |yaml: &str| {
        let built = sink::build(&config(yaml), Output::new(Box::new(std::io::sink())), Vec::new());
        built.err().map(|error: ActError| error.to_string()).unwrap()
    };
    assert!(start("{jsonl: {path: /nowhere/at/all}}").starts_with("alerts.jsonl.path: cannot write"));
    assert!(start("{slack: {url_file: /nowhere}}").starts_with("alerts.slack.url_file: cannot read"));
    assert!(
        start("{slack: {url: 'http://h', ca_file: /dev/null}}")
            .starts_with("alerts.slack.ca_file: /dev/null")
    );
    assert!(
        start("{webhook: {url: 'http://h', secret_file: /dev/null}}")
            .starts_with("alerts.webhook.secret_file")
    );
}

/// A stream whose text can be looked at.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn from_incident_to_every_sink_at_once() {
    let (peer, paper) = (Peer::start([status(503)]).await, Paper::default());
    let mut config = config(&format!(
        "{{alertmanager: {{urls: ['{0}', '{0}/other']}}, webhook: {{url: '{0}/hook'}}, slack: {{url: '{0}/slack'}}}}",
        peer.url()
    ));
    config.retry.initial_interval = Duration::from_millis(1);
    config.retry.max_interval = Duration::from_millis(2);
    let clock: Arc<dyn WallClock> = Arc::new(ManualClock::new());
    let dispatcher = Dispatcher::start_with_output(config, clock, Box::new(paper.clone())).unwrap();
    let ledger = dispatcher.ledger();
    dispatcher.notify(firing());
    let delivered = || ledger.recent().iter().filter(|row| row.status == DeliveryStatus::Delivered).count();
    while delivered() < 5 {
        tokio::task::yield_now().await;
    }
    dispatcher.notify(resolved());
    dispatcher.drain(Duration::from_secs(30)).await;
    assert_eq!(delivered(), 10, "{:?}", ledger.recent());
    assert_eq!(peer.posted().len(), 9, "eight taken, one refused and repeated");
    let said = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("┃ HIGH      Web calls ledger"), "{said}");
    assert!(said.contains("┃ RESOLVED  Web calls ledger"), "{said}");
    let sinks: std::collections::BTreeSet<String> =
        ledger.counts().into_keys().map(|(sink, _)| sink).collect();
    assert!(
        sinks.iter().eq(["alertmanager-1", "alertmanager-2", "slack", "terminal", "webhook"]),
        "{sinks:?}"
    );
}

#[tokio::test]
async fn a_test_alert_goes_through_every_sink_and_each_failure_is_named() {
    let peer = Peer::start([status(202), status(202), status(403)]).await;
    let mut config = config(&format!(
        "{{terminal: {{enabled: false}}, webhook: {{url: '{0}/a', min_severity: critical}}, slack: {{url: '{0}/b'}}}}",
        peer.url()
    ));
    let clock = Arc::new(ManualClock::new());
    let results = test_fire(config.clone(), Vec::new(), clock.clone()).await;
    assert_eq!(results[0], ("webhook".to_owned(), Ok(())));
    let failure = results[1].1.as_ref().unwrap_err().to_string();
    assert!(failure.contains("answered 403"), "{failure}");
    let types: Vec<Value> =
        peer.posted().iter().take(2).map(|posted| posted.json()["type"].clone()).collect();
    assert_eq!(types, ["alert.firing", "alert.resolved"]);
    let first = peer.posted()[0].header("webhook-id").to_owned();
    clock.advance(1);
    config.slack = None;
    test_fire(config, Vec::new(), clock).await;
    assert_ne!(peer.posted()[3].header("webhook-id"), first, "a second test is another alert");
}
