//! `POST /api/v1/sql`: a statement in, rows out, in the format that was asked for.
//!
//! The beginning of an answer is held back, so that what goes wrong early has a status. What goes wrong later breaks the
//! connection off: half an answer must not look like a whole one.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use selvedge_query::output::{BatchWriter, Format, OutputError};
use selvedge_query::{QueryOptions, QueryResult, SqlError, SqlService};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Sources;
use crate::problem::{plain, problem, with_document};
use crate::server::Lifecycle;

/// Bytes of a request.
pub(crate) const REQUEST_BYTES_MAX: usize = 256 << 10;
/// Bytes of an answer that wait for the answer to be whole, or for more; then they go.
const HELD_BACK_MAX: usize = 256 << 10;
/// Seconds after which a query that found no room may come again.
const RETRY_AFTER_SECONDS: &str = "1";

/// What a client sends that can read, at the end of an answer that broke off, why it did.
const ERRORS: HeaderName = HeaderName::from_static("selvedge-errors");
/// Where that stands: a problem document, in a trailer.
const PROBLEM: HeaderName = HeaderName::from_static("selvedge-problem");

/// The formats of answers; the first is what one gets who does not say.
const FORMATS: [Format; 4] = [Format::Json, Format::Csv, Format::Arrow, Format::JsonLines];

/// The request as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    query: String,
}

pub(crate) async fn ask(
    State(sources): State<Sources>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match admit(&sources, &headers, body) {
        Ok((service, format, sql)) => answer(service, format, &sql, &headers).await,
        Err(refused) => *refused,
    }
}

/// Everything that can be known before the query runs.
fn admit<'a>(
    sources: &'a Sources,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(&'a SqlService, Format, String), Box<Response>> {
    let refuse = |status, code, detail: &str| Err(Box::new(problem(status, code, detail)));
    let Some(service) = &sources.sql else {
        return refuse(StatusCode::NOT_FOUND, "sql_off", "SQL is off: `sql.enabled` is false");
    };
    if sources.health.get() == Lifecycle::Starting {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "starting", "nothing is received yet: come again");
    }
    if from_another_site(headers) {
        return refuse(StatusCode::FORBIDDEN, "foreign_origin", "pages of other sites may not ask");
    }
    let Some(format) = wanted(headers) else {
        let known = FORMATS.map(Format::media_type).join(", ");
        return refuse(StatusCode::NOT_ACCEPTABLE, "not_acceptable", &format!("there is: {known}"));
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => return refuse(error.status(), "unreadable_request", &error.body_text()),
    };
    let media = text(headers, header::CONTENT_TYPE).split(';').next().unwrap_or("").trim();
    match media {
        "application/json" => match serde_json::from_slice::<Question>(&body) {
            Ok(question) => Ok((service, format, question.query)),
            Err(error) => {
                let detail = format!("the body is not {{\"query\": \"SELECT ...\"}}: {error}");
                refuse(StatusCode::BAD_REQUEST, "unreadable_request", &detail)
            }
        },
        "text/plain" | "application/sql" => match std::str::from_utf8(&body) {
            Ok(sql) => Ok((service, format, sql.to_owned())),
            Err(_) => refuse(StatusCode::BAD_REQUEST, "unreadable_request", "the body is not UTF-8"),
        },
        _ => {
            let detail = "send application/json with {\"query\": \"SELECT ...\"}, or the SQL as text/plain";
            refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
        }
    }
}

/// True for a request that a page of another site has a browser send. `Host` is a known name here (`hosts.rs`).
pub(crate) fn from_another_site(headers: &HeaderMap) -> bool {
    let origin = text(headers, header::ORIGIN);
    let own = text(headers, header::HOST);
    !origin.is_empty() && origin.split_once("://").is_none_or(|(_, host)| host != own)
}

pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// The first format that the client names; weights are not looked at.
fn wanted(headers: &HeaderMap) -> Option<Format> {
    let accept = text(headers, header::ACCEPT);
    let accept = if accept.trim().is_empty() { "*/*" } else { accept };
    accept.split(',').find_map(|range| {
        let media = range.split(';').next().unwrap_or("").trim();
        match media {
            "*/*" | "application/*" => Some(FORMATS[0]),
            "application/jsonl" => Some(Format::JsonLines),
            media => FORMATS.into_iter().find(|format| {
                format.media_type().split(';').next().is_some_and(|own| own.eq_ignore_ascii_case(media))
            }),
        }
    })
}

async fn answer(service: &SqlService, format: Format, sql: &str, headers: &HeaderMap) -> Response {
    let mut rows =
        match service.query(sql, QueryOptions::default()).await.map(|result| Rows::of(result, format)) {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return failed(&error),
            Err(error) => return refused(&error),
        };
    let (mut held, mut bytes) = (Vec::new(), 0);
    while bytes <= HELD_BACK_MAX {
        match rows.next().await {
            Some(Ok(chunk)) => {
                bytes += chunk.len();
                held.push(chunk);
            }
            Some(Err(error)) => return failed(&error),
            None => break,
        }
    }
    let media = HeaderValue::from_static(format.media_type());
    let told = text(headers, ERRORS) == "trailer";
    let body = Body::new(StreamBody::new(frames(held, rows, told)));
    let mut answer = ([(header::CONTENT_TYPE, media)], body).into_response();
    if told {
        answer.headers_mut().insert(header::TRAILER, HeaderValue::from_static("selvedge-problem"));
    }
    answer
}

/// The body: what was held back, then the rest. An error breaks it off, unless the client reads trailers.
fn frames(
    held: Vec<Bytes>,
    rows: Rows,
    told: bool,
) -> impl Stream<Item = Result<Frame<Bytes>, OutputError>> + Send {
    let rest = stream::unfold(rows, |mut rows| async move { Some((rows.next().await?, rows)) });
    stream::iter(held).map(Ok).chain(rest).map(move |chunk| match chunk {
        Ok(chunk) => Ok(Frame::data(chunk)),
        Err(error) => {
            let problem = HeaderValue::from_str(&document_of(&error).1.to_string());
            match problem {
                Ok(problem) if told => Ok(Frame::trailers(HeaderMap::from_iter([(PROBLEM, problem)]))),
                _ => Err(error),
            }
        }
    })
}

/// A result on its way into a format.
struct Rows {
    result: QueryResult,
    writer: Option<BatchWriter<Written>>,
    written: Written,
}

impl Rows {
    fn of(result: QueryResult, format: Format) -> Result<Self, OutputError> {
        let written = Written::default();
        let writer = Some(BatchWriter::new(format, result.schema(), written.clone())?);
        Ok(Self { result, writer, written })
    }

    /// The next bytes, an error once, then nothing.
    async fn next(&mut self) -> Option<Result<Bytes, OutputError>> {
        while let Some(writer) = &mut self.writer {
            let ended = match self.result.next().await {
                Some(Ok(batch)) => writer.write(&batch),
                Some(Err(error)) => Err(error.into()),
                None => self.writer.take()?.finish(),
            };
            if let Err(error) = ended {
                self.writer = None;
                return Some(Err(error));
            }
            let bytes = self.written.take();
            if !bytes.is_empty() {
                return Some(Ok(bytes));
            }
        }
        None
    }
}

/// What the writer has written and nobody has taken.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn failed(error: &OutputError) -> Response {
    let (status, document) = document_of(error);
    with_document(status, &document)
}

fn refused(error: &SqlError) -> Response {
    let status = status(error);
    let mut answer = with_document(status, &document(error, status));
    if error.retry() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    answer
}

fn document_of(error: &OutputError) -> (StatusCode, Value) {
    match error {
        OutputError::Query(error) => (status(error), document(error, status(error))),
        other => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (status, plain(status, "output_failed", &other.to_string()))
        }
    }
}

fn document(error: &SqlError, status: StatusCode) -> Value {
    let mut document = plain(status, error.code(), &error.to_string());
    if let Some(at) = error.position() {
        document["position"] = json!({ "line": at.line, "column": at.column });
    }
    if let Some(hint) = error.hint() {
        document["hint"] = hint.into();
    }
    document
}

fn status(error: &SqlError) -> StatusCode {
    match error {
        SqlError::Syntax { .. } | SqlError::Invalid { .. } => StatusCode::BAD_REQUEST,
        SqlError::NotReadOnly { .. } => StatusCode::FORBIDDEN,
        SqlError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        SqlError::TooComplex { .. }
        | SqlError::TooManyRows { .. }
        | SqlError::OutOfMemory { .. }
        | SqlError::Failed { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        SqlError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
        SqlError::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
        SqlError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    }
}
