//! The routes, and the JSON they answer with.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use selvedge_act::document::{EdgeDocument, FindingDocument, IncidentDocument};
use selvedge_engine::EdgeSummary;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Sources;
use crate::auth::Doorkeeper;
use crate::door::strict;
use crate::hosts::{Hosts, known_only};
use crate::metrics;
use crate::problem::{Asked, Id, problem};
use crate::quarantines;
use crate::reporters::document;
use crate::server::Lifecycle;
use crate::sql;

/// Rows answered when the caller gives no `limit`.
const LIMIT_DEFAULT: usize = 100;
/// Rows answered at most.
const LIMIT_MAX: usize = 10_000;

/// Filters of the list routes. Unknown ones are refused, so that a misspelt filter is not "no filter".
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Filter {
    status: Option<String>,
    severity: Option<String>,
    kind: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

impl Filter {
    /// Which rows, of a list that has filters of its own.
    pub(crate) fn paging(limit: Option<usize>, offset: Option<usize>) -> Self {
        Self { limit, offset, ..Self::default() }
    }
}

pub(crate) fn router(sources: Sources, hosts: Hosts, doorkeeper: Option<Arc<Doorkeeper>>) -> axum::Router {
    axum::Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/findings", get(findings))
        .route("/api/v1/edges", get(edges))
        .route("/api/v1/reporters", get(reporters))
        .route("/api/v1/deliveries", get(deliveries))
        .merge(quarantines::router().layer(Extension(doorkeeper)))
        .route("/api/v1/sql", post(sql::ask).layer(DefaultBodyLimit::max(sql::REQUEST_BYTES_MAX)))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(move |request: Request, next: Next| known_only(hosts.clone(), request, next)))
        .layer(from_fn(strict))
        .with_state(sources)
}

async fn index(State(sources): State<Sources>) -> Json<Value> {
    std::future::ready(Json(json!({
        "product": "selvedge",
        "version": sources.version,
        "routes": ["/healthz", "/readyz", "/metrics", "/api/v1/incidents", "/api/v1/incidents/{id}", "/api/v1/findings", "/api/v1/edges", "/api/v1/reporters", "/api/v1/deliveries", "/api/v1/quarantines", "/api/v1/quarantines/{id}", "/api/v1/quarantines/{id}/preview", "/api/v1/quarantines/{id}/approve", "/api/v1/quarantines/{id}/lift", "/api/v1/sql"],
    })))
    .await
}

/// Alive: the process answers.
async fn healthz() -> &'static str {
    std::future::ready("ok\n").await
}

/// Ready: the baseline is learned, all ports are open and telemetry is taken.
async fn readyz(State(sources): State<Sources>) -> Response {
    let answer = match sources.health.get() {
        Lifecycle::Ready => (StatusCode::OK, "ready\n"),
        Lifecycle::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting: nothing is received yet\n"),
        Lifecycle::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    std::future::ready(answer.into_response()).await
}

async fn metrics_text(State(sources): State<Sources>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let answer = match metrics::render(&sources) {
        Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "not_rendered", &error.to_string()),
    };
    std::future::ready(answer).await
}

async fn incidents(State(sources): State<Sources>, Asked(filter): Asked<Filter>) -> Response {
    let view = sources.view.load();
    let rows = view.incidents.iter().rev().filter(|incident| {
        filter.status.as_ref().is_none_or(|status| incident.status.name() == status)
            && filter.severity.as_ref().is_none_or(|severity| incident.severity.name() == severity)
            && filter.kind.as_ref().is_none_or(|kind| incident.kinds.iter().any(|other| other.name() == kind))
    });
    std::future::ready(page("incidents", rows, IncidentDocument::from, &filter)).await
}

/// One incident: where the links in alerts lead.
async fn incident(State(sources): State<Sources>, Id(id): Id) -> Response {
    let view = sources.view.load();
    let answer = match view.incidents.iter().find(|incident| incident.id == id) {
        Some(incident) => Json(IncidentDocument::from(incident)).into_response(),
        None => problem(StatusCode::NOT_FOUND, "unknown_incident", "no incident with this id is kept"),
    };
    std::future::ready(answer).await
}

async fn findings(State(sources): State<Sources>, Asked(filter): Asked<Filter>) -> Response {
    let view = sources.view.load();
    let rows = view.findings.iter().rev().filter(|finding| {
        filter.severity.as_ref().is_none_or(|severity| finding.severity.name() == severity)
            && filter.kind.as_ref().is_none_or(|kind| finding.kind.name() == kind)
    });
    std::future::ready(page("findings", rows, FindingDocument::from, &filter)).await
}

async fn edges(State(sources): State<Sources>, Asked(filter): Asked<Filter>) -> Response {
    let view = sources.view.load();
    std::future::ready(page("edges", view.edges.iter(), EdgeRow::from, &filter)).await
}

/// What each workload's telemetry brings, the fullest first; `uncounted` tells how much was counted for none of them.
async fn reporters(State(sources): State<Sources>, Asked(filter): Asked<Filter>) -> Response {
    let view = sources.view.load();
    let mut body = page_body("reporters", view.reporters.iter(), document, &filter);
    body.insert("uncounted", json!(view.uncounted));
    std::future::ready(Json(body).into_response()).await
}

async fn deliveries(State(sources): State<Sources>, Asked(filter): Asked<Filter>) -> Response {
    let rows = sources.deliveries.recent();
    std::future::ready(page("deliveries", rows.into_iter(), std::convert::identity, &filter)).await
}

async fn not_found() -> Response {
    let detail = "there is nothing at this path; GET / lists what there is";
    std::future::ready(problem(StatusCode::NOT_FOUND, "not_found", detail)).await
}

async fn method_not_allowed() -> Response {
    let detail = "this path is not asked in this way; `Allow` says how";
    std::future::ready(problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)).await
}

/// `{ "<name>": [rows], "total": n, "next_offset": n }`: at most `limit` rows from `offset` on; `next_offset` only when
/// there are more. Only the rows that are shown are made.
pub(crate) fn page<R, T: Serialize>(
    name: &str,
    rows: impl Iterator<Item = R>,
    row: impl Fn(R) -> T,
    filter: &Filter,
) -> Response {
    Json(page_body(name, rows, row, filter)).into_response()
}

fn page_body<'n, R, T: Serialize>(
    name: &'n str,
    rows: impl Iterator<Item = R>,
    row: impl Fn(R) -> T,
    filter: &Filter,
) -> BTreeMap<&'n str, Value> {
    let limit = filter.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let offset = filter.offset.unwrap_or(0);
    let rows: Vec<R> = rows.collect();
    let total = rows.len();
    let shown: Vec<T> = rows.into_iter().skip(offset).take(limit).map(row).collect();
    let next = offset.saturating_add(shown.len());
    let mut body = BTreeMap::from([(name, json!(shown)), ("total", json!(total))]);
    if next < total && !shown.is_empty() {
        body.insert("next_offset", json!(next));
    }
    body
}

/// One learned edge as JSON.
#[derive(Serialize)]
struct EdgeRow {
    #[serde(flatten)]
    edge: EdgeDocument,
    external: bool,
    calls: u64,
    windows: u64,
    routes: usize,
    latency_nanos_p50: Option<u64>,
    latency_nanos_p99: Option<u64>,
    reported: ReportedRow,
    join_completeness: f64,
    provenance: &'static str,
    known_by: &'static str,
}

impl From<&EdgeSummary> for EdgeRow {
    fn from(summary: &EdgeSummary) -> Self {
        Self {
            edge: EdgeDocument::from(&summary.edge),
            external: summary.external,
            calls: summary.calls,
            windows: summary.windows,
            routes: summary.routes,
            latency_nanos_p50: summary.latency_nanos[0],
            latency_nanos_p99: summary.latency_nanos[1],
            reported: ReportedRow::from(summary.reported),
            join_completeness: summary.join_completeness,
            provenance: summary.provenance.name(),
            known_by: summary.known_by.name(),
        }
    }
}

/// Requests of an edge by the sides that reported them.
#[derive(Serialize)]
struct ReportedRow {
    both: u64,
    client_only: u64,
    server_only: u64,
}

impl From<[u64; 3]> for ReportedRow {
    fn from([both, client_only, server_only]: [u64; 3]) -> Self {
        Self { both, client_only, server_only }
    }
}
