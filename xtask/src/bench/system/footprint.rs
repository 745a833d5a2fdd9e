//! The program by itself: its size, its start, and what it takes when nothing comes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::contestants::{Variant, selvedge, selvedge_command};
use super::super::process;
use super::super::results::{Bound, Results};
use super::super::server::{Server, pause};
use super::Context;
use crate::steps;

const MEGABYTE: f64 = 1e6;
const START_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_micros(200);
/// After its start it has done what it had to do once.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// With its defaults, but for the ports: with a journal.
const AS_INSTALLED: Variant =
    Variant { name: "as installed", journal: Some("journal-of-a-start"), ..Variant::USUAL };

/// How large the program is without its symbols.
pub(super) fn size(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let stripped = context.bench.scratch.join("selvedge-stripped");
    let mut strip = std::process::Command::new("strip");
    steps::run(strip.arg("-o").arg(&stripped).arg(context.bench.programs.join("selvedge")))?;
    let bytes = std::fs::metadata(&stripped)?.len();
    context.bench.remove("selvedge-stripped")?;
    let megabytes = results.figure("binary, stripped", "MB", vec![bytes as f64 / MEGABYTE]);
    results.goal("binary, stripped, everything in", megabytes, Bound::AtMost(60.0), "MB");
    Ok(())
}

/// From the start of the process to the first request that it accepted.
pub(super) fn start(context: &Context<'_>, results: &mut Results) -> Result<()> {
    // The first one reads the program from disk.
    started(context)?;
    let rounds = context.options.common.rounds.max(5);
    let millis: Result<Vec<f64>> = (0..rounds).map(|_| started(context)).collect();
    let millis = results.figure("start to first accepted request", "ms", millis?);
    results.goal("start to first accepted request, nothing learned", millis, Bound::AtMost(25.0), "ms");
    context.bench.remove("journal-of-a-start")
}

fn started(context: &Context<'_>) -> Result<f64> {
    let (mut command, addresses, _) = selvedge_command(context.bench, &AS_INSTALLED)?;
    let began = steps::now();
    let mut server = Server::spawn(context.bench, AS_INSTALLED.name, addresses, &mut command)?;
    while !accepts(addresses.http)? {
        server.still_running()?;
        ensure!(began.elapsed() < START_WITHIN, "nothing is accepted {START_WITHIN:?} after the start");
        pause(LOOK_AGAIN);
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Sends an empty request; false when nobody listens yet.
fn accepts(address: SocketAddr) -> Result<bool> {
    let Ok(mut stream) = TcpStream::connect(address) else { return Ok(false) };
    stream.set_read_timeout(Some(START_WITHIN))?;
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
    )?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(status == *b"HTTP/1.1 200")
}

/// Memory, and CPU time as a share of a core, of a program to which nothing is sent.
pub(super) fn idle(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let server = selvedge(context.bench, &AS_INSTALLED)?;
    pause(SETTLED_AFTER);
    let (before, began) = (process::fine_cpu_time(server.process())?, steps::now());
    pause(Duration::from_secs(context.options.seconds));
    let busy = process::fine_cpu_time(server.process())?.saturating_sub(before);
    let percent = 100.0 * busy.as_secs_f64() / began.elapsed().as_secs_f64();
    let megabytes = process::resident_bytes(server.process())? as f64 / MEGABYTE;
    drop(server);
    context.bench.remove("journal-of-a-start")?;
    let percent = results.figure("idle, of a core", "%", vec![percent]);
    let megabytes = results.figure("idle, resident", "MB", vec![megabytes]);
    results.goal("idle, of a core", percent, Bound::AtMost(0.2), "%");
    results.goal("idle, memory", megabytes, Bound::AtMost(30.0), "MB");
    Ok(())
}
