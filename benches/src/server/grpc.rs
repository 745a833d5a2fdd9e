//! The yardsticks over gRPC: tonic's generated servers, and tonic without the generated code.

use std::convert::Infallible;
use std::hint::black_box;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
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

use super::{MESSAGE_BYTES_MAX, Yardstick};
use crate::codec::BytesCodec;

#[derive(Clone, Copy)]
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

#[tonic::async_trait]
impl LogsService for DecodeAndDrop {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        drop(black_box(request.into_inner()));
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for DecodeAndDrop {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        drop(black_box(request.into_inner()));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Takes the bytes of a request to the service that `S` serves, acknowledges them and drops them.
struct DropBytes<S>(PhantomData<fn() -> S>);

impl<S> DropBytes<S> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S> Clone for DropBytes<S> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<S: NamedService> NamedService for DropBytes<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> UnaryService<Bytes> for DropBytes<S> {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        drop(black_box(request.into_inner()));
        // An empty message: everything was accepted.
        std::future::ready(Ok(Response::new(Bytes::new())))
    }
}

impl<S: 'static> Service<::http::Request<Body>> for DropBytes<S> {
    type Response = ::http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec).apply_max_message_size_config(Some(MESSAGE_BYTES_MAX), None);
            Ok(grpc.unary(service, request).await)
        })
    }
}

/// Serves until it fails.
pub(super) async fn serve(yardstick: Yardstick, address: SocketAddr) -> anyhow::Result<()> {
    let mut server = tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .tcp_nodelay(true);
    let traces = TraceServiceServer::new(DecodeAndDrop).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let logs = LogsServiceServer::new(DecodeAndDrop).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let metrics = MetricsServiceServer::new(DecodeAndDrop).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let router = match yardstick {
        Yardstick::Plain => server.add_service(traces).add_service(logs).add_service(metrics),
        Yardstick::Floor => {
            server.add_service(floor_of(&traces)).add_service(floor_of(&logs)).add_service(floor_of(&metrics))
        }
    };
    router.serve(address).await?;
    Ok(())
}

fn floor_of<S>(_: &S) -> DropBytes<S> {
    DropBytes::new()
}
