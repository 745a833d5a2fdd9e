//! Why a request was not accepted, and how each transport says so (OTLP specification, "Failures").

use std::time::Duration;

use http::StatusCode;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

use crate::decompress::{ACCEPTED, Failure};
use crate::journal::Unstored;

/// A request that was not accepted, and why.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not a request of the signal, or not what its headers say it is.
    Malformed(String),
    /// Larger than one request may be, before or after decompression.
    TooLarge { bytes_max: usize },
    /// No room now.
    Overloaded { retry_after: Duration },
    /// The journal cannot store it now.
    Unstored { reason: Unstored, retry_after: Duration },
    /// Announced, but not sent within the time a body may take.
    Slow { retry_after: Duration },
    /// Shutting down.
    Closing { retry_after: Duration },
    /// No bearer token, or not the right one.
    Unauthenticated,
    /// A content type that is neither protobuf nor JSON.
    ContentType,
    /// A content encoding that is not among [`ACCEPTED`].
    ContentEncoding,
    /// Not POST.
    Method,
    /// No such path (HTTP) or method (gRPC).
    Path,
    /// HTTP/1 on the gRPC port: a common mix-up of 4317 and 4318.
    NotGrpc,
}

impl Refusal {
    /// What a failed decompression means to the sender.
    pub(crate) fn of_failure(failure: Failure, bytes_max: usize, retry_after: Duration) -> Self {
        match failure {
            Failure::Malformed(message) => Self::Malformed(message),
            Failure::TooLarge => Self::TooLarge { bytes_max },
            Failure::NoRoom => Self::Overloaded { retry_after },
        }
    }

    /// True when the sender is asked to repeat the request.
    pub(crate) fn retryable(&self) -> bool {
        self.retry_after().is_some()
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after }
            | Self::Unstored { retry_after, .. }
            | Self::Slow { retry_after }
            | Self::Closing { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The HTTP status. Never 500: the specification makes it permanent, and the sender would drop the data.
    pub(crate) fn http_status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::NotGrpc => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Overloaded { .. } | Self::Unstored { .. } | Self::Slow { .. } | Self::Closing { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::ContentType | Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path => StatusCode::NOT_FOUND,
        }
    }

    /// The gRPC code. `RESOURCE_EXHAUSTED` goes without RetryInfo, which makes it permanent.
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) | Self::ContentType | Self::NotGrpc => Code::InvalidArgument,
            Self::TooLarge { .. } => Code::ResourceExhausted,
            Self::Overloaded { .. } | Self::Unstored { .. } | Self::Slow { .. } | Self::Closing { .. } => {
                Code::Unavailable
            }
            Self::Unauthenticated => Code::Unauthenticated,
            Self::ContentEncoding | Self::Method | Self::Path => Code::Unimplemented,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Malformed(message) => message.clone(),
            Self::TooLarge { bytes_max } => {
                format!("the request is larger than {bytes_max} bytes, decompressed; send smaller batches")
            }
            Self::Overloaded { .. } => "too many bytes in flight; retry later".to_owned(),
            Self::Unstored { reason, .. } => reason.message().to_owned(),
            Self::Slow { .. } => "the body did not arrive in time; retry later".to_owned(),
            Self::Closing { .. } => "shutting down; retry later".to_owned(),
            Self::Unauthenticated => "a valid bearer token is required".to_owned(),
            Self::ContentType => "content type must be application/x-protobuf or application/json".to_owned(),
            Self::ContentEncoding => format!("content encoding must be one of {ACCEPTED}"),
            Self::Method => "method must be POST".to_owned(),
            Self::Path => "nothing is served here; OTLP traces, metrics and logs are".to_owned(),
            Self::NotGrpc => {
                "this port speaks gRPC over HTTP/2; send OTLP/HTTP to the HTTP port (4318)".to_owned()
            }
        }
    }

    /// The refusal as gRPC says it; its `details` are also the protobuf body that HTTP answers with.
    pub(crate) fn to_status(&self) -> tonic::Status {
        let mut details = ErrorDetails::new();
        if let Some(delay) = self.retry_after() {
            details.set_retry_info(Some(delay));
        }
        if let Self::Malformed(message) = self {
            details.add_bad_request_violation("body", message.as_str());
        }
        tonic::Status::with_error_details(self.code(), self.message(), details)
    }

    /// The refusal as a `google.rpc.Status` in proto3 JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut details = Vec::new();
        if let Some(delay) = self.retry_after() {
            details.push(serde_json::json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": format!("{}s", delay.as_secs_f64()),
            }));
        }
        if let Self::Malformed(message) = self {
            details.push(serde_json::json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "body", "description": message}],
            }));
        }
        serde_json::json!({"code": self.code() as i32, "message": self.message(), "details": details})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_retryable_refusals_carry_a_delay_and_they_are_503_and_unavailable() {
        let wait = Duration::from_millis(1500);
        let all = [
            Refusal::Malformed("x".to_owned()),
            Refusal::TooLarge { bytes_max: 1 },
            Refusal::Overloaded { retry_after: wait },
            Refusal::Unstored { reason: Unstored::DiskFull, retry_after: wait },
            Refusal::Slow { retry_after: wait },
            Refusal::Closing { retry_after: wait },
            Refusal::Unauthenticated,
            Refusal::ContentType,
            Refusal::ContentEncoding,
            Refusal::Method,
            Refusal::Path,
            Refusal::NotGrpc,
        ];
        for refusal in all {
            let status = refusal.to_status();
            let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
            assert_eq!(delay, refusal.retry_after(), "{refusal:?}");
            assert_eq!(status.code() == Code::Unavailable, refusal.retryable(), "{refusal:?}");
            assert_eq!(refusal.http_status() == StatusCode::SERVICE_UNAVAILABLE, refusal.retryable());
            assert_ne!(refusal.http_status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}
