//! What is written as OTLP is what the mesh did: decoded with the published messages, every call is found again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{after, at_rate};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value as Number};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use selvedge_model::{EventTime, SignalKind, Window};
use selvedge_simulate::otlp::{Frame, Teller, Told};
use selvedge_simulate::{
    Attack, Mesh, MeshConfig, Occasional, SignalConfig, Signals, SimulatedCall, TelemetryNoise, WindowOf,
    between,
};

const MINUTE: Duration = Duration::from_mins(1);

struct Run {
    calls: Vec<SimulatedCall>,
    windows: Vec<(Window, Vec<WindowOf>)>,
    frames: Vec<Frame>,
    told: Told,
    mesh: Mesh,
}

/// Ten minutes, under attack in the second minute.
fn run(config: MeshConfig, attack: Option<Attack>) -> Run {
    let mut mesh = Mesh::new(config);
    let mut signals = Signals::new(&mesh, SignalConfig::default());
    if let Some(attack) = attack {
        assert_eq!(signals.attack(&mut mesh, attack, after(60), 5 * MINUTE), Some(0));
    }
    let mut teller = Teller::new(&signals);
    let (mut calls, mut windows, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..60 {
        let (mut of, mut of_window) = (Vec::new(), Vec::new());
        let window = mesh.next_window(&mut of);
        signals.calls(&mesh, window, &of, &mut of_window);
        teller.window(&mesh, &signals, (window, &of), &of_window, &mut frames);
        calls.extend(of_window);
        windows.push((window, of));
    }
    teller.finish(&mut frames);
    Run { calls, windows, frames, told: teller.told(), mesh }
}

fn calm(seed: u64, attack: Option<Attack>) -> Run {
    run(at_rate(0.3, MeshConfig::quiet(seed, 40)), attack)
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let found = attributes.iter().find(|pair| pair.key == key);
    match found.and_then(|pair| pair.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

/// Log records with the service that sent them.
fn logs(frames: &[Frame]) -> Vec<(String, LogRecord)> {
    let frames = frames.iter().filter(|frame| frame.signal == SignalKind::Logs);
    let requests = frames.map(|frame| ExportLogsServiceRequest::decode(&frame.payload[..]).unwrap());
    let resources = requests.flat_map(|request| request.resource_logs);
    resources
        .flat_map(|logs| {
            let of = text(&logs.resource.unwrap().attributes, "service.name").to_owned();
            let records = logs.scope_logs.into_iter().flat_map(|scope| scope.log_records);
            records.map(move |record| (of.clone(), record))
        })
        .collect()
}

fn spans(frames: &[Frame]) -> Vec<Span> {
    let frames = frames.iter().filter(|frame| frame.signal == SignalKind::Traces);
    let requests = frames.map(|frame| ExportTraceServiceRequest::decode(&frame.payload[..]).unwrap());
    let resources = requests.flat_map(|request| request.resource_spans);
    resources.flat_map(|spans| spans.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// What callers' sidecars counted in the end, by caller, cluster, metric and class of the answer.
fn counted(frames: &[Frame]) -> BTreeMap<[String; 4], i64> {
    let frames = frames.iter().filter(|frame| frame.signal == SignalKind::Metrics);
    let requests = frames.map(|frame| ExportMetricsServiceRequest::decode(&frame.payload[..]).unwrap());
    let mut counted = BTreeMap::new();
    for metrics in requests.flat_map(|request| request.resource_metrics) {
        let of = text(&metrics.resource.unwrap().attributes, "service.name").to_owned();
        for metric in metrics.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let Some(Data::Sum(sum)) = metric.data else { panic!("{} is no sum", metric.name) };
            assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
            for point in sum.data_points {
                let labels = ["envoy.cluster_name", "envoy.response_code_class"];
                let [cluster, class] = labels.map(|label| text(&point.attributes, label).to_owned());
                let Some(Number::AsInt(count)) = point.value else { panic!("{cluster} counts nothing") };
                let before = counted.insert([of.clone(), cluster, metric.name.clone(), class], count);
                assert!(before.is_none_or(|before| before <= count), "a counter counts up");
            }
        }
    }
    counted
}

fn is(record: &LogRecord, key: &str, value: &str) -> bool {
    text(&record.attributes, key) == value
}

/// Versions that a service's resources say, in order of receipt, by signal.
fn versions_of(frames: &[Frame], service: &str) -> BTreeMap<SignalKind, Vec<String>> {
    let mut versions: BTreeMap<SignalKind, Vec<String>> = BTreeMap::new();
    for frame in frames {
        let bytes = &frame.payload[..];
        let resources: Vec<_> = match frame.signal {
            SignalKind::Logs => {
                let request = ExportLogsServiceRequest::decode(bytes).unwrap();
                request.resource_logs.into_iter().filter_map(|of| of.resource).collect()
            }
            SignalKind::Traces => {
                let request = ExportTraceServiceRequest::decode(bytes).unwrap();
                request.resource_spans.into_iter().filter_map(|of| of.resource).collect()
            }
            SignalKind::Metrics => {
                let request = ExportMetricsServiceRequest::decode(bytes).unwrap();
                request.resource_metrics.into_iter().filter_map(|of| of.resource).collect()
            }
        };
        for resource in resources.iter().filter(|of| text(&of.attributes, "service.name") == service) {
            let said = versions.entry(frame.signal).or_default();
            said.push(text(&resource.attributes, "service.version").to_owned());
            said.dedup();
        }
    }
    versions
}

/// Scenario: one service is deployed in the fifth of ten minutes.
/// Guarantees: in all three signals it says one version before and another one after, and everybody else says one.
#[test]
fn a_deployment_changes_the_version_that_a_sidecar_says() {
    let mut mesh = Mesh::new(at_rate(0.3, MeshConfig::quiet(91, 40)));
    let service = mesh.edges()[0].caller;
    mesh.deploy(service, after(300));
    let signals = Signals::new(&mesh, SignalConfig::default());
    let frames = frames_of(&mut mesh, signals);
    for (number, name) in mesh.services().iter().enumerate() {
        for (signal, versions) in versions_of(&frames, name) {
            let expected: &[&str] = if number == service { &["1.0.0", "1.1.0"] } else { &["1.0.0"] };
            assert_eq!(versions, expected, "{name}, {signal:?}");
        }
    }
    assert_eq!(versions_of(&frames, &mesh.services()[service]).len(), 3);
}

/// What the sidecars send in ten minutes.
fn frames_of(mesh: &mut Mesh, mut signals: Signals) -> Vec<Frame> {
    let mut teller = Teller::new(&signals);
    let (mut of, mut calls, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..60 {
        let window = mesh.next_window(&mut of);
        signals.calls(mesh, window, &of, &mut calls);
        teller.window(mesh, &signals, (window, &of), &calls, &mut frames);
    }
    teller.finish(&mut frames);
    frames
}

#[test]
fn every_call_is_two_log_records_and_two_spans_with_its_numbers() {
    let run = calm(91, None);
    let (logs, spans) = (logs(&run.frames), spans(&run.frames));
    assert!(run.calls.len() > 1_000, "{} calls", run.calls.len());
    assert_eq!(run.told.calls, run.calls.len() as u64);
    assert_eq!((logs.len(), spans.len()), (2 * run.calls.len(), 2 * run.calls.len()));
    assert_eq!(run.told.records, 4 * run.told.calls);
    let records = run.frames.iter().filter(|frame| frame.signal != SignalKind::Metrics);
    assert_eq!(records.map(|frame| frame.records).sum::<usize>(), logs.len() + spans.len());
    let inbound: BTreeMap<&[u8], &LogRecord> = logs
        .iter()
        .filter(|(_, log)| is(log, "mesh.reporter", "inbound"))
        .map(|(_, log)| (&log.span_id[..], log))
        .collect();
    for SimulatedCall { call, .. } in &run.calls {
        let log = inbound[&call.span_id.0[..]];
        assert_eq!((log.time_unix_nano, &log.trace_id[..]), (call.start.0, &call.trace_id.0[..]));
        assert!(is(log, "response.code", &call.shape.status.to_string()));
        assert!(is(log, "bytes.received", &call.request_bytes.to_string()));
        assert!(is(log, "duration_ms", &(call.duration_nanos / 1_000_000).to_string()));
        let status =
            if call.shape.grpc_status < 0 { String::new() } else { call.shape.grpc_status.to_string() };
        assert!(is(log, "grpc.status", &status));
    }
}

#[test]
fn spans_hang_together_as_calls_do_and_callers_see_more_time() {
    let run = calm(92, None);
    let spans = spans(&run.frames);
    let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (&span.span_id[..], span)).collect();
    assert_eq!(by_id.len(), spans.len(), "span ids are different");
    let mut deep = 0;
    for SimulatedCall { call, parent_span_id, caller_nanos, .. } in &run.calls {
        let server = by_id[&call.span_id.0[..]];
        let client = by_id[&server.parent_span_id[..]];
        assert_eq!(client.end_time_unix_nano - client.start_time_unix_nano, *caller_nanos);
        assert_eq!(server.end_time_unix_nano - server.start_time_unix_nano, call.duration_nanos);
        assert!(client.start_time_unix_nano <= server.start_time_unix_nano);
        if parent_span_id.present() {
            assert_eq!(&client.parent_span_id[..], &parent_span_id.0[..]);
            deep += usize::from(by_id.contains_key(&parent_span_id.0[..]));
        } else {
            assert!(client.parent_span_id.is_empty());
        }
    }
    assert!(deep > 100, "{deep} calls of calls");
}

#[test]
fn requests_come_in_order_of_receipt_after_what_they_tell_of() {
    let run = calm(93, None);
    assert!(run.frames.is_sorted_by_key(|frame| frame.observed));
    for frame in run.frames.iter().filter(|frame| frame.signal == SignalKind::Traces) {
        for span in spans(std::slice::from_ref(frame)) {
            let waited = frame.observed.0 - span.end_time_unix_nano;
            assert!(waited <= 1_000_000_000, "{waited} ns");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let attack = Some(Attack::ForgedIdentity { edge: 3 });
    assert_eq!(calm(94, attack).frames, calm(94, attack).frames);
    assert_ne!(calm(94, None).frames, calm(95, None).frames);
}

/// Log records and spans of the attacker's calls.
fn told(attack: Attack) -> (Run, Vec<(String, LogRecord)>, Vec<Span>) {
    let run = calm(96, Some(attack));
    let ours: Vec<_> =
        run.calls.iter().filter(|of| of.scenario.is_some()).map(|of| of.call.trace_id.0).collect();
    let mut logs = logs(&run.frames);
    logs.retain(|(_, log)| log.trace_id.is_empty() || ours.iter().any(|trace| log.trace_id == trace));
    let mut spans = spans(&run.frames);
    spans.retain(|span| ours.iter().any(|trace| span.trace_id == trace));
    assert!(!logs.is_empty() || !spans.is_empty());
    (run, logs, spans)
}

#[test]
fn a_forged_identity_is_a_refused_handshake_or_anothers_certificate() {
    let (run, logs, _) = told(Attack::ForgedIdentity { edge: 3 });
    let spec = &run.mesh.edges()[3];
    let (caller, callee) = (&run.mesh.services()[spec.caller], &run.mesh.services()[spec.callee]);
    let (refused, accepted): (Vec<_>, Vec<_>) =
        logs.iter().partition(|(_, log)| is(log, "log.kind", "connection"));
    assert_eq!(refused.len() as u64, run.told.refused);
    assert!(!refused.is_empty() && !accepted.is_empty());
    for (of, log) in refused {
        assert_eq!(of, callee);
        assert!(is(log, "tls.peer.issuer", "CN=another root,O=mesh") && log.trace_id.is_empty());
    }
    for (of, log) in accepted {
        let own = format!("/sa/{caller}");
        assert!(of == caller || !text(&log.attributes, "source.principal").ends_with(&own));
    }
}

#[test]
fn a_downgrade_has_no_certificate_on_either_side() {
    let (_, logs, _) = told(Attack::Downgrade { edge: 3 });
    for (_, log) in &logs {
        assert!(is(log, "tls.version", "-") || is(log, "upstream.tls.version", "-"));
        assert!(is(log, "filter_chain", "plaintext") || is(log, "filter_chain", "outbound"));
    }
}

#[test]
fn a_bypassed_sidecar_tells_of_nothing_and_its_connection_is_another_clients() {
    let (_, logs, spans) = told(Attack::BypassedSidecar { edge: 3 });
    assert_eq!(logs.len(), spans.len());
    for (_, log) in &logs {
        assert!(is(log, "mesh.reporter", "inbound") && is(log, "tls.sni", "-"));
        assert!(text(&log.attributes, "source.principal").starts_with("spiffe://"));
    }
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty()));
}

#[test]
fn a_beacon_leaves_through_the_passthrough_of_its_callers_sidecar() {
    let beacon = Attack::Beaconing { service: 2, period: Duration::from_secs(20), jitter: 0.0 };
    let (_, logs, spans) = told(beacon);
    assert_eq!((logs.len(), spans.len()), (15, 15));
    for (_, log) in &logs {
        assert!(is(log, "upstream.cluster", "PassthroughCluster"));
        assert!(text(&log.attributes, "http.authority").ends_with(".example"));
    }
}

#[test]
fn suppressed_records_are_missing_on_both_sides() {
    let usual = calm(97, None);
    let busiest = |&a: &usize, &b: &usize| {
        usual.mesh.edges()[a].usual_rate.total_cmp(&usual.mesh.edges()[b].usual_rate)
    };
    let edge = (0..usual.mesh.edges().len()).max_by(busiest).unwrap();
    let suppressed = calm(97, Some(Attack::SuppressedTelemetry { edge, share: 1.0 }));
    let missing = usual.told.calls - suppressed.told.calls;
    let during =
        |of: &&SimulatedCall| of.edge == Some(edge) && of.call.end >= after(60) && of.call.end < after(360);
    assert_eq!(missing, usual.calls.iter().filter(during).count() as u64);
    assert!(missing > 0);
    assert_eq!(logs(&suppressed.frames).len() as u64, 2 * suppressed.told.calls);
    let counts = counted(&suppressed.frames);
    assert_eq!(counts, counted(&usual.frames), "counters go on");
    let inside = usual.calls.iter().filter(|simulated| !simulated.call.edge.external);
    assert_eq!(counts.values().sum::<i64>(), i64::try_from(inside.count()).unwrap());
    let errors = |[_, _, _, class]: &[String; 4]| class == "5";
    let failed = usual.calls.iter().filter(|simulated| simulated.call.shape.status >= 500);
    assert_eq!(
        counts.iter().filter(|(of, _)| errors(of)).map(|(_, count)| count).sum::<i64>(),
        i64::try_from(failed.count()).unwrap()
    );
}

#[test]
fn a_silent_sidecar_tells_of_no_call_and_the_other_side_still_does() {
    let quiet = at_rate(0.5, MeshConfig::quiet(98, 40));
    let gaps = Occasional { a_day: 200.0, seconds: between(60.0, 120.0), strength: between(1.0, 1.0) };
    let run = run(MeshConfig { telemetry: TelemetryNoise { gaps, ..TelemetryNoise::none() }, ..quiet }, None);
    let silent = |at: EventTime, service: &str| {
        let (_, of) = run.windows.iter().find(|(window, _)| window.start <= at && at < window.end).unwrap();
        let mut edges = run.mesh.edges().iter().zip(of);
        edges.any(|(spec, of)| run.mesh.services()[spec.callee] == service && !of.heartbeat)
    };
    let mut one_sided = 0;
    let logs = logs(&run.frames);
    let told: BTreeMap<&[u8], &str> = logs.iter().map(|(of, log)| (&log.span_id[..], &of[..])).collect();
    for SimulatedCall { call, .. } in &run.calls {
        let inbound = told.get(&call.span_id.0[..]);
        assert!(inbound.is_none_or(|service| !silent(call.end, service)));
        one_sided += u64::from(inbound.is_some());
    }
    assert!(one_sided * 2 > logs.len() as u64, "{one_sided} of {} records are the callees'", logs.len());
}
