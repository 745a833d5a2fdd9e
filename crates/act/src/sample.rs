//! An incident for tests, with invented names.

use selvedge_model::{
    Edge, Endpoint, EventTime, Evidence, Finding, FindingKind, IdentitySource, Incident, IncidentStatus,
    Severity, Suspect, TraceId,
};

use crate::alert::{Alert, AlertStatus};

/// 2026-11-23T20:00:00Z.
pub(crate) const ONSET: EventTime = EventTime(1_795_464_000_000_000_000);

pub(crate) fn alert(incident_id: &str, status: AlertStatus) -> Alert {
    let mut incident = incident();
    incident_id.clone_into(&mut incident.id);
    if status == AlertStatus::Resolved {
        incident.status = IncidentStatus::Resolved;
        incident.closed = Some(ONSET.after(std::time::Duration::from_secs(400)));
    }
    Alert { status, incident, at: ONSET.after(std::time::Duration::from_secs(3)) }
}

pub(crate) fn incident() -> Incident {
    Incident {
        id: "1f2e3d4c5b6a7988".to_owned(),
        status: IncidentStatus::Open,
        severity: Severity::High,
        title: "Web calls ledger in plaintext, which it never did".to_owned(),
        kinds: vec![FindingKind::MtlsDowngrade, FindingKind::NewEdge],
        onset: ONSET,
        opened: ONSET.after(std::time::Duration::from_secs(3)),
        updated: ONSET.after(std::time::Duration::from_secs(130)),
        closed: None,
        return_period_seconds: None,
        edges: vec![edge("shop", "web", "bank", "ledger"), edge("shop", "cart", "bank", "ledger")],
        suspects: vec![Suspect {
            workload: "web".to_owned(),
            namespace: "shop".to_owned(),
            rank: 1,
            score: 4.299_999_999_9,
            reasons: vec!["source of 2 findings".to_owned(), "no certificate".to_owned()],
        }],
        finding_ids: vec!["00aa00aa00aa00aa".to_owned()],
        exemplars: vec![TraceId([0x4b; 16])],
        techniques: vec!["T1021".to_owned(), "T1562.001".to_owned()],
        highlights: vec![
            "mtls_downgrade: plaintext where 812 calls used mutual TLS".to_owned(),
            "new_edge: cart has never called ledger before".to_owned(),
        ],
        quarantines: Vec::new(),
        runbook: vec!["Check PeerAuthentication of bank, and whether web lost its sidecar.".to_owned()],
        calibration: selvedge_model::Calibration::Default,
    }
}

pub(crate) fn finding() -> Finding {
    Finding {
        id: "00aa00aa00aa00aa".to_owned(),
        kind: FindingKind::MtlsDowngrade,
        severity: Severity::High,
        edge: edge("shop", "web", "bank", "ledger"),
        external: false,
        subject: "plaintext".to_owned(),
        onset: ONSET,
        detected: ONSET.after(std::time::Duration::from_secs(1)),
        return_period_seconds: Some(604_800.000_01),
        calibrated: false,
        summary: "plaintext where 812 calls used mutual TLS".to_owned(),
        evidence: vec![Evidence {
            name: "security".to_owned(),
            observed: "plaintext".to_owned(),
            baseline: "mutual_tls".to_owned(),
        }],
        source_identity: IdentitySource::ProxyMetadata,
        claimed_principal: String::new(),
        exemplars: vec![TraceId([0x4b; 16])],
        techniques: vec!["T1562.001".to_owned()],
    }
}

fn edge(source_namespace: &str, source: &str, destination_namespace: &str, destination: &str) -> Edge {
    let endpoint = |namespace: &str, workload: &str| Endpoint {
        cluster: "east".to_owned(),
        namespace: namespace.to_owned(),
        workload: workload.to_owned(),
        principal: format!("spiffe://mesh.example/ns/{namespace}/sa/{workload}"),
    };
    Edge {
        source: endpoint(source_namespace, source),
        destination: endpoint(destination_namespace, destination),
    }
}
