//! Taking in a body: counted before it is read, contiguous afterwards, copied only when it comes in pieces.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::admission::{Admission, Permit};
use crate::refusal::Refusal;

/// How long a body may take to arrive. Its announced size is counted as in flight all that time, so a sender that
/// stalls must not keep it.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a refused HTTP/1 body is read and forgotten, so that the sender gets to read the answer instead of
/// a connection reset, and for how long.
const DISCARD_BYTES_MAX: usize = 4 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Flag and length in front of a gRPC message.
const GRPC_HEAD: usize = 5;

/// What bounds the intake of one body.
pub(crate) struct Intake<'a> {
    pub(crate) admission: &'a Arc<Admission>,
    /// Largest body, before and after decompression.
    pub(crate) bytes_max: usize,
    pub(crate) retry_after: Duration,
}

/// A gRPC message as it came: perhaps compressed, covered by its permit.
pub(crate) struct GrpcMessage {
    pub(crate) compressed: bool,
    pub(crate) payload: Bytes,
    pub(crate) permit: Permit,
}

impl Intake<'_> {
    /// The whole body of an HTTP request. Announced bytes are reserved at once, unannounced ones as they come.
    pub(crate) async fn http<B>(&self, body: &mut B) -> Result<(Bytes, Permit), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let announced = match body.size_hint().exact() {
            Some(length) => usize::try_from(length).unwrap_or(usize::MAX),
            None => 0,
        };
        if announced > self.bytes_max {
            return Err(self.too_large());
        }
        let mut permit = self.reserve(announced)?;
        let bytes = self.in_time(self.http_chunks(body, announced, &mut permit)).await?;
        Ok((bytes, permit))
    }

    async fn http_chunks<B>(
        &self,
        body: &mut B,
        announced: usize,
        permit: &mut Permit,
    ) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut gather = Gather { expected: announced, ..Gather::default() };
        while let Some(chunk) = next_chunk(body).await? {
            let length = gather.len() + chunk.len();
            if length > self.bytes_max {
                return Err(self.too_large());
            }
            if permit.bytes() < length && !permit.resize(length) {
                return Err(Refusal::Overloaded { retry_after: self.retry_after });
            }
            gather.push(chunk);
        }
        Ok(gather.finish())
    }

    /// The single message of a unary gRPC request. Its length is reserved as soon as its head has come.
    pub(crate) async fn grpc<B>(&self, body: &mut B) -> Result<GrpcMessage, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.in_time(self.grpc_chunks(body)).await
    }

    async fn grpc_chunks<B>(&self, body: &mut B) -> Result<GrpcMessage, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut gather = Gather::default();
        let mut head: Option<(GrpcHead, Permit)> = None;
        while let Some(chunk) = next_chunk(body).await? {
            if head.is_none()
                && let Some(parsed) = gather.grpc_head(&chunk)?
            {
                if parsed.length > self.bytes_max {
                    return Err(self.too_large());
                }
                gather.expected = GRPC_HEAD + parsed.length;
                head = Some((parsed, self.reserve(parsed.length)?));
            }
            // Before the head is known there are less than five bytes, all told.
            let length_max = head.as_ref().map_or(GRPC_HEAD, |_| gather.expected);
            if gather.len() + chunk.len() > length_max {
                return Err(Refusal::Malformed("more than one message in a unary request".to_owned()));
            }
            gather.push(chunk);
        }
        let length = gather.len();
        match head {
            Some((head, permit)) if length == GRPC_HEAD + head.length => {
                let payload = gather.finish().split_off(GRPC_HEAD);
                Ok(GrpcMessage { compressed: head.compressed, payload, permit })
            }
            None if length == 0 => Err(Refusal::Malformed("no message in a unary request".to_owned())),
            _ => Err(Refusal::Malformed("the message is shorter than announced".to_owned())),
        }
    }

    async fn in_time<T>(&self, intake: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        match timeout(BODY_TIMEOUT, intake).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::Slow { retry_after: self.retry_after }),
        }
    }

    fn reserve(&self, bytes: usize) -> Result<Permit, Refusal> {
        self.admission.reserve(bytes).ok_or(Refusal::Overloaded { retry_after: self.retry_after })
    }

    fn too_large(&self) -> Refusal {
        Refusal::TooLarge { bytes_max: self.bytes_max }
    }
}

/// Reads and forgets the rest of a refused body, within bounds.
pub(crate) async fn discard<B>(body: &mut B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let reading = async {
        let mut discarded = 0;
        while discarded < DISCARD_BYTES_MAX {
            match next_chunk(body).await {
                Ok(Some(chunk)) => discarded += chunk.len(),
                Ok(None) | Err(_) => return,
            }
        }
    };
    // Out of time: the sender is not worth waiting for, and sees the connection close.
    timeout(DISCARD_TIMEOUT, reading).await.ok();
}

async fn next_chunk<B>(body: &mut B) -> Result<Option<Bytes>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
            Some(Err(_)) => return Err(Refusal::Malformed("the body broke off".to_owned())),
        }
    }
}

#[derive(Clone, Copy)]
struct GrpcHead {
    compressed: bool,
    length: usize,
}

/// Chunks becoming one: a single chunk is kept as it is, more are copied together.
#[derive(Default)]
struct Gather {
    first: Bytes,
    rest: BytesMut,
    /// How long it will be, as far as is known.
    expected: usize,
}

impl Gather {
    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.first = chunk;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve(self.expected.max(self.first.len() + chunk.len()));
            self.rest.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.rest.extend_from_slice(&chunk);
    }

    fn finish(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }

    /// The head of a gRPC message, once all of its bytes are in what came before and `chunk`.
    fn grpc_head(&self, chunk: &Bytes) -> Result<Option<GrpcHead>, Refusal> {
        let mut head = [0; GRPC_HEAD];
        let mut filled = 0;
        for byte in self.first.iter().chain(&self.rest).chain(chunk).take(GRPC_HEAD) {
            head[filled] = *byte;
            filled += 1;
        }
        if filled < GRPC_HEAD {
            return Ok(None);
        }
        let [flag, length @ ..] = head;
        if flag > 1 {
            return Err(Refusal::Malformed("not a gRPC message".to_owned()));
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        Ok(Some(GrpcHead { compressed: flag == 1, length }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;
    use http_body_util::Full;

    use super::*;

    /// A body that comes in these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Pieces {
        fn of(bytes: &'static [u8], size: usize) -> Self {
            Self(bytes.chunks(size).map(Bytes::from_static).collect())
        }
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    #[tokio::test]
    async fn a_grpc_message_is_the_same_whatever_the_pieces_it_comes_in() {
        let wire = b"\x00\x00\x00\x00\x06shawls";
        for size in 1..=wire.len() {
            let admission = Admission::new(6);
            let intake = Intake { admission: &admission, bytes_max: 6, retry_after: Duration::from_secs(1) };
            let message = intake.grpc(&mut Pieces::of(wire, size)).await.expect("whole");
            assert_eq!(message.payload, "shawls");
            assert!(!message.compressed);
            assert_eq!(admission.bytes_in_flight(), 6);
        }
    }

    #[tokio::test]
    async fn a_single_chunk_is_not_copied() {
        let wire = Bytes::from_static(b"\x01\x00\x00\x00\x04weft");
        let admission = Admission::new(10);
        let intake = Intake { admission: &admission, bytes_max: 6, retry_after: Duration::from_secs(1) };
        let message = intake.grpc(&mut Full::new(wire.clone())).await.expect("whole");
        assert_eq!(message.payload.as_ptr(), wire[GRPC_HEAD..].as_ptr());
        assert!(message.compressed);
    }
}
