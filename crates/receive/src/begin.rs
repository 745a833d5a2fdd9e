//! A connection that stops before it has said which protocol it speaks does not keep its place.
//!
//! HTTP/2 begins with 24 fixed bytes, and whoever serves both versions waits for as many of them as agree. A peer that
//! sends some of them and no more would wait with it for ever, and hold one of `connections_max` places.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What an HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that fails when its peer stops inside the preface for too long.
pub(crate) struct Begin<T> {
    stream: T,
    /// Bytes of the preface that have come.
    agreed: usize,
    /// `None` when it is clear which protocol it is.
    late: Option<Pin<Box<Sleep>>>,
}

impl<T> Begin<T> {
    pub(crate) fn within(patience: Duration, stream: T) -> Self {
        Self { stream, agreed: 0, late: Some(Box::pin(sleep(patience))) }
    }

    fn look(&mut self, fresh: &[u8]) {
        let rest = &PREFACE[self.agreed..];
        let length = fresh.len().min(rest.len());
        self.agreed += length;
        // The end of the stream is for the protocol to judge.
        if fresh.is_empty() || fresh[..length] != rest[..length] || self.agreed == PREFACE.len() {
            self.late = None;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Begin<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.late.is_none() {
            return read;
        }
        if read.is_ready() {
            self.look(&buffer.filled()[before..]);
            return read;
        }
        let late = self.late.as_mut().is_some_and(|late| late.as_mut().poll(context).is_ready());
        if late { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begin<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
