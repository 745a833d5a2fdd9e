//! What the engine itself costs: the same requests as `load` sends, handed to the pipeline without a network.
//!
//! For profilers, and for telling the engine's share of a span's cost from the receiver's. Prints CPU nanoseconds a
//! span; like every figure of one process alone it is worth something only beside another of the same minute.

use anyhow::Context as _;
use clap::Parser;
use selvedge_benches::payload::{Shape, templates};
use selvedge_checkpoint::{Checkpoint, Head};
use selvedge_decode::{DecodeConfig, Decoded, Decoder};
use selvedge_engine::{Encoding, EngineConfig, Pipeline, RawBatch, RuleSet};
use selvedge_model::{ObservedTime, SignalKind, SteadyTime, SymbolTable};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Feeds the pipeline with Envoy-like spans.
#[derive(Parser)]
struct Arguments {
    /// Requests before the measurement: tables reach their usual size.
    #[arg(long, default_value_t = 30_000)]
    warm_up: u64,
    /// Requests measured.
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
    /// Spans in a request.
    #[arg(long, default_value_t = 100)]
    spans: usize,
    /// Workloads of the mesh; four times as many edges, when there are bodies enough.
    #[arg(long, default_value_t = 50)]
    workloads: usize,
    /// Different requests; each has three edges.
    #[arg(long, default_value_t = 64)]
    bodies: usize,
    /// Megabytes of the join window.
    #[arg(long, default_value_t = 256)]
    join_megabytes: usize,
    /// Only decode.
    #[arg(long)]
    decode_only: bool,
    /// Requests that a second of event time holds.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Then take a checkpoint and go on from it, and print what that costs.
    #[arg(long)]
    checkpoint: bool,
}

const START_UNIX_NANO: u64 = 1_800_000_000_000_000_000;
/// Bodies made before they are handed in together, so that making them is not measured.
const BODIES_AT_ONCE: u64 = 16;

#[expect(clippy::print_stdout, reason = "its result is data for the caller")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let shape = Shape {
        records: arguments.spans,
        workloads: arguments.workloads,
        bodies: arguments.bodies,
        ..Shape::default()
    };
    let templates = templates(&shape);
    let mut config = EngineConfig::default();
    config.join.open_bytes_max = arguments.join_megabytes << 20;
    let mut pipeline = Pipeline::new(&config, RuleSet::shipped());
    let mut effects = Vec::new();
    let mut decoder = Decoder::new(DecodeConfig::default());
    let (mut symbols, mut decoded) = (SymbolTable::new(64 << 20), Decoded::default());
    let mut busy = 0;
    let mut sequence = 0;
    while sequence < arguments.warm_up + arguments.requests {
        let bodies = (sequence..sequence + BODIES_AT_ONCE).map(|number| {
            let now = START_UNIX_NANO + number * (1_000_000_000 / arguments.rate);
            let template = &templates[usize::try_from(number).unwrap_or(0) % templates.len()];
            (now, template.stamp(number, now))
        });
        let bodies: Vec<(u64, Vec<u8>)> = bodies.collect();
        let began = cpu_nanoseconds()?;
        for (now, body) in &bodies {
            let batch = RawBatch {
                signal: SignalKind::Traces,
                encoding: Encoding::Protobuf,
                body,
                observed: ObservedTime(*now),
                steady: SteadyTime(*now),
            };
            if arguments.decode_only {
                decoder.decode(
                    batch.signal,
                    batch.encoding,
                    body,
                    batch.observed,
                    &mut symbols,
                    &mut decoded,
                )?;
                continue;
            }
            pipeline.ingest(batch, &mut effects)?;
            effects.clear();
        }
        if sequence >= arguments.warm_up {
            busy += cpu_nanoseconds()? - began;
        }
        sequence += BODIES_AT_ONCE;
    }
    let spans = (sequence - arguments.warm_up) * u64::try_from(arguments.spans)?;
    let calls = pipeline.stats().calls;
    println!("{{\"cpu_nanoseconds_per_span\":{},\"spans\":{spans},\"calls\":{calls}}}", busy / spans);
    if arguments.checkpoint {
        checkpoint(&mut pipeline, &config)?;
    }
    Ok(())
}

/// For how long telemetry would wait, what is written, and how long a start would take.
#[expect(clippy::print_stdout, reason = "its result is data for the caller")]
fn checkpoint(pipeline: &mut Pipeline, config: &EngineConfig) -> anyhow::Result<()> {
    let micros = |began: u64| anyhow::Ok((cpu_nanoseconds()? - began) / 1_000);
    let began = cpu_nanoseconds()?;
    let saved = pipeline.save();
    let (pause, began) = (micros(began)?, cpu_nanoseconds()?);
    let checkpoint = Checkpoint { head: Head::default(), sections: saved.into_sections() };
    let mut file = Vec::new();
    checkpoint.write(&mut file)?;
    let (write, began) = (micros(began)?, cpu_nanoseconds()?);
    let read = Checkpoint::read(&mut file.as_slice(), u64::MAX)?;
    let edges = Pipeline::resume(config, RuleSet::shipped(), &read)?.stats().edges;
    let resume = micros(began)?;
    let bytes: Vec<String> = checkpoint
        .sections
        .iter()
        .map(|section| format!("\"{}\":{}", section.name, section.bytes.len()))
        .collect();
    println!(
        "{{\"edges\":{edges},\"pause_us\":{pause},\"write_us\":{write},\"resume_us\":{resume},\"file_bytes\":{},\
         \"section_bytes\":{{{}}}}}",
        file.len(),
        bytes.join(",")
    );
    Ok(())
}

/// CPU time of this thread, as the scheduler counts it.
fn cpu_nanoseconds() -> anyhow::Result<u64> {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").context("only Linux tells CPU time here")?;
    Ok(text.split_whitespace().next().context("an empty schedstat")?.parse()?)
}
