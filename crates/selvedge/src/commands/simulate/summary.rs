//! What was simulated, for people, and what to try next.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use selvedge_model::EventTime;
use selvedge_simulate::Cause;

use super::Written;
use super::labels;
use super::plan::{Plan, World};
use crate::cli::{EDGES_DEFAULT, LENGTH_DEFAULT, RATE_DEFAULT, SimulateArgs, name_of};
use crate::output;

pub(super) fn tell(
    args: &SimulateArgs,
    plan: &Plan,
    world: &World,
    written: &Written,
    labels: Option<&Path>,
) -> std::io::Result<()> {
    let mut out = output::stdout();
    let told = &written.told;
    let (services, edges) = (world.mesh.services().len(), world.mesh.edges().len());
    writeln!(
        out,
        "simulated {} of a mesh of {services} services and {edges} edges, seed {}, from {}",
        humantime::format_duration(plan.until.since(plan.from)),
        plan.config.seed,
        time(plan.from)
    )?;
    writeln!(out, "told      {} calls in {} records of their sidecars", told.calls, told.records)?;
    harm(&mut out, plan, world, written)?;
    benign(&mut out, plan, world)?;
    let size = mib(written.bytes);
    match (&args.out, &args.endpoint) {
        (Some(path), _) => writeln!(out, "written   {} ({size:.1} MiB of telemetry)", path.display())?,
        (None, url) => {
            let url = url.as_deref().unwrap_or_default();
            writeln!(out, "sent      {} requests ({size:.1} MiB) to {url}", written.frames)?;
        }
    }
    if let Some(path) = labels {
        writeln!(out, "labels    {}", path.display())?;
    }
    if let Some(path) = &args.out {
        next(&mut out, args, path)?;
    }
    Ok(())
}

fn harm(out: &mut impl Write, plan: &Plan, world: &World, written: &Written) -> std::io::Result<()> {
    for (name, scenario) in world.attacks.iter().zip(world.signals.scenarios()) {
        let path: Vec<String> = scenario.path.iter().map(|service| label(world, *service)).collect();
        writeln!(
            out,
            "attack    {} from {}: {}",
            name_of(name),
            since(plan, scenario.start),
            path.join(" -> ")
        )?;
    }
    for (name, fault) in &world.faults {
        let spec = &world.mesh.edges()[fault.edge];
        let (caller, callee) = (label(world, spec.caller), label(world, spec.callee));
        writeln!(out, "fault     {} from {}: {caller} -> {callee}", name_of(name), since(plan, fault.start))?;
    }
    if written.told.refused > 0 {
        writeln!(out, "refused   {} handshakes with a certificate of another issuer", written.told.refused)?;
    }
    Ok(())
}

fn benign(out: &mut impl Write, plan: &Plan, world: &World) -> std::io::Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let labels = world.mesh.labels().iter();
    for label in labels.filter(|label| labels::inside(plan, label)) {
        if !matches!(label.cause, Cause::Fault(_)) {
            *counts.entry(labels::told(label.cause).0).or_default() += 1;
        }
    }
    if counts.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
    writeln!(out, "benign    {}", told.join(", "))
}

/// The commands to go on with: the other half of a quiet stretch and an attacked one after it.
fn next(out: &mut impl Write, args: &SimulateArgs, path: &Path) -> std::io::Result<()> {
    let harmed = !args.attack.is_empty() || !args.fault.is_empty();
    let skip = args.skip.unwrap_or_default();
    if harmed && args.skip.is_some_and(|skip| skip < args.length) {
        // No room for a quiet stretch of the same length before it.
        return Ok(());
    }
    let (quiet, attacked) = match harmed {
        true => (Path::new("quiet.otlpcap"), path),
        false => (path, Path::new("attacked.otlpcap")),
    };
    let mut command = format!("selvedge simulate --seed {}", args.seed);
    let mut option = |name: &str, value: String| command.push_str(&format!(" {name} {value}"));
    if args.edges != EDGES_DEFAULT {
        option("--edges", args.edges.to_string());
    }
    if args.rate != RATE_DEFAULT {
        option("--rate", args.rate.to_string());
    }
    if args.length != LENGTH_DEFAULT {
        option("--for", short(args.length));
    }
    if let Some(start) = args.start {
        option("--start", time(start));
    }
    if !harmed && !skip.is_zero() {
        option("--skip", short(skip + args.length));
    }
    let calm = if args.calm { " --calm" } else { "" };
    let (attack, made) = if harmed { ("", quiet) } else { (" --attack lateral-movement", attacked) };
    writeln!(out, "try       {command}{calm}{attack} --out {}", made.display())?;
    writeln!(out, "          selvedge replay --learn {} {}", quiet.display(), attacked.display())
}

/// As options are written: in one word.
fn short(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

fn label(world: &World, service: usize) -> String {
    let (namespace, name) = world.names(service);
    format!("{namespace}/{name}")
}

/// Time since the first telemetry, as `--attack-at` counts it.
fn since(plan: &Plan, at: EventTime) -> String {
    let seconds = Duration::from_secs(at.since(plan.from).as_secs());
    format!("{} ({})", humantime::format_duration(seconds), time(at))
}

fn time(at: EventTime) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(at.0)).to_string()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
