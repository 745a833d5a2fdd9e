//! Quarantines over HTTP: listed, shown, written as policies for any enforcement point, approved and lifted.
//!
//! Reading needs no token. Approving and lifting do, and are answered when the change is stored and told to the proxies,
//! not before.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use selvedge_act::document::format_utc;
use selvedge_act::quarantine_document::QuarantineDocument;
use selvedge_enforce::Order;
use selvedge_engine::{CommandError, LiveOrders, OrderError};
use selvedge_model::{EventTime, Quarantine, QuarantineState};
use selvedge_policy::{RenderContext, RenderRefusal, Rendered, Target};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::Sources;
use crate::api::{Filter, page};
use crate::auth::{Doorkeeper, admit};
use crate::problem::{Asked, Id, plain, problem, with_document};
use crate::server::Lifecycle;
use crate::sql::text;

/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Bytes of a reason: the audit log keeps no more.
const WHY_BYTES_MAX: usize = 1_000;
/// How long the lease store and the audit log may take with what was ordered.
const ENFORCER_TIMEOUT: Duration = Duration::from_secs(10);

/// What people may do about quarantines, and what their policies need to know.
#[derive(Clone, Default)]
pub struct QuarantineDoor {
    /// Takes orders; without it nothing can be approved or lifted.
    pub orders: Option<LiveOrders>,
    /// Carries them out; without it nothing can be enforced, and so nothing approved.
    pub enforcer: Option<mpsc::Sender<Order>>,
    /// What policies as text need beside the quarantine.
    pub render: RenderContext,
}

pub(crate) fn router() -> axum::Router<Sources> {
    let changing = axum::Router::new()
        .route("/api/v1/quarantines/{id}/approve", post(approve))
        .route("/api/v1/quarantines/{id}/lift", post(lift))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX));
    axum::Router::new()
        .route("/api/v1/quarantines", get(list))
        .route("/api/v1/quarantines/{id}", get(one))
        .route("/api/v1/quarantines/{id}/preview", get(preview))
        .merge(changing)
}

/// Filters of the list. Unknown ones are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    state: Option<String>,
    incident: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

/// Newest first.
async fn list(State(sources): State<Sources>, Asked(wanted): Asked<Wanted>) -> Response {
    let state = match wanted.state.as_deref().map(|word| (word, QuarantineState::parse(word))) {
        Some((word, None)) => {
            let known = QuarantineState::ALL.map(QuarantineState::name).join(", ");
            let detail = format!("`{}` is no state; there is: {known}", word.escape_debug());
            return problem(StatusCode::BAD_REQUEST, "unknown_state", &detail);
        }
        Some((_, state)) => state,
        None => None,
    };
    let view = sources.view.load();
    let mut rows: Vec<&Quarantine> = view
        .quarantines
        .iter()
        .filter(|row| state.is_none_or(|state| row.state == state))
        .filter(|row| wanted.incident.as_ref().is_none_or(|incident| row.incident_id == *incident))
        .collect();
    rows.sort_by(|left, right| right.created.cmp(&left.created).then_with(|| left.id.cmp(&right.id)));
    let paging = Filter::paging(wanted.limit, wanted.offset);
    std::future::ready(page("quarantines", rows.into_iter(), QuarantineDocument::from, &paging)).await
}

async fn one(State(sources): State<Sources>, Id(id): Id) -> Response {
    std::future::ready(document(&sources, &id)).await
}

/// A quarantine as it is now.
fn document(sources: &Sources, id: &str) -> Response {
    let view = sources.view.load();
    match view.quarantines.iter().find(|quarantine| quarantine.id == id) {
        Some(quarantine) => Json(QuarantineDocument::from(quarantine)).into_response(),
        None => unknown(),
    }
}

fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "unknown_quarantine", "no quarantine with this id is kept")
}

/// For which enforcement point.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rendering {
    target: Option<String>,
}

/// The policy as it would be applied, with what a person should know as comments before it.
async fn preview(State(sources): State<Sources>, Id(id): Id, Asked(asked): Asked<Rendering>) -> Response {
    let name = asked.target.unwrap_or_else(|| Target::Envoy.name().to_owned());
    let Some(target) = Target::parse(&name.replace('_', "-")) else {
        let known = Target::ALL.map(Target::name).join(", ");
        let detail = format!("`{}` is no enforcement point; there is: {known}", name.escape_debug());
        return problem(StatusCode::BAD_REQUEST, "unknown_target", &detail);
    };
    let view = sources.view.load();
    let Some(quarantine) = view.quarantines.iter().find(|quarantine| quarantine.id == id) else {
        return unknown();
    };
    let expires_at =
        quarantine.expires.map_or_else(String::new, |at| format_utc(EventTime(at.0)).to_string());
    let context = RenderContext { expires_at, ..sources.quarantines.render.clone() };
    let answer = match selvedge_policy::render(target, quarantine, &context, &[]) {
        Ok(rendered) => ([(header::CONTENT_TYPE, "application/yaml; charset=utf-8")], with_notes(&rendered))
            .into_response(),
        Err(refusal) => not_rendered(&refusal),
    };
    std::future::ready(answer).await
}

/// Names in notes come from telemetry: they must not end the comment that they stand in.
fn with_notes(rendered: &Rendered) -> String {
    let one_line =
        |letter: char| if letter.is_control() || "\u{2028}\u{2029}".contains(letter) { ' ' } else { letter };
    let mut text = String::with_capacity(rendered.text.len() + 512);
    for note in &rendered.notes {
        text.push_str("# ");
        text.extend(note.chars().map(one_line));
        text.push('\n');
    }
    text + &rendered.text
}

fn not_rendered(refusal: &RenderRefusal) -> Response {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let mut document = plain(status, "not_rendered", &refusal.to_string());
    document["reasons"] = json!(refusal.reasons);
    with_document(status, &document)
}

/// The body of a change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Change {
    why: String,
}

async fn approve(
    State(sources): State<Sources>,
    Extension(doorkeeper): Extension<Option<Arc<Doorkeeper>>>,
    Id(id): Id,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (who, change) = match admitted(&sources, doorkeeper.as_deref(), &headers, body) {
        Ok(admitted) => admitted,
        Err(refused) => return *refused,
    };
    let (Some(orders), Some(_)) = (&sources.quarantines.orders, &sources.quarantines.enforcer) else {
        let detail = "nothing can be enforced: leases and the audit log need `quarantine.folder`";
        return problem(StatusCode::CONFLICT, "not_enforcing", detail);
    };
    let ordered = orders.approve(&id, who, &change.why).await;
    tracing::info!(quarantine = id, who, why = change.why, carried_out = ordered.is_ok(), "approve");
    carried_out(&sources, &id, ordered).await
}

async fn lift(
    State(sources): State<Sources>,
    Extension(doorkeeper): Extension<Option<Arc<Doorkeeper>>>,
    Id(id): Id,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (who, change) = match admitted(&sources, doorkeeper.as_deref(), &headers, body) {
        Ok(admitted) => admitted,
        Err(refused) => return *refused,
    };
    if change.why.is_empty() {
        let detail = "say why it is lifted: {\"why\": \"...\"}";
        return problem(StatusCode::BAD_REQUEST, "no_reason", detail);
    }
    let Some(orders) = &sources.quarantines.orders else {
        return problem(
            StatusCode::CONFLICT,
            "not_enforcing",
            "quarantines are off: `quarantine.mode` is off",
        );
    };
    let ordered = orders.lift(&id, who, &change.why).await;
    tracing::info!(quarantine = id, who, why = change.why, carried_out = ordered.is_ok(), "lift");
    carried_out(&sources, &id, ordered).await
}

/// Who asks for what, or why not. Only JSON: no form of a web page can send it without asking first.
fn admitted<'d>(
    sources: &Sources,
    doorkeeper: Option<&'d Doorkeeper>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(&'d str, Change), Box<Response>> {
    let who = admit(doorkeeper, headers)?;
    let refuse = |status, code, detail: &str| Err(Box::new(problem(status, code, detail)));
    // Nobody takes orders while a baseline is learned: whoever gave one would wait for as long.
    if sources.health.get() == Lifecycle::Starting {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            "a baseline is being learned: come again",
        );
    }
    let media = text(headers, header::CONTENT_TYPE).split(';').next().unwrap_or("").trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let detail = "send application/json: {\"why\": \"...\"}";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    }
    let body = match body {
        Ok(body) => body,
        Err(error) => return refuse(error.status(), "unreadable_request", &error.body_text()),
    };
    let mut change: Change = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => {
            let detail = format!("the body is not {{\"why\": \"...\"}}: {error}");
            return refuse(StatusCode::BAD_REQUEST, "unreadable_request", &detail);
        }
    };
    change.why = change.why.trim().to_owned();
    if change.why.len() > WHY_BYTES_MAX || change.why.contains(char::is_control) {
        let detail = format!("a reason is one line of at most {WHY_BYTES_MAX} bytes");
        return refuse(StatusCode::BAD_REQUEST, "unusable_reason", &detail);
    }
    Ok((who, change))
}

/// Answers when what was ordered is stored and told to the proxies.
async fn carried_out(sources: &Sources, id: &str, ordered: Result<Quarantine, OrderError>) -> Response {
    if let Err(error) = ordered {
        return refused(&error);
    }
    let confirmed = match &sources.quarantines.enforcer {
        Some(enforcer) => confirmed(enforcer, id).await,
        None => Ok(()),
    };
    match confirmed {
        Ok(()) => document(sources, id),
        Err(why) => {
            let detail = format!("it is ordered, but {why}; look at the quarantine and the log");
            problem(StatusCode::SERVICE_UNAVAILABLE, "not_confirmed", &detail)
        }
    }
}

/// Waits until what was ordered is on disk and told to the proxies; else says what is not.
async fn confirmed(enforcer: &mpsc::Sender<Order>, id: &str) -> Result<(), String> {
    let (done, wait) = oneshot::channel();
    let confirm = async {
        enforcer.send(Order::Confirm { id: id.to_owned(), done }).await.ok()?;
        wait.await.ok()
    };
    match tokio::time::timeout(ENFORCER_TIMEOUT, confirm).await {
        Ok(Some(Ok(()))) => Ok(()),
        Ok(Some(Err(why))) => Err(format!("not on disk: {why}")),
        Ok(None) | Err(_) => Err("not known to be stored and told to proxies".to_owned()),
    }
}

fn refused(error: &OrderError) -> Response {
    let (status, code) = match error {
        OrderError::Refused(CommandError::Unknown { .. }) => return unknown(),
        OrderError::Refused(CommandError::Ended { .. }) => (StatusCode::CONFLICT, "ended"),
        OrderError::Refused(CommandError::KillSwitch) => (StatusCode::CONFLICT, "kill_switch"),
        OrderError::Refused(CommandError::ActiveMax { .. }) => (StatusCode::CONFLICT, "active_max"),
        OrderError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    problem(status, code, &error.to_string())
}
