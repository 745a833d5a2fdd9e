//! `selvedge alerts test`: one alert through every sink, and its end, so that nobody has to tidy up.

use std::sync::Arc;

use selvedge_model::hash::StableHasher;
use selvedge_model::{Edge, Endpoint, EventTime, Incident, IncidentStatus, Severity};

use crate::alert::{Alert, AlertStatus};
use crate::config::ActConfig;
use crate::delivery::{WallClock, delivery_id, standard_output};
use crate::error::{SendError, with_causes};
use crate::sink::external::ExternalSink;
use crate::sink::{self, Outgoing, Output};

/// Why a test alert did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TestFailure(String);

/// Sends a test alert and its end through every configured sink, and those that are handed in, whatever its least severity, one attempt each. The
/// answer names every sink in the order of the configuration; when the sinks cannot be built at all, `alerts`.
pub async fn test_fire(
    config: ActConfig,
    external: Vec<ExternalSink>,
    clock: Arc<dyn WallClock>,
) -> Vec<(String, Result<(), TestFailure>)> {
    let sinks = match sink::build(&config, Output::new(standard_output(&config)), external) {
        Ok(sinks) => sinks,
        Err(error) => return vec![("alerts".to_owned(), Err(TestFailure(with_causes(&error))))],
    };
    let mut results = Vec::new();
    for named in sinks {
        let result = fire(&named, clock.as_ref()).await;
        results.push((named.name, result.map_err(|error| TestFailure(with_causes(&error)))));
    }
    results
}

async fn fire(named: &sink::Named, clock: &dyn WallClock) -> Result<(), SendError> {
    let began = clock.now_unix_nano();
    for status in [AlertStatus::Firing, AlertStatus::Resolved] {
        let now = clock.now_unix_nano();
        let alert = Arc::new(Alert { status, incident: incident(status, began, now), at: EventTime(now) });
        let outgoing = Outgoing { id: delivery_id(&named.name, &alert), alert };
        named.sink.send(&outgoing, now).await?;
    }
    Ok(())
}

fn incident(status: AlertStatus, began: u64, now: u64) -> Incident {
    let hash = StableHasher::default().field(b"test").field(&began.to_le_bytes()).hex();
    let end = |workload: &str| Endpoint { workload: workload.to_owned(), ..Endpoint::default() };
    let resolved = status == AlertStatus::Resolved;
    Incident {
        id: format!("test-{hash}"),
        status: if resolved { IncidentStatus::Resolved } else { IncidentStatus::Open },
        severity: Severity::Low,
        title: "Test alert from Selvedge: nothing is wrong".to_owned(),
        kinds: Vec::new(),
        onset: EventTime(began),
        opened: EventTime(began),
        updated: EventTime(now),
        closed: resolved.then_some(EventTime(now)),
        return_period_seconds: None,
        edges: vec![Edge { source: end("selvedge"), destination: end("alert-sink") }],
        suspects: Vec::new(),
        finding_ids: Vec::new(),
        exemplars: Vec::new(),
        techniques: Vec::new(),
        highlights: vec!["Somebody ran `selvedge alerts test`.".to_owned()],
        quarantines: Vec::new(),
        runbook: vec!["Nothing to do: this alert resolves at once.".to_owned()],
        calibration: selvedge_model::Calibration::Default,
    }
}
