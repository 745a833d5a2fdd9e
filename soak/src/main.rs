//! The soak at window level: simulator and detector together over weeks, and the tables of what they came to.
//!
//! `soak short` is for CI (about a minute); `null`, `power`, `poison`, `control`, `lateral` and `quarantine` take what
//! they are told to. Everything follows from the seed. The program has a package of its own because it must not wait for
//! the query engine to build.

mod causes;
mod control;
mod lateral;
mod null;
mod poison;
mod power;
mod quarantine;
mod rig;
mod shaped;
mod table;
mod versions;
mod wired;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use selvedge_detect::calibration::Budgets;
use selvedge_simulate::MeshConfig;

/// Simulates meshes, runs the detector on them and prints tables.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// First seed; further meshes take the seeds after it. Tune on 1 to 9, report from 100 on.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// How many meshes, one after the other.
    #[arg(long, global = true, default_value_t = 1)]
    meshes: u64,
    /// Edges of a mesh.
    #[arg(long, global = true, default_value_t = 300)]
    edges: usize,
    /// Weeks that are measured.
    #[arg(long, global = true, default_value_t = 2)]
    weeks: u64,
    /// Weeks of learning and calibration before.
    #[arg(long, global = true, default_value_t = 5)]
    warm_weeks: u64,
    /// Chance of a deployment to bring a new edge, where calls are told by shapes; the simulator's own without it.
    #[arg(long, global = true)]
    new_edge: Option<f64>,
    /// Services say which version they run, where calls are driven as the pipeline drives them.
    #[arg(long, global = true)]
    versions: bool,
    /// Seconds of a window. With 60 there are fewer to go through: slow scores are nearly the same, quick ones are not.
    #[arg(long, global = true, default_value_t = 10)]
    window: u64,
}

#[derive(Subcommand)]
enum What {
    /// False pages and warnings when nothing is wrong.
    Null,
    /// What is found of injected faults, and how soon.
    Power,
    /// Slow ramps, and an attacker who sees every score.
    Poison,
    /// Calibration broken on purpose: does the cap hold?
    Control,
    /// What the layer tells of quiet weeks when it is driven as the pipeline does.
    Wired,
    /// What it costs then: CPU an edge and window, bytes an edge.
    Cost,
    /// Lateral movement over several hops: what is found of it, and what novelty costs in quiet weeks.
    Lateral {
        /// How many scenarios, over all meshes.
        #[arg(long, default_value_t = 30)]
        scenarios: u64,
        /// A deployment covers each hop: a new version, a new edge and a new route at the same time.
        #[arg(long)]
        cover: bool,
        /// Only the path is new, not its edges.
        #[arg(long)]
        known: bool,
    },
    /// Quarantines in quiet weeks, mode `enforce`.
    Quarantine,
    /// What the largest scores of calm weeks come from.
    Causes,
    /// All of it on a small scale, with checks; fails when something is far off.
    Short,
}

impl Args {
    fn config(&self, mesh: u64) -> MeshConfig {
        let window = Duration::from_secs(self.window);
        MeshConfig { window, ..MeshConfig::noisy(self.seed + mesh, self.edges) }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let fine = match args.what {
        What::Null => null::run(&args),
        What::Power => power::run(&args),
        What::Poison => poison::run(&args),
        What::Control => control::run(&args),
        What::Wired => wired::quiet(&args),
        What::Cost => wired::cost(&args),
        What::Lateral { scenarios, cover, known } => {
            lateral::run(&args, lateral::Plan { scenarios, cover, known })
        }
        What::Quarantine => quarantine::run(&args),
        What::Causes => causes::run(&args),
        What::Short => short(args),
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Small enough for CI: windows of a minute, a hundred edges.
fn short(args: Args) -> bool {
    let args = Args { edges: 100, weeks: 2, warm_weeks: 5, window: 60, meshes: 1, ..args };
    let quiet = null::run(&args);
    let seen = power::run(&args);
    let capped = control::run(&args);
    // As long as novelty needs for a record, and small.
    let args = Args { edges: 30, weeks: 1, warm_weeks: 4, ..args };
    let caught = lateral::run(&args, lateral::Plan { scenarios: 6, cover: false, known: false });
    let harmless = quarantine::run(&Args { warm_weeks: 1, ..args });
    quiet && seen && capped && caught && harmless
}

/// The budgets of the promise.
fn budgets() -> Budgets {
    Budgets::default()
}
