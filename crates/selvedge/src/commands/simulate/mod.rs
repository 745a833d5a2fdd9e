//! `selvedge simulate`: a mesh that does not exist, told to a capture or to an endpoint window by window.

mod labels;
mod plan;
mod sink;
mod summary;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use selvedge_model::EventTime;
use selvedge_simulate::SimulatedCall;
use selvedge_simulate::otlp::{Frame, Teller, Told};

use crate::cli::SimulateArgs;
use crate::exit::Outcome;
use plan::{Plan, World};
use sink::{Pacer, Sink};

/// Steps of the progress bar, in seconds of the mesh's time.
const BAR_TEMPLATE: &str = "{msg} [{bar:30}] {pos}/{len} s";

/// What left.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    told: Told,
    frames: u64,
    bytes: u64,
}

pub(crate) fn run(args: &SimulateArgs) -> Outcome {
    let plan = Plan::of(args)?;
    let mut world = plan.world()?;
    let mut sink = Sink::open(args)?;
    let written = tell(&plan, &mut world, &mut sink)?;
    let labels = labels_path(args);
    if let Some(path) = &labels {
        let text = serde_json::to_vec_pretty(&labels::document(&plan, &world, &written))?;
        std::fs::write(path, text).with_context(|| format!("cannot write labels to {}", path.display()))?;
    }
    summary::tell(args, &plan, &world, &written, labels.as_deref())?;
    Ok(())
}

/// Where the labels go: as said, or beside the capture.
fn labels_path(args: &SimulateArgs) -> Option<PathBuf> {
    args.labels.clone().or_else(|| {
        let out = args.out.as_ref()?;
        let name = out.file_name()?.to_string_lossy();
        let stem = name.strip_suffix(".zst").unwrap_or(&name);
        let stem = stem.strip_suffix(".otlpcap").unwrap_or(stem);
        Some(out.with_file_name(format!("{stem}.labels.json")))
    })
}

/// Window after window: what is held is a window of calls and the buffers of the sidecars.
fn tell(plan: &Plan, world: &mut World, sink: &mut Sink) -> anyhow::Result<Written> {
    let mut teller = Teller::new(&world.signals);
    let mut pacer = Pacer::new(plan.speed, plan.from)?;
    let (mut of, mut calls, mut frames): (Vec<_>, Vec<SimulatedCall>, Vec<Frame>) = Default::default();
    let mut written = Written::default();
    let bar = progress(plan);
    while world.mesh.now() < plan.until {
        let window = world.mesh.next_window(&mut of);
        world.signals.calls(&world.mesh, window, &of, &mut calls);
        if window.start >= plan.from {
            teller.window(&world.mesh, &world.signals, (window, &of), &calls, &mut frames);
        }
        send(&mut frames, &mut pacer, sink, &mut written)?;
        bar.set_position(window.end.since(plan.begin).as_secs());
    }
    teller.finish(&mut frames);
    send(&mut frames, &mut pacer, sink, &mut written)?;
    sink.finish()?;
    bar.finish_and_clear();
    written.told = teller.told();
    Ok(written)
}

fn send(
    frames: &mut Vec<Frame>,
    pacer: &mut Pacer,
    sink: &mut Sink,
    written: &mut Written,
) -> anyhow::Result<()> {
    for frame in frames.drain(..) {
        pacer.wait(EventTime(frame.observed.0));
        written.frames += 1;
        written.bytes += frame.payload.len() as u64;
        sink.send(frame, pacer.runtime())?;
    }
    Ok(())
}

/// Drawn on standard error, and only when that is a terminal.
fn progress(plan: &Plan) -> ProgressBar {
    let length: Duration = plan.until.since(plan.begin);
    let bar = ProgressBar::with_draw_target(Some(length.as_secs()), ProgressDrawTarget::stderr());
    bar.set_style(
        ProgressStyle::with_template(BAR_TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_message("simulating");
    bar
}
