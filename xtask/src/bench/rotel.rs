//! The peer `rotel`, the best-known collector written in Rust, from PyPI, in an environment of its own below the target folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::steps;
use crate::workspace::Workspace;

/// Pinned, so that runs are comparable; wheels are for some versions of Python only.
const REQUIREMENT: &str = "rotel==0.0.1a15";

/// Finds or installs it; its program.
///
/// # Errors
/// When it cannot be installed here. Whoever asked for it is told, instead of getting a comparison without it.
pub(super) fn install(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("bench-venv");
    let python = folder.join("bin").join("python");
    if !python.is_file() {
        steps::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).context(
            "rotel takes a Python environment: install python3 with its venv module, or leave --rotel out",
        )?;
    }
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        REQUIREMENT,
    ]);
    steps::run(&mut pip).with_context(|| {
        format!(
            "pip cannot install {REQUIREMENT} here (no index, or no wheel for this Python): leave --rotel out"
        )
    })?;
    let ask = "import importlib.util as u, os; print(os.path.dirname(u.find_spec('rotel').origin))";
    let package = PathBuf::from(steps::output(Command::new(&python).args(["-c", ask]))?.trim());
    let program = package.join("rotel-agent");
    ensure!(program.is_file(), "{REQUIREMENT} is installed, and has no program {}", program.display());
    let version = steps::output(Command::new(&program).arg("--version"))
        .context("rotel is installed, and does not run on this machine: leave --rotel out")?;
    eprintln!("peer: {REQUIREMENT}, which calls itself {}", version.trim());
    Ok(program)
}
