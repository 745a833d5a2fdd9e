//! An incident in Prometheus' terms: labels are its identity, annotations what people read.

use std::collections::BTreeMap;

use selvedge_model::{Edge, Incident};

use crate::text::{clip, clip_bytes, visible};
use crate::utc::{format_duration, format_utc};

/// Bytes of evidence: enough to see why, and mails stay mails.
const EVIDENCE_BYTES_MAX: usize = 4 << 10;
/// Characters of a label: the far end chooses host names.
const LABEL_CHARS_MAX: usize = 128;
/// Stands for a source that nobody could identify. Prometheus takes an empty label for a missing one.
const UNKNOWN: &str = "unknown";

pub(super) type Labels = BTreeMap<&'static str, String>;

/// Labels of low cardinality: no request, no path, no number.
pub(super) fn labels(incident: &Incident) -> Labels {
    let edge = incident.edges.first().cloned().unwrap_or_default();
    let Edge { source, destination } = &edge;
    let cluster = if destination.cluster.is_empty() { &source.cluster } else { &destination.cluster };
    let named = |name: &str| if name.is_empty() { UNKNOWN } else { name }.to_owned();
    let all = [
        ("alertname", alert_name(incident)),
        ("severity", incident.severity.name().to_owned()),
        ("incident_id", incident.id.clone()),
        ("source", named(&source.workload)),
        ("source_namespace", source.namespace.clone()),
        ("destination", named(&destination.workload)),
        ("destination_namespace", destination.namespace.clone()),
        ("cluster", cluster.clone()),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, clip(&visible(&value), LABEL_CHARS_MAX)))
        .collect()
}

/// `MeshMtlsDowngrade`: the most telling kind.
pub(super) fn alert_name(incident: &Incident) -> String {
    let kind = incident.kinds.first().map_or("incident", |kind| kind.name());
    let words = kind.split('_').map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    });
    std::iter::once("Mesh".to_owned()).chain(words).collect()
}

/// What people read.
pub(super) fn annotations(incident: &Incident) -> BTreeMap<&'static str, String> {
    let trace_id = incident.exemplars.first().map(ToString::to_string).unwrap_or_default();
    let all = [
        ("summary", incident.title.clone()),
        ("description", description(incident)),
        ("runbook", incident.runbook.join("\n")),
        ("evidence", clip_bytes(&incident.highlights.join("\n"), EVIDENCE_BYTES_MAX)),
        ("trace_id", trace_id),
        ("attack", incident.techniques.join(",")),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Who, since when, and who is suspected, in one paragraph.
pub(super) fn description(incident: &Incident) -> String {
    let lasted = format_duration(incident.updated.since(incident.onset));
    let mut text = format!("Since {} ({lasted} so far).", format_utc(incident.onset));
    if let Some(edge) = incident.edges.first() {
        let more = match incident.edges.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        text += &format!(" Edge: {}{more}.", edge.label());
    }
    if let Some(suspect) = incident.suspects.first() {
        let name = crate::card::suspect_name(suspect);
        let reasons = suspect.reasons.join("; ");
        text += &format!(" First suspect: {name}{}{reasons}.", if reasons.is_empty() { "" } else { ", " });
    }
    clip_bytes(&visible(&text), EVIDENCE_BYTES_MAX)
}
