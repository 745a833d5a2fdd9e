//! Documents: their exact form, and the schemas in `schemas/` that promise it.

use std::path::PathBuf;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use selvedge_model::{Action, ActionKind, Severity};
use serde::Serialize;
use serde_json::{Value, json};

use crate::alert::AlertStatus;
use crate::document::{ActionDocument, AlertMessage, FindingDocument, IncidentDocument};
use crate::reporter_document::ReporterDocument;
use crate::sample;

#[test]
fn an_incident_reads_as_the_design_says_to_the_byte() {
    let text = serde_json::to_string(&IncidentDocument::from(&sample::incident())).unwrap();
    let expected = concat!(
        r#"{"id":"1f2e3d4c5b6a7988","status":"open","severity":"high","#,
        r#""title":"Web calls ledger in plaintext, which it never did","kinds":["mtls_downgrade","new_edge"],"#,
        r#""onset_unix_nano":"1795464000000000000","opened_unix_nano":"1795464003000000000","#,
        r#""closed_unix_nano":null,"return_period_seconds":null,"edges":["#,
        r#"{"source":{"cluster":"east","namespace":"shop","workload":"web","principal":"spiffe://mesh.example/ns/shop/sa/web"},"#,
        r#""destination":{"cluster":"east","namespace":"bank","workload":"ledger","principal":"spiffe://mesh.example/ns/bank/sa/ledger"}},"#,
        r#"{"source":{"cluster":"east","namespace":"shop","workload":"cart","principal":"spiffe://mesh.example/ns/shop/sa/cart"},"#,
        r#""destination":{"cluster":"east","namespace":"bank","workload":"ledger","principal":"spiffe://mesh.example/ns/bank/sa/ledger"}}],"#,
        r#""suspects":[{"workload":"web","namespace":"shop","rank":1,"score":4.3,"reasons":["source of 2 findings","no certificate"]}],"#,
        r#""finding_ids":["00aa00aa00aa00aa"],"exemplar_trace_ids":["4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b"],"#,
        r#""techniques":["T1021","T1562.001"],"quarantines":[],"#,
        r#""highlights":["mtls_downgrade: plaintext where 812 calls used mutual TLS","new_edge: cart has never called ledger before"],"#,
        r#""runbook":["Check PeerAuthentication of bank, and whether web lost its sidecar."],"calibration":"default"}"#,
    );
    assert_eq!(text, expected);
}

#[test]
fn a_finding_keeps_the_order_of_its_keys_and_64_bits_of_its_times() {
    let finding = json!(FindingDocument::from(&sample::finding()));
    assert_eq!(finding["detected_unix_nano"], "1795464001000000000");
    assert_eq!(finding["return_period_seconds"], 604_800.0);
    assert_eq!(
        finding["evidence"][0],
        json!({"name": "security", "observed": "plaintext", "baseline": "mutual_tls"})
    );
    assert_eq!(finding["source_identity"], "proxy_metadata");
    let text = serde_json::to_string(&FindingDocument::from(&sample::finding())).unwrap();
    assert!(text.starts_with(
        r#"{"id":"00aa00aa00aa00aa","kind":"mtls_downgrade","severity":"high","edge":{"source""#
    ));
}

#[test]
fn an_action_says_what_about_which_incident_and_when() {
    let action = Action {
        quarantine_id: String::new(),
        kind: ActionKind::AlertFiring,
        incident_id: "i".to_owned(),
        severity: Severity::Low,
        title: "t".to_owned(),
        at: sample::ONSET,
    };
    let text = serde_json::to_string(&ActionDocument::from(&action)).unwrap();
    let expected = r#"{"kind":"alert_firing","incident_id":"i","severity":"low","title":"t","at_unix_nano":"1795464000000000000"}"#;
    assert_eq!(text, expected);
}

#[test]
fn a_number_that_is_none_becomes_null_and_not_a_broken_line() {
    let mut finding = sample::finding();
    finding.return_period_seconds = Some(f64::INFINITY);
    assert_eq!(json!(FindingDocument::from(&finding))["return_period_seconds"], Value::Null);
    finding.return_period_seconds = Some(1e300);
    assert_eq!(json!(FindingDocument::from(&finding))["return_period_seconds"], 1e300);
}

#[test]
fn the_schemas_in_the_repository_are_those_of_the_types() {
    check_schema::<AlertMessage>("alert");
    check_schema::<IncidentDocument>("incident");
    check_schema::<FindingDocument>("finding");
    check_schema::<ReporterDocument>("reporter");
}

#[test]
fn documents_hold_to_their_schemas() {
    let mut closed = sample::alert("i", AlertStatus::Resolved);
    closed.incident.return_period_seconds = Some(12.5);
    for alert in [sample::alert("i", AlertStatus::Firing), closed] {
        check_document(&AlertMessage::new(&alert, Some("https://selvedge.example/x".to_owned())));
        check_document(&AlertMessage::new(&alert, None));
        check_document(&IncidentDocument::from(&alert.incident));
    }
    check_document(&FindingDocument::from(&sample::finding()));
}

#[test]
fn a_schema_refuses_what_is_not_a_document() {
    let schema = jsonschema::validator_for(&schema::<IncidentDocument>("incident")).unwrap();
    let good = json!(IncidentDocument::from(&sample::incident()));
    assert!(schema.is_valid(&good));
    for (key, bad) in [
        ("severity", json!("bad")),
        ("onset_unix_nano", json!(1)),
        ("kinds", json!(null)),
        ("status", json!("x")),
    ] {
        let mut document = good.clone();
        document[key] = bad;
        assert!(!schema.is_valid(&document), "{key}");
    }
    let mut document = good;
    document.as_object_mut().unwrap().remove("suspects");
    assert!(!schema.is_valid(&document));
}

fn check_document<T: Serialize + JsonSchema>(document: &T) {
    let schema = schema::<T>("any");
    jsonschema::validate(&schema, &json!(document)).unwrap();
}

/// The schema as it is written: what is serialised, in draft 2020-12.
fn schema<T: JsonSchema>(name: &str) -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), json!(format!("urn:selvedge:schema:{name}:v1")));
    schema.to_value()
}

/// Compares a schema with its file; with `UPDATE_GOLDEN` set, writes the file instead.
fn check_schema<T: JsonSchema>(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../schemas/{name}.v1.schema.json"));
    let text = serde_json::to_string_pretty(&schema::<T>(name)).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{} is not what the types say: run the tests with UPDATE_GOLDEN=1",
        path.display()
    );
}
