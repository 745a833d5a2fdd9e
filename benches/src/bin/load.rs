//! The load generator of `cargo xtask bench`: sends a fixed number of requests and prints what came of them as JSON.

use std::net::SocketAddr;

use clap::Parser;
use selvedge_benches::load::{self, Plan};
use selvedge_benches::payload::{Shape, Signal, templates};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// OTLP load of a mesh's sidecars, on loopback.
#[derive(Parser)]
struct Arguments {
    /// Address of the server.
    address: SocketAddr,
    /// Over HTTP/1.1 with protobuf bodies; over gRPC without.
    #[arg(long)]
    http: bool,
    /// What requests carry.
    #[arg(long, value_enum, default_value_t = Signal::Traces)]
    signal: Signal,
    /// Requests to send.
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// Requests in flight, at most.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Spans, log records or points in a request.
    #[arg(long, default_value_t = 100)]
    records: usize,
    /// Requests due in a second, for an open loop.
    #[arg(long)]
    rate: Option<f64>,
    /// Number of the first request; ids repeat when it does.
    #[arg(long, default_value_t = 0)]
    first_sequence: u64,
    /// Workloads of the mesh; four times as many edges, when there are bodies enough.
    #[arg(long, default_value_t = 50)]
    workloads: usize,
    /// Different requests; each has three edges.
    #[arg(long, default_value_t = 64)]
    bodies: usize,
}

#[expect(clippy::print_stdout, reason = "its result is data for the caller")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let templates = templates(&Shape {
        signal: arguments.signal,
        records: arguments.records,
        workloads: arguments.workloads,
        bodies: arguments.bodies,
        ..Shape::default()
    });
    let plan = Plan {
        address: arguments.address,
        http: arguments.http,
        signal: arguments.signal,
        requests: arguments.requests,
        in_flight: arguments.in_flight,
        first_sequence: arguments.first_sequence,
        rate: arguments.rate,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(load::run(&plan, &templates))?;
    let bytes: usize = templates.iter().map(selvedge_benches::payload::Template::len).sum();
    let latency = |share| outcome.latencies.quantile(share).unwrap_or(0);
    println!(
        "{{\"acked\":{},\"rejected\":{},\"refused_requests\":{},\"seconds\":{:.3},\"bytes_per_record\":{},\
         \"p50_us\":{},\"p99_us\":{},\"max_us\":{},\"worst_second_p99_us\":{}}}",
        outcome.acked,
        outcome.rejected,
        outcome.refused_requests,
        outcome.took.as_secs_f64(),
        bytes / (templates.len() * arguments.records),
        latency(0.5),
        latency(0.99),
        latency(1.0),
        outcome.latencies.worst_second_p99().unwrap_or(0)
    );
    Ok(())
}
