//! Requests over one gRPC connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use super::{Answer, Plan};
use crate::codec::BytesCodec;
use crate::payload::{Signal, rejected_records};

#[derive(Clone)]
pub(crate) struct GrpcSender {
    client: Grpc<Channel>,
    signal: Signal,
}

impl GrpcSender {
    pub(super) async fn connect(plan: &Plan) -> anyhow::Result<Self> {
        Self::connect_to(plan.address, plan.signal).await
    }

    pub(crate) async fn connect_to(address: SocketAddr, signal: Signal) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .connect()
            .await
            .with_context(|| format!("no server at {address}"))?;
        Ok(Self { client: Grpc::new(channel), signal })
    }

    pub(crate) async fn send(&mut self, body: Bytes) -> anyhow::Result<Answer> {
        self.client.ready().await?;
        let path = PathAndQuery::from_static(match self.signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        });
        match self.client.unary(tonic::Request::new(body), path, BytesCodec).await {
            Ok(answer) => Ok(Answer::Accepted { rejected: rejected_records(&answer.into_inner())? }),
            Err(status) if retryable(status.code()) => Ok(Answer::Refused),
            Err(status) => anyhow::bail!("the server answered {:?}: {}", status.code(), status.message()),
        }
    }
}

fn retryable(code: tonic::Code) -> bool {
    matches!(code, tonic::Code::Unavailable | tonic::Code::ResourceExhausted)
}
