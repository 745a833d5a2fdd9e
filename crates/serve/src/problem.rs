//! What is wrong with a request: a problem document (RFC 9457) with a stable `code`, whoever finds it.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::{StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) fn plain(status: StatusCode, code: &str, detail: &str) -> Value {
    json!({
        "type": format!("urn:selvedge:problem:{code}"),
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    })
}

pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    with_document(status, &plain(status, code, detail))
}

pub(crate) fn with_document(status: StatusCode, document: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/problem+json")], document.to_string()).into_response()
}

/// The parameters behind the path.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(problem(error.status(), "unusable_parameters", &error.body_text())),
        }
    }
}

/// The id in the path.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(error) => Err(problem(error.status(), "unusable_path", &error.body_text())),
        }
    }
}
