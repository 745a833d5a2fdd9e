//! Alerts over a kill: none is sent twice that was delivered, none is forgotten.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use selvedge_replay::capture::CaptureReader;

use crate::live::*;

/// The engine's, unless configured.
const WINDOW: Duration = Duration::from_secs(10);

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy").join(name);
    path.to_str().unwrap().to_owned()
}

/// How often each alert stands in the file of alerts, by incident and status.
fn alerts(place: &Place) -> BTreeMap<(String, String), usize> {
    let text = std::fs::read_to_string(place.path("alerts.jsonl")).unwrap_or_default();
    let mut alerts = BTreeMap::new();
    for line in text.lines() {
        let alert: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        *alerts.entry((text(&alert["data"]["deduplication_key"]), text(&alert["type"]))).or_default() += 1;
    }
    alerts
}

/// The position up to which people were told, as it stands on disk.
fn mark(place: &Place) -> u64 {
    let bytes = std::fs::read(place.path("journal/delivered")).unwrap_or_default();
    bytes.get(..8).map_or(0, |number| u64::from_le_bytes(number.try_into().unwrap()))
}

/// A process that knows what is normal.
fn start(place: &Place) -> Live {
    let learned = ["--learn", &fixture("normal_1.otlpcap.zst"), "--learn", &fixture("normal_2.otlpcap.zst")];
    place.start_here(&learned)
}

/// Sends an attack, and waits until it was alerted and that is on disk; how many batches it was.
fn attacked(place: &Place) -> u64 {
    let mut sender = Sender::connect(place.http).unwrap();
    let mut frames = 0;
    for frame in CaptureReader::open(Path::new(&fixture("exfiltration.otlpcap.zst"))).unwrap() {
        let frame = frame.unwrap();
        let status = sender.send(frame.signal.name(), "application/x-protobuf", &frame.body);
        assert_eq!(status, Some(200));
        frames += 1;
    }
    until("alerted", || !alerts(place).is_empty());
    until("marked", || mark(place) == frames);
    frames
}

fn incidents(place: &Place) -> usize {
    place.get("/api/v1/incidents").1.matches("\"title\"").count()
}

/// Scenario: an attack is alerted, and delivered; the process is killed twice, and once more when the mark of what was
/// delivered is lost.
/// Guarantees: nothing is sent again while the mark is there; without it the same alert is, under the same key; the incident
/// is known after each start, before any new telemetry.
#[test]
fn an_alert_that_was_delivered_is_not_sent_again() {
    let place = Place::new("journal: {path: journal}\nalerts: {jsonl: {path: alerts.jsonl}}\n");
    let mut live = start(&place);
    let frames = attacked(&place);
    let told = alerts(&place);
    let known = incidents(&place);
    for restarts in 1..=2 {
        live.kill();
        live = start(&place);
        assert_eq!(incidents(&place), known, "known before any new telemetry");
        let mut sender = Sender::connect(place.http).unwrap();
        let nothing = br#"{"resourceLogs":[{}]}"#;
        assert_eq!(sender.send("logs", "application/json", nothing), Some(200));
        // The mark moves only when nothing is on its way: whatever was to be sent was sent.
        until("marked again", || mark(&place) == frames + restarts);
    }
    let after = alerts(&place);
    assert!(told.iter().all(|(key, times)| after.get(key) == Some(times)), "{told:?} became {after:?}");
    // Without the mark nobody can know: told again rather than never, under the same key.
    live.kill();
    std::fs::remove_file(place.path("journal/delivered")).unwrap();
    let _live = start(&place);
    let firing = |alerts: &BTreeMap<(String, String), usize>| -> Vec<String> {
        alerts.keys().filter(|(_, status)| status == "alert.firing").map(|(id, _)| id.clone()).collect()
    };
    until("told again", || alerts(&place) != after);
    assert_eq!(firing(&alerts(&place)), firing(&told), "the same keys");
}

/// Scenario: an attack is alerted, and delivered; a checkpoint is taken; the process is killed and goes on from it, reading
/// none of the attack again. Then the mesh goes on without it.
/// Guarantees: the incident is known, nothing is sent again, the captures are not taught again; its end is told, once, under
/// the key that the first process alerted with.
#[test]
fn an_incident_of_a_checkpoint_is_known_not_told_again_and_its_end_is_told() {
    let place = Place::new(
        "journal: {path: journal, replay: 0s, checkpoint_interval: 1s}\nalerts: {jsonl: {path: alerts.jsonl}}\n",
    );
    let mut live = start(&place);
    attacked(&place);
    let told = alerts(&place);
    let written = place.metric("selvedge_checkpoints_total", "written");
    until("a checkpoint of it", || place.metric("selvedge_checkpoints_total", "written") > written);
    let known = incidents(&place);
    live.kill();
    let _live = start(&place);
    assert_eq!(place.metric("selvedge_journal_recovered_frames_total", ""), 0, "nothing is read again");
    assert_eq!(incidents(&place), known);
    assert_eq!(place.errors().matches("its baseline is in the checkpoint").count(), 2);
    assert_eq!(alerts(&place), told, "nothing is sent again");

    let ends = |alerts: &BTreeMap<(String, String), usize>| -> BTreeMap<String, usize> {
        let ended = alerts.iter().filter(|((_, status), _)| status == "alert.resolved");
        ended.map(|((id, _), times)| (id.clone(), *times)).collect()
    };
    let firing = told.keys().filter(|(_, status)| status == "alert.firing");
    let due: BTreeMap<String, usize> = firing.map(|(id, _)| (id.clone(), 1)).collect();
    assert!(ends(&told).is_empty() && !due.is_empty());
    let mut sender = Sender::connect(place.http).unwrap();
    let mut report = |ago| {
        let later = spans_of(ago, &["5e1f000000000000000000000000000a".to_owned()], 0);
        assert_eq!(sender.send("traces", "application/json", &later), Some(200));
    };
    // Only time in which somebody reports is quiet.
    (1..=60).rev().for_each(|windows| report(WINDOW * windows));
    until("the end is told", || {
        report(Duration::ZERO);
        // Who reports now is new, and has incidents of its own.
        let ended = ends(&alerts(&place));
        due.iter().all(|(id, times)| ended.get(id) == Some(times))
    });
}
