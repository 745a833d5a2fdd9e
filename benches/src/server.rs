//! What everyone writes first: tonic's generated `TraceServiceServer`, which decodes into owned messages and drops them.

use std::hint::black_box;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Request, Response, Status};

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

/// Serves on one thread until the process is told to end.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = TraceServiceServer::new(DecodeAndDrop).max_decoding_message_size(MESSAGE_BYTES_MAX);
        tonic::transport::Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .tcp_nodelay(true)
            .add_service(service)
            .serve(address)
            .await
    })?;
    Ok(())
}

/// Reads the one argument of the server binaries, a loopback address, and serves on it.
///
/// # Errors
/// When there is no such argument, or the address cannot be bound.
pub fn main_with_address() -> anyhow::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let address: SocketAddr = argument
        .parse()
        .map_err(|error| anyhow::anyhow!("expected ADDRESS:PORT, got {argument:?}: {error}"))?;
    anyhow::ensure!(address.ip().is_loopback(), "the benchmark stays on loopback, not {address}");
    serve(address)
}
