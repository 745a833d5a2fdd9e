//! The load generator of `cargo xtask bench`: sends a fixed number of requests and prints what came of them as JSON.

use std::net::SocketAddr;

use clap::Parser;
use selvedge_benches::load::{self, Plan};
use selvedge_benches::payload::{Shape, templates};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Closed-loop OTLP/gRPC load of Envoy-like spans, on loopback.
#[derive(Parser)]
struct Arguments {
    /// Address of the server.
    address: SocketAddr,
    /// Requests to send.
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Spans in a request.
    #[arg(long, default_value_t = 100)]
    spans: usize,
    /// Number of the first request; ids repeat when it does.
    #[arg(long, default_value_t = 0)]
    first_sequence: u64,
}

#[expect(clippy::print_stdout, reason = "its result is data for the caller")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let templates = templates(&Shape { spans: arguments.spans, ..Shape::default() });
    let plan = Plan {
        address: arguments.address,
        requests: arguments.requests,
        in_flight: arguments.in_flight,
        first_sequence: arguments.first_sequence,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(load::run(&plan, &templates))?;
    println!(
        "{{\"acked_spans\":{},\"rejected_spans\":{},\"refused_requests\":{}}}",
        outcome.acked_spans, outcome.rejected_spans, outcome.refused_requests
    );
    Ok(())
}
