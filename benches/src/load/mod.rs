//! The load: closed loop (so many requests in flight, the next one sent when one is acknowledged) or open (each sent when it
//! is due, whatever became of those before), over gRPC or HTTP.

mod grpc;
mod http;
mod latency;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use self::grpc::GrpcSender;
use self::http::HttpSender;
pub use self::latency::Latencies;
use crate::payload::{Signal, Template};

/// Where, how much, how many at once.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The server, on loopback.
    pub address: SocketAddr,
    /// OTLP over HTTP/1.1 with protobuf bodies, one connection for each request in flight; else gRPC over one.
    pub http: bool,
    /// What the templates carry.
    pub signal: Signal,
    /// Requests to send in all.
    pub requests: u64,
    /// Requests in flight, at most.
    pub in_flight: usize,
    /// Number of the first request: two runs against one server must not repeat ids.
    pub first_sequence: u64,
    /// Requests due in a second, for an open loop; a closed one without.
    pub rate: Option<f64>,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Records that the server acknowledged and did not count as rejected.
    pub acked: u64,
    /// Records that it counted as rejected in a partial success.
    pub rejected: u64,
    /// Requests refused with a retryable answer; each was sent again until accepted.
    pub refused_requests: u64,
    /// From the first request to the last acknowledgement.
    pub took: Duration,
    /// From when a request was due (open loop) or sent (closed) to its acknowledgement.
    pub latencies: Latencies,
}

/// A server that refuses longer than this many times in a row has stopped serving.
const REFUSALS_MAX: u32 = 1_000;
const REFUSAL_PAUSE: Duration = Duration::from_millis(5);
/// The timer wakes up to a millisecond late, more than an acknowledgement takes: the rest is waited for by looking.
const TIMER_COARSENESS: Duration = Duration::from_millis(2);

/// What a server said to a request.
pub(crate) enum Answer {
    /// Accepted, but for so many records.
    Accepted { rejected: u64 },
    /// To be sent again.
    Refused,
}

enum Sender {
    Grpc(GrpcSender),
    Http(HttpSender),
}

/// What the workers of a run share.
struct Shared<'a> {
    plan: &'a Plan,
    templates: &'a [Template],
    began: Instant,
    next: Cell<u64>,
    outcome: RefCell<Outcome>,
}

/// Sends the whole plan.
///
/// # Errors
/// When the server cannot be reached, or answers a request with anything but success or a retryable refusal.
pub async fn run(plan: &Plan, templates: &[Template]) -> anyhow::Result<Outcome> {
    anyhow::ensure!(plan.address.ip().is_loopback(), "the benchmark stays on loopback, not {}", plan.address);
    let mut senders = Vec::new();
    if plan.http {
        for _ in 0..plan.in_flight {
            senders.push(Sender::Http(HttpSender::connect(plan).await?));
        }
    } else {
        let sender = GrpcSender::connect(plan).await?;
        senders.extend((0..plan.in_flight).map(|_| Sender::Grpc(sender.clone())));
    }
    let shared = Shared {
        plan,
        templates,
        began: Instant::now(),
        next: Cell::new(0),
        outcome: RefCell::new(Outcome::default()),
    };
    futures::future::try_join_all(senders.into_iter().map(|sender| shared.worker(sender))).await?;
    let took = shared.began.elapsed();
    Ok(Outcome { took, ..shared.outcome.into_inner() })
}

impl Shared<'_> {
    async fn worker(&self, mut sender: Sender) -> anyhow::Result<()> {
        while self.next.get() < self.plan.requests {
            let number = self.next.replace(self.next.get() + 1);
            let due = self.due(number).await;
            let sequence = self.plan.first_sequence + number;
            let index = usize::try_from(sequence % u64::try_from(self.templates.len())?)?;
            let template = &self.templates[index];
            let body = Bytes::from(template.stamp(sequence, now_unix_nano()));
            let began = due.unwrap_or_else(Instant::now);
            let rejected = self.send(&mut sender, body).await?;
            let records = u64::try_from(template.records())?;
            let mut outcome = self.outcome.borrow_mut();
            outcome.acked += records.saturating_sub(rejected);
            outcome.rejected += rejected;
            outcome.latencies.add(self.began.elapsed(), began.elapsed());
        }
        Ok(())
    }

    /// Waits until the request is due, in an open loop.
    async fn due(&self, number: u64) -> Option<Instant> {
        let due = self.began + Duration::from_secs_f64(number as f64 / self.plan.rate?);
        let now = Instant::now();
        if due > now + TIMER_COARSENESS {
            tokio::time::sleep_until(due.checked_sub(TIMER_COARSENESS).unwrap_or(due)).await;
        }
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        Some(due)
    }

    /// Sends until it is accepted; how many records a partial success rejected.
    async fn send(&self, sender: &mut Sender, body: Bytes) -> anyhow::Result<u64> {
        for _ in 0..REFUSALS_MAX {
            let answer = match sender {
                Sender::Grpc(sender) => sender.send(body.clone()).await?,
                Sender::Http(sender) => sender.send(body.clone()).await?,
            };
            match answer {
                Answer::Accepted { rejected } => return Ok(rejected),
                Answer::Refused => {
                    self.outcome.borrow_mut().refused_requests += 1;
                    tokio::time::sleep(REFUSAL_PAUSE).await;
                }
            }
        }
        anyhow::bail!("the server refused a request {REFUSALS_MAX} times in a row")
    }
}

/// The time that a proxy's records carry.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a load generator plays a proxy, whose records carry the wall clock"
)]
pub fn now_unix_nano() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Shape, templates};
    use crate::server::{Yardstick, serve};

    /// Scenario: each signal is sent to each yardstick, over gRPC and over HTTP, on free ports.
    /// Guarantees: every record is acknowledged once, none is counted twice.
    #[test]
    fn every_record_of_the_plan_is_acknowledged_by_both_yardsticks() {
        for yardstick in [Yardstick::Plain, Yardstick::Floor] {
            let [grpc, http] = [free_address(), free_address()];
            std::thread::spawn(move || serve(yardstick, grpc, http));
            for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
                for (over_http, address) in [(false, grpc), (true, http)] {
                    let outcome = loaded(&plan(address, over_http, signal));
                    let counted = (outcome.acked, outcome.rejected, outcome.refused_requests);
                    assert_eq!(counted, (2_000, 0, 0), "{yardstick:?} {signal:?} over HTTP: {over_http}");
                }
            }
        }
    }

    /// Scenario: 20 requests, 200 a second.
    /// Guarantees: none is sent before it is due, so that it takes as long as the plan says.
    #[test]
    fn an_open_loop_keeps_to_its_rate() {
        let [grpc, http] = [free_address(), free_address()];
        std::thread::spawn(move || serve(Yardstick::Floor, grpc, http));
        let plan = Plan { rate: Some(200.0), ..plan(grpc, false, Signal::Traces) };
        let outcome = loaded(&plan);
        assert_eq!(outcome.acked, 2_000);
        assert!(outcome.took >= Duration::from_millis(95), "{:?}", outcome.took);
    }

    fn plan(address: SocketAddr, http: bool, signal: Signal) -> Plan {
        Plan { address, http, signal, requests: 20, in_flight: 4, first_sequence: 0, rate: None }
    }

    fn free_address() -> SocketAddr {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    }

    fn loaded(plan: &Plan) -> Outcome {
        let templates = templates(&Shape { bodies: 2, signal: plan.signal, ..Shape::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..200 {
                if let Ok(outcome) = run(plan, &templates).await {
                    return outcome;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("the server never listened");
        })
    }
}
