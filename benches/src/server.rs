//! The two yardsticks. *Plain* is what everyone writes first: tonic's generated `TraceServiceServer`, which decodes into
//! owned messages and drops them. *Floor* is the same server without the decoding: what nobody gets below.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use crate::codec::BytesCodec;

/// The size limit that the OTLP specification recommends, as `selvedge run` has it.
const MESSAGE_BYTES_MAX: usize = 20 << 20;

struct DecodeAndDrop;

#[tonic::async_trait]
impl TraceService for DecodeAndDrop {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        drop(black_box(request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Takes the bytes of a request, acknowledges them and drops them.
#[derive(Clone)]
struct DropBytes;

impl NamedService for DropBytes {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl UnaryService<Bytes> for DropBytes {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        drop(black_box(request.into_inner()));
        // An empty message: everything was accepted.
        std::future::ready(Ok(Response::new(Bytes::new())))
    }
}

impl Service<http::Request<Body>> for DropBytes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec).apply_max_message_size_config(Some(MESSAGE_BYTES_MAX), None);
            Ok(grpc.unary(Self, request).await)
        })
    }
}

/// What a yardstick does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// Decodes it into owned messages and drops them.
    Plain,
    /// Drops its bytes.
    Floor,
}

/// Serves on one thread until the process is told to end.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(yardstick: Yardstick, address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut server = tonic::transport::Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .tcp_nodelay(true);
        let router = match yardstick {
            Yardstick::Plain => server.add_service(
                TraceServiceServer::new(DecodeAndDrop).max_decoding_message_size(MESSAGE_BYTES_MAX),
            ),
            Yardstick::Floor => server.add_service(DropBytes),
        };
        router.serve(address).await
    })?;
    Ok(())
}

/// Reads the one argument of the server binaries, a loopback address, and serves on it.
///
/// # Errors
/// When there is no such argument, or the address cannot be bound.
pub fn main_with_address(yardstick: Yardstick) -> anyhow::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let address: SocketAddr = argument
        .parse()
        .map_err(|error| anyhow::anyhow!("expected ADDRESS:PORT, got {argument:?}: {error}"))?;
    anyhow::ensure!(address.ip().is_loopback(), "the benchmark stays on loopback, not {address}");
    serve(yardstick, address)
}
