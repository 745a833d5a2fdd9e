//! How soon people are told of what a hard rule forbids, for `cargo xtask bench --system`; prints it as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use selvedge_benches::alerts::{self, Alerting};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells an engine of refused handshakes amid usual traffic, and listens to its webhook.
#[derive(Parser)]
struct Arguments {
    /// Address of the engine, gRPC.
    engine: SocketAddr,
    /// Address that its webhook leads to.
    webhook: SocketAddr,
    /// Refused handshakes.
    #[arg(long, default_value_t = 200)]
    alerts: u64,
    /// How long ago each was when it is told of, in milliseconds.
    #[arg(long, default_value_t = 0)]
    age: u64,
}

#[expect(clippy::print_stdout, reason = "its result is data for the caller")]
fn main() -> anyhow::Result<()> {
    let Arguments { engine, webhook, alerts, age } = Arguments::parse();
    anyhow::ensure!(
        engine.ip().is_loopback() && webhook.ip().is_loopback(),
        "the benchmark stays on loopback, not {engine} and {webhook}"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let age = Duration::from_millis(age);
    let latencies = runtime.block_on(alerts::run(&Alerting { engine, webhook, alerts, age }))?;
    let micros = |share| latencies.quantile(share).unwrap_or(0);
    println!(
        "{{\"alerts\":{alerts},\"p50_us\":{},\"p99_us\":{},\"max_us\":{}}}",
        micros(0.5),
        micros(0.99),
        micros(1.0)
    );
    Ok(())
}
