//! A closed-loop OTLP/gRPC load: so many requests in flight, the next one sent when one is acknowledged.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use crate::codec::BytesCodec;
use crate::payload::Template;

/// Where, how much, how many at once.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The server, on loopback.
    pub address: SocketAddr,
    /// Requests to send in all.
    pub requests: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Number of the first request: two runs against one server must not repeat ids.
    pub first_sequence: u64,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Spans that the server acknowledged and did not count as rejected.
    pub acked_spans: u64,
    /// Spans that it counted as rejected in a partial success.
    pub rejected_spans: u64,
    /// Requests refused with a retryable answer; each was sent again until accepted.
    pub refused_requests: u64,
}

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// A server that refuses longer than this many times in a row has stopped serving.
const REFUSALS_MAX: u32 = 1_000;
const REFUSAL_PAUSE: Duration = Duration::from_millis(5);

/// Sends the whole plan.
///
/// # Errors
/// When the server cannot be reached, or answers a request with anything but success or a retryable refusal.
pub async fn run(plan: &Plan, templates: &[Template]) -> anyhow::Result<Outcome> {
    anyhow::ensure!(plan.address.ip().is_loopback(), "the benchmark stays on loopback, not {}", plan.address);
    let channel = Endpoint::from_shared(format!("http://{}", plan.address))?
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .connect()
        .await
        .with_context(|| format!("no server at {}", plan.address))?;
    let next = Cell::new(0);
    let workers = (0..plan.in_flight).map(|_| worker(plan, templates, channel.clone(), &next));
    let outcomes = futures::future::try_join_all(workers).await?;
    Ok(outcomes.into_iter().fold(Outcome::default(), |sum, part| Outcome {
        acked_spans: sum.acked_spans + part.acked_spans,
        rejected_spans: sum.rejected_spans + part.rejected_spans,
        refused_requests: sum.refused_requests + part.refused_requests,
    }))
}

async fn worker(
    plan: &Plan,
    templates: &[Template],
    channel: Channel,
    next: &Cell<u64>,
) -> anyhow::Result<Outcome> {
    let mut client = Grpc::new(channel);
    let mut outcome = Outcome::default();
    while next.get() < plan.requests {
        let sequence = plan.first_sequence + next.replace(next.get() + 1);
        let index = usize::try_from(sequence % u64::try_from(templates.len())?)?;
        let template = &templates[index];
        let body = Bytes::from(template.stamp(sequence, now_unix_nano()));
        let rejected = send(&mut client, body, &mut outcome).await?;
        let spans = u64::try_from(template.spans())?;
        outcome.acked_spans += spans.saturating_sub(rejected);
        outcome.rejected_spans += rejected;
    }
    Ok(outcome)
}

/// Sends until it is accepted; returns how many spans a partial success rejected.
async fn send(client: &mut Grpc<Channel>, body: Bytes, outcome: &mut Outcome) -> anyhow::Result<u64> {
    for _ in 0..REFUSALS_MAX {
        client.ready().await?;
        let request = tonic::Request::new(body.clone());
        match client.unary(request, PathAndQuery::from_static(EXPORT), BytesCodec).await {
            Ok(answer) => {
                let answer = ExportTraceServiceResponse::decode(answer.into_inner())?;
                let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
                return Ok(u64::try_from(rejected)?);
            }
            Err(status) if retryable(status.code()) => {
                outcome.refused_requests += 1;
                tokio::time::sleep(REFUSAL_PAUSE).await;
            }
            Err(status) => anyhow::bail!("the server answered {:?}: {}", status.code(), status.message()),
        }
    }
    anyhow::bail!("the server refused a request {REFUSALS_MAX} times in a row")
}

fn retryable(code: tonic::Code) -> bool {
    matches!(code, tonic::Code::Unavailable | tonic::Code::ResourceExhausted)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a load generator plays a proxy, whose spans carry the wall clock"
)]
fn now_unix_nano() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Shape, templates};
    use crate::server::{Yardstick, serve};

    /// Scenario: the load runs against each yardstick on a free port.
    /// Guarantees: every span is acknowledged once, none is counted twice.
    #[test]
    fn every_span_of_the_plan_is_acknowledged_by_both_yardsticks() {
        for yardstick in [Yardstick::Plain, Yardstick::Floor] {
            let expected = Outcome { acked_spans: 2_000, rejected_spans: 0, refused_requests: 0 };
            assert_eq!(loaded(yardstick), expected, "{yardstick:?}");
        }
    }

    fn loaded(yardstick: Yardstick) -> Outcome {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        std::thread::spawn(move || serve(yardstick, address));
        let shape = Shape { bodies: 2, ..Shape::default() };
        let plan = Plan { address, requests: 20, in_flight: 4, first_sequence: 0 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let templates = templates(&shape);
            for _ in 0..200 {
                if let Ok(outcome) = run(&plan, &templates).await {
                    return outcome;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("the server never listened");
        })
    }
}
