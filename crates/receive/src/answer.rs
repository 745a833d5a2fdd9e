//! The bytes of an answer: export responses, statuses, and the body type that both services send.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use prost::Message;
use selvedge_model::SignalKind;

use crate::handover::Encoding;

/// What is said about an accepted request. Nothing rejected and no message means: say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acceptance {
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

impl Acceptance {
    /// The `Export*ServiceResponse` of a signal. The three have the same shape on the protobuf wire.
    pub(crate) fn encode(&self, signal: SignalKind, encoding: Encoding) -> Bytes {
        let silent = self.rejected == 0 && self.message.is_empty();
        match encoding {
            Encoding::Protobuf if silent => Bytes::new(),
            Encoding::Protobuf => self.to_protobuf(),
            Encoding::Json if silent => Bytes::from_static(b"{}"),
            Encoding::Json => self.to_json(signal),
        }
    }

    fn to_protobuf(&self) -> Bytes {
        let partial = PartialSuccess {
            rejected: i64::try_from(self.rejected).unwrap_or(i64::MAX),
            message: self.message.clone(),
        };
        ExportResponse { partial: Some(partial) }.encode_to_vec().into()
    }

    fn to_json(&self, signal: SignalKind) -> Bytes {
        let rejected_key = match signal {
            SignalKind::Traces => "rejectedSpans",
            SignalKind::Metrics => "rejectedDataPoints",
            SignalKind::Logs => "rejectedLogRecords",
        };
        let mut partial = serde_json::Map::new();
        if self.rejected > 0 {
            // 64-bit integers are strings in proto3 JSON.
            partial.insert(rejected_key.to_owned(), self.rejected.to_string().into());
        }
        if !self.message.is_empty() {
            partial.insert("errorMessage".to_owned(), self.message.clone().into());
        }
        serde_json::json!({ "partialSuccess": partial }).to_string().into()
    }
}

/// `opentelemetry.proto.collector.*.v1.Export*ServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial: Option<PartialSuccess>,
}

/// `opentelemetry.proto.collector.*.v1.Export*PartialSuccess`.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    message: String,
}

/// One gRPC message: not compressed, its length, itself.
pub(crate) fn grpc_frame(message: &[u8]) -> Bytes {
    const HEAD_OF_EMPTY: &[u8] = &[0; 5];
    if message.is_empty() {
        return Bytes::from_static(HEAD_OF_EMPTY);
    }
    let length = u32::try_from(message.len()).expect("an export response is a counter and a short text");
    let mut frame = BytesMut::with_capacity(HEAD_OF_EMPTY.len() + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    frame.freeze()
}

/// The body of an answer.
pub(crate) enum AnswerBody {
    /// At most one chunk, and with gRPC the trailers.
    Whole { data: Option<Bytes>, trailers: Option<HeaderMap> },
    /// What the health service answers.
    Health(tonic::body::Body),
}

impl AnswerBody {
    /// No body at all.
    pub(crate) fn none() -> Self {
        Self::Whole { data: None, trailers: None }
    }

    /// An HTTP body.
    pub(crate) fn data(data: Bytes) -> Self {
        Self::Whole { data: Some(data).filter(|data| !data.is_empty()), trailers: None }
    }

    /// A gRPC message and `grpc-status: 0`.
    pub(crate) fn grpc_ok(message: &[u8]) -> Self {
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Self::Whole { data: Some(grpc_frame(message)), trailers: Some(trailers) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.get_mut() {
            Self::Whole { data, trailers } => {
                let frame = data.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Self::Health(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { data, trailers } => data.is_none() && trailers.is_none(),
            Self::Health(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { data, .. } => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            Self::Health(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_without_remarks_leaves_partial_success_unset() {
        for signal in SignalKind::ALL {
            assert_eq!(Acceptance::default().encode(signal, Encoding::Protobuf), "");
            assert_eq!(Acceptance::default().encode(signal, Encoding::Json), "{}");
        }
    }

    #[test]
    fn partial_success_names_the_records_of_its_signal() {
        let acceptance = Acceptance { rejected: 2, message: "no id".to_owned() };
        let said = |signal| acceptance.encode(signal, Encoding::Json);
        let expected = [
            r#"{"partialSuccess":{"errorMessage":"no id","rejectedSpans":"2"}}"#,
            r#"{"partialSuccess":{"errorMessage":"no id","rejectedDataPoints":"2"}}"#,
            r#"{"partialSuccess":{"errorMessage":"no id","rejectedLogRecords":"2"}}"#,
        ];
        assert_eq!(SignalKind::ALL.map(said), expected);
    }

    #[test]
    fn a_warning_has_a_message_and_no_count() {
        let warning = Acceptance { rejected: 0, message: "0 spans in a non-empty body".to_owned() };
        let said = warning.encode(SignalKind::Traces, Encoding::Json);
        assert_eq!(said, r#"{"partialSuccess":{"errorMessage":"0 spans in a non-empty body"}}"#);
    }
}
