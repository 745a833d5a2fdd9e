//! Kafka from outside: a real process between topics of librdkafka's mock cluster.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

#[expect(dead_code, reason = "the tests of the journal use all of it")]
#[path = "../journal/live.rs"]
mod live;
mod topics;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use selvedge_replay::capture::{CaptureReader, FrameEncoding};
use serde_json::Value;

use crate::live::{Live, Place, Sender, spans, until};
use crate::topics::Topics;

const PROTOBUF: &str = "application/x-protobuf";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy");
    path.join(format!("{name}.otlpcap.zst")).to_str().unwrap().to_owned()
}

/// What a replay of a place's journal finds: findings without their order, and what it counts.
fn found(place: &Place) -> (BTreeSet<String>, Value) {
    let out = place.path("out");
    let segments = std::fs::read_dir(place.path("journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        segments.filter(|path| path.extension().is_some_and(|is| is == "otlpcap")).collect();
    segments.sort();
    let mut replay = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    replay.args(["replay", "--learn", &fixture("normal_1"), "--out"]).arg(&out).args(segments);
    assert!(replay.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let findings = std::fs::read_to_string(out.join("findings.jsonl")).unwrap();
    let mut summary: Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    for measured in ["wall_seconds", "cpu_seconds", "peak_rss_bytes"] {
        summary.as_object_mut().unwrap().remove(measured);
    }
    (findings.lines().map(str::to_owned).collect(), summary)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Guarantees: what comes by topics is counted, joined and found as what comes by requests; alerts come out of a topic, each
/// under its incident's id, as they come out of every other sink.
#[test]
fn what_comes_by_kafka_is_judged_as_what_comes_by_requests() {
    let capture = fixture("forged_ca");
    let learned = ["--learn".to_owned(), fixture("normal_1")];
    let learned: Vec<&str> = learned.iter().map(String::as_str).collect();
    let sinks = |more: &str| {
        format!(
            "journal: {{path: journal}}\nalerts: {{terminal: {{enabled: false}}, jsonl: {{path: alerts.jsonl}}{more}}}\n"
        )
    };
    let asked = Place::new(&sinks(""));
    let running = asked.start_here(&learned);
    let mut sender = Sender::connect(asked.http).unwrap();
    let mut frames = 0;
    for frame in CaptureReader::open(Path::new(&capture)).unwrap() {
        let frame = frame.unwrap();
        assert!(frame.encoding == FrameEncoding::Protobuf);
        assert_eq!(sender.send(frame.signal.name(), PROTOBUF, &frame.body), Some(200));
        frames += 1;
    }
    running.end();
    let topics = Topics::new(&["otlp_spans", "otlp_metrics", "otlp_logs", "selvedge_alerts", "incidents"], 1);
    let brokers = topics.brokers();
    let read = Place::with_receiver(
        &format!(", kafka: {{brokers: [\"{brokers}\"], initial_offset: earliest}}"),
        &sinks(&format!(", kafka: {{brokers: [\"{brokers}\"], incidents_topic: incidents}}")),
    );
    let mut last = 0;
    for frame in CaptureReader::open(Path::new(&capture)).unwrap() {
        let frame = frame.unwrap();
        // No two in one millisecond, so that their order is known.
        last = i64::try_from(frame.observed.unwrap().0 / 1_000_000).unwrap().max(last + 1);
        let topic = if frame.signal.name() == "traces" {
            "otlp_spans"
        } else {
            &format!("otlp_{}", frame.signal.name())
        };
        topics.produce(topic, &frame.body, Some(last));
    }
    let running = read.start_here(&learned);
    until("all is read", || {
        read.metric("selvedge_kafka_messages_total", "accepted") == frames
            && read.metric("selvedge_kafka_lag", "") == 0
    });
    running.end();
    let ((by_requests, counted), (by_topics, also)) = (found(&asked), found(&read));
    assert!(!by_requests.is_empty());
    assert_eq!(by_requests, by_topics);
    assert_eq!(counted, also);
    let told = lines(&read.path("alerts.jsonl"));
    assert!(!told.is_empty());
    let published = topics.messages("selvedge_alerts", told.len());
    for (key, document) in &published {
        assert_eq!(document["data"]["deduplication_key"], key.as_str());
        assert!(told.contains(document), "{document}");
    }
    let incidents = topics.messages("incidents", told.len());
    assert!(incidents.iter().zip(&published).all(|((key, document), (_, alert))| {
        document["id"] == key.as_str() && *document == alert["data"]["incident"]
    }));
}

/// Scenario: offsets are committed once a minute only, and the process is killed before it is over.
/// Guarantees: every record is counted, and counted once.
#[test]
fn a_killed_process_counts_each_message_once() {
    let topics = Topics::new(&["spans"], 2);
    let brokers = topics.brokers();
    let place = Place::with_receiver(
        &format!(
            ", kafka: {{brokers: [\"{brokers}\"], initial_offset: earliest, group_instance_id: one, session_timeout: 6s, \
             autocommit: {{interval: 1m}}, traces: {{topics: [spans], encoding: otlp_json}}}}"
        ),
        "journal: {path: journal}\nalerts: {terminal: {enabled: false}}\n",
    );
    let (rounds, messages, in_each) = (3_u64, 60_u64, 5_u64);
    let mut sent = BTreeSet::new();
    for round in 0..=rounds {
        let mut running: Live = place.start_here(&[]);
        for message in 0..messages {
            let trace = |span: u64| format!("{:032x}", ((round + 1) << 32) + message * in_each + span + 1);
            let traces: Vec<String> = (0..in_each).map(trace).collect();
            topics.produce("spans", &spans(&traces, 100), None);
            sent.extend(traces);
        }
        let some = if round == rounds { messages } else { messages / 3 };
        until("some are taken over", || place.metric("selvedge_kafka_messages_total", "accepted") >= some);
        if round < rounds {
            running.kill();
            continue;
        }
        let all = u64::try_from(sent.len()).unwrap();
        until("all are there", || place.metric("selvedge_signals_total", "traces") >= all);
        until("nothing is left", || place.metric("selvedge_kafka_lag", "") == 0);
        assert!(place.metric("selvedge_kafka_messages_total", "known") > 0, "some came again");
        assert_eq!(place.metric("selvedge_signals_total", "traces"), all);
        assert_eq!(place.metric("selvedge_fates", "traces"), all);
        assert_eq!(place.traces("0"), sent);
        running.end();
    }
}

/// Guarantees: `check` tells everything that is wrong with both sections, with the key, and no password.
#[test]
fn what_is_wrong_with_the_sections_is_told_with_their_keys() {
    let place = Place::with_receiver(
        ", kafka: {brokers: [broker], initial_offset: newest, traces: {topics: [\"^otlp\"], encoding: json}, \
         auth: {sasl: {username: kim, password: s3cret-word, mechanism: PLAIN}}}",
        "alerts: {kafka: {brokers: [\"kafka.example:9092\"], topic: \"a b\", tls: {cert_file: us.pem}, \
         auth: {sasl: {mechanism: KERBEROS}}}}\n",
    );
    let check = |place: &Place| {
        let config = place.path("selvedge.yaml");
        Command::new(env!("CARGO_BIN_EXE_selvedge"))
            .arg("check")
            .arg("--config")
            .arg(config)
            .output()
            .unwrap()
    };
    let output = check(&place);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    for problem in [
        "receivers.kafka.brokers: \"broker\" is not host:port",
        "receivers.kafka.initial_offset: \"newest\" is neither latest nor earliest",
        "receivers.kafka.traces.encoding: \"json\" is neither otlp_proto nor otlp_json",
        "receivers.kafka.auth.sasl.mechanism: PLAIN sends the password as it is",
        "alerts.kafka.topic: \"a b\" is no name of a topic",
        "alerts.kafka.tls.key_file: is missing beside cert_file",
        "alerts.kafka.auth.sasl.mechanism: must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
        "alerts.kafka.auth.sasl.username: is missing",
        "alerts.kafka.auth.sasl.password: is missing; or give password_file",
    ] {
        assert!(told.contains(problem), "{problem} is not in\n{told}");
    }
    assert!(!told.contains("s3cret-word"));
    let misspelt = Place::with_receiver(", kafka: {broker: [\"localhost:9092\"]}", "");
    let told = String::from_utf8(check(&misspelt).stderr).unwrap();
    assert!(told.contains("did you mean `brokers`?"), "{told}");
    let good = Place::with_receiver(
        ", kafka: {brokers: [\"localhost:9092\"], traces: {}}",
        "alerts: {kafka: {brokers: [\"[::1]:9092\"]}}\n",
    );
    let told = String::from_utf8(check(&good).stdout).unwrap();
    assert!(told.contains("alerts to terminal, kafka") && told.contains("topics of Kafka"), "{told}");
}
