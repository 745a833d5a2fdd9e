//! Alerts in a topic: under the incident's key, once, also when the broker is away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::Message as _;
use selvedge_act::{ActConfig, Alert, AlertStatus, DeliveryStatus, Dispatcher, WallClock};
use selvedge_kafka::SinkSection;
use selvedge_model::{Calibration, EventTime, Incident, IncidentStatus, Severity};
use serde_json::{Value, json};

use crate::bench::{Bench, PATIENCE, headers};

struct Noon;

impl WallClock for Noon {
    fn now_unix_nano(&self) -> u64 {
        1_795_521_600_000_000_000
    }
}

fn alert(id: &str, status: AlertStatus) -> Alert {
    let at = EventTime(1_795_464_000_000_000_000);
    let resolved = status == AlertStatus::Resolved;
    let incident = Incident {
        id: id.to_owned(),
        status: if resolved { IncidentStatus::Resolved } else { IncidentStatus::Open },
        severity: Severity::High,
        title: "Web calls ledger in plaintext, which it never did".to_owned(),
        kinds: Vec::new(),
        onset: at,
        opened: at,
        updated: at,
        closed: resolved.then_some(at),
        return_period_seconds: None,
        edges: Vec::new(),
        suspects: Vec::new(),
        finding_ids: Vec::new(),
        exemplars: Vec::new(),
        techniques: Vec::new(),
        highlights: Vec::new(),
        quarantines: Vec::new(),
        runbook: Vec::new(),
        calibration: Calibration::Default,
    };
    Alert { status, incident, at }
}

fn dispatcher(bench: &Bench) -> Dispatcher {
    let section: SinkSection = serde_json::from_value(json!({
        "brokers": [bench.cluster.bootstrap_servers()], "topic": "alerts", "incidents_topic": "incidents", "timeout": "1s",
    }))
    .unwrap();
    let sink = section.check(Path::new("")).unwrap().unwrap().open().unwrap();
    let config = ActConfig { terminal: None, ..ActConfig::default() };
    Dispatcher::start(config, vec![sink], Arc::new(Noon)).unwrap()
}

/// Waits until everything is delivered.
async fn settled(dispatcher: &Dispatcher) {
    let ledger = dispatcher.ledger();
    let settled = async {
        while !ledger.settled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
}

/// Guarantees: an alert and its end are in the topic, each once, in order, under the incident's id, with the id of the
/// delivery; while the broker is away they wait. After a restart the same alert has the same key and the same id.
#[tokio::test]
async fn alerts_wait_for_a_broker_that_is_away_and_are_written_once() {
    let bench = Bench::new(&[("alerts", 1), ("incidents", 1)]);
    let first = dispatcher(&bench);
    let ledger = first.ledger();
    bench.cluster.broker_down(1).unwrap();
    first.notify(alert("1f2e3d4c5b6a7988", AlertStatus::Firing));
    first.notify(alert("1f2e3d4c5b6a7988", AlertStatus::Resolved));
    let tried = async {
        while ledger.recent().iter().all(|delivery| delivery.attempts == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap();
    assert!(ledger.recent().iter().all(|delivery| delivery.status == DeliveryStatus::Pending));
    bench.cluster.broker_up(1).unwrap();
    settled(&first).await;
    let deliveries = ledger.recent();
    assert!(deliveries.iter().all(|delivery| delivery.status == DeliveryStatus::Delivered), "{deliveries:?}");
    first.drain(PATIENCE).await;
    let again = dispatcher(&bench);
    again.notify(alert("1f2e3d4c5b6a7988", AlertStatus::Firing));
    settled(&again).await;
    again.drain(PATIENCE).await;
    let mut ids: Vec<&str> = deliveries.iter().rev().map(|delivery| &*delivery.id).collect();
    ids.push(ids[0]);
    let (alerts, incidents) = (bench.messages("alerts", 3).await, bench.messages("incidents", 3).await);
    for (number, (message, incident)) in alerts.iter().zip(&incidents).enumerate() {
        assert_eq!((message.key(), incident.key()), (Some(&b"1f2e3d4c5b6a7988"[..]), message.key()));
        let status = if number == 1 { "resolved" } else { "firing" };
        let headers = headers(message);
        assert_eq!(headers["selvedge.id"], ids[number]);
        assert_eq!((&*headers["selvedge.status"], &*headers["content-type"]), (status, "application/json"));
        let document: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        assert_eq!(document["data"]["deduplication_key"], "1f2e3d4c5b6a7988");
        let incident: Value = serde_json::from_slice(incident.payload().unwrap()).unwrap();
        assert_eq!(document["data"]["incident"], incident);
    }
}
