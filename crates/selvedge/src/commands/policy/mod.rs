//! `selvedge policy`: policies tried on recorded traffic, written from it, and tested. No engine, no mesh, no network.

mod backtest;
mod cases;
mod recorded;
mod scope;
mod suggest;

use std::path::{Path, PathBuf};

use selvedge_act::visible;
use selvedge_policy::{MeshSettings, PolicyError, PolicySet};

use crate::cli::{MeshArgs, PolicyArgs, PolicyCommand};
use crate::exit::Outcome;

/// Bytes of a file of policies or cases.
const FILE_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn run(args: &PolicyArgs) -> Outcome {
    match &args.command {
        PolicyCommand::Backtest(args) => backtest::run(args),
        PolicyCommand::Suggest(args) => suggest::run(args),
        PolicyCommand::Test(args) => cases::run(args),
    }
}

impl From<&MeshArgs> for MeshSettings {
    fn from(args: &MeshArgs) -> Self {
        Self {
            root_namespace: args.root_namespace.clone(),
            trust_domain: args.trust_domain.clone(),
            selector_label: args.selector_label.clone(),
        }
    }
}

/// All policies of some files. Everything that is wrong with any of them is told at once.
fn read_policies(paths: &[PathBuf], settings: &MeshSettings) -> anyhow::Result<PolicySet> {
    policies(&texts(paths)?, settings)
}

/// Files by name. They are read once: one may be a pipe.
fn texts(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    paths.iter().map(|path| Ok((path.display().to_string(), read(path)?))).collect()
}

fn policies(texts: &[(String, String)], settings: &MeshSettings) -> anyhow::Result<PolicySet> {
    let (mut all, mut problems) = (PolicySet::default(), Vec::new());
    for (name, text) in texts {
        match PolicySet::parse_in(text, name, settings) {
            Ok(set) => all.extend(set),
            Err(errors) => problems.extend(errors),
        }
    }
    if !problems.is_empty() {
        return Err(told(&problems));
    }
    // Without a policy everything passes, which would look like a policy that harms nobody.
    let why: String = all.notes().iter().map(|note| format!("\n  {}", visible(note))).collect();
    anyhow::ensure!(texts.is_empty() || !all.is_empty(), "the files hold no policy that is judged here{why}");
    Ok(all)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let cannot = |error: std::io::Error| anyhow::anyhow!("cannot read {}: {error}", path.display());
    let bytes = std::fs::metadata(path).map_err(cannot)?.len();
    anyhow::ensure!(bytes <= FILE_BYTES_MAX, "{} is longer than {FILE_BYTES_MAX} bytes", path.display());
    std::fs::read_to_string(path).map_err(cannot)
}

fn told(problems: &[PolicyError]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(PolicyError::to_string).collect();
    let noun = if lines.len() == 1 { "problem" } else { "problems" };
    anyhow::anyhow!("{} {noun} in the policies\n  {}", lines.len(), lines.join("\n  "))
}
