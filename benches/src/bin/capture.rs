//! A capture of the benchmark's own payload, for `selvedge replay`: the requests that `load` would send, at a steady rate.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use selvedge_benches::payload::{Shape, Signal, templates};

/// Writes a capture (format v1) and prints as JSON how much is in it.
#[derive(Parser)]
struct Arguments {
    /// File to write.
    out: PathBuf,
    /// What requests carry.
    #[arg(long, value_enum, default_value_t = Signal::Traces)]
    signal: Signal,
    /// Requests in it.
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// Records in a request.
    #[arg(long, default_value_t = 100)]
    records: usize,
    /// Requests that a second holds.
    #[arg(long, default_value_t = 500)]
    rate: u64,
}

const MAGIC: &[u8] = b"SLVCAP01";
const START_UNIX_NANO: u64 = 1_800_000_000_000_000_000;

#[expect(clippy::print_stdout, reason = "its result is data for the caller")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let shape = Shape { signal: arguments.signal, records: arguments.records, ..Shape::default() };
    let templates = templates(&shape);
    let signal = match arguments.signal {
        Signal::Traces => 1_u8,
        Signal::Metrics => 2,
        Signal::Logs => 3,
    };
    let file = std::fs::File::create(&arguments.out)
        .with_context(|| format!("cannot write {}", arguments.out.display()))?;
    let mut file = BufWriter::new(file);
    file.write_all(MAGIC)?;
    let mut payload_bytes = 0;
    for sequence in 0..arguments.requests {
        let observed = START_UNIX_NANO + sequence * (1_000_000_000 / arguments.rate.max(1));
        let body = templates[usize::try_from(sequence)? % templates.len()].stamp(sequence, observed);
        file.write_all(&[signal])?;
        file.write_all(&observed.to_le_bytes())?;
        file.write_all(&u32::try_from(body.len())?.to_le_bytes())?;
        file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
        file.write_all(&body)?;
        payload_bytes += body.len();
    }
    file.flush()?;
    let records = arguments.requests * u64::try_from(arguments.records)?;
    println!("{{\"payload_bytes\":{payload_bytes},\"records\":{records}}}");
    Ok(())
}
