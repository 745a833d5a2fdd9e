//! Steps: a child process or a check of our own, announced before, timed after, fatal when it fails.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The steps of one command, for the summary at its end.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs a child to its end with our own input and output.
    ///
    /// # Errors
    /// When it cannot be started, or ends with anything but success.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.step(name, || run(command))
    }

    /// Runs a check of our own.
    ///
    /// # Errors
    /// When the check fails.
    pub(crate) fn step(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("\n==> {name} ({})", room());
        let began = now();
        let outcome = check();
        let took = began.elapsed();
        match outcome {
            Ok(()) => {
                self.done.push((name.to_owned(), took));
                Ok(())
            }
            Err(error) => {
                self.summary();
                Err(error.context(format!("step `{name}` failed after {:.1} s", took.as_secs_f64())))
            }
        }
    }

    /// Prints what was done and how long it took.
    pub(crate) fn summary(&self) {
        eprintln!();
        for (name, took) in &self.done {
            eprintln!("{:>8.1} s  {name}", took.as_secs_f64());
        }
    }
}

/// Runs a child to its end with our own input and output.
///
/// # Errors
/// When it cannot be started, or ends with anything but success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a child to its end and returns what it wrote to its output; its errors go to ours.
///
/// # Errors
/// When it cannot be started, ends with anything but success, or writes something that is not UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` wrote something that is not text"))
}

/// What is free on the disks that builds and tests fill: a full one looks like many other things.
fn room() -> String {
    let of = |path: &Path| {
        let disk = rustix::fs::statvfs(path).ok()?;
        Some(format!("{:.1} GB free in {}", (disk.f_bavail * disk.f_frsize) as f64 / 1e9, path.display()))
    };
    let rooms: Vec<String> = [Path::new("."), &std::env::temp_dir()].into_iter().filter_map(of).collect();
    rooms.join(", ")
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[expect(clippy::disallowed_methods, reason = "how long a step took is no input of anything")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "CI tells what it is by the environment, and nothing of this ships"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
