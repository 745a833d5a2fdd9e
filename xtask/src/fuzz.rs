//! `cargo xtask fuzz`: builds the program of `fuzz/`, runs some or all of its targets beside each other, and says what came of
//! it.
//!
//! Works on stable Rust: `fuzz/coverage-rustc.sh` has our crates report coverage, libFuzzer is linked from its crate. What
//! a run finds new goes to a scratch folder below `target/fuzz/`, which the next run reads, too; `fuzz/corpus/` is only
//! read.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::steps::{self, shown};
use crate::workspace::Workspace;

/// Seconds of each target unless said.
const SECONDS_DEFAULT: u64 = 60;
/// Seconds of each target in CI: fifteen of them take four minutes on two cores.
const SECONDS_IN_CI: u64 = 30;
/// Bytes of an input: longer ones are slow, and say little that shorter ones cannot.
const INPUT_BYTES_MAX: u64 = 4096;
/// Seconds after which one input counts as a hang.
const HANG_SECONDS: u64 = 25;
/// Megabytes of a target's process; inputs of 4 KB have no reason to need them.
const MEMORY_MB_MAX: u64 = 2048;
/// All targets.
const PROGRAM: &str = "fuzz_all";
/// What tells it which target it is.
const CHOICE: &str = "FUZZ_TARGET";
/// Files in it cost no disk.
const MEMORY_FOLDER: &str = "/dev/shm";
/// How often running targets are looked at.
const LOOK_AFTER: Duration = Duration::from_millis(200);

/// What the flags say.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// Empty: all.
    targets: Vec<String>,
    seconds: u64,
    runs: Option<u64>,
    jobs: usize,
    release: bool,
}

/// The command.
pub(crate) fn run(flags: &[&str]) -> Result<()> {
    fuzz(&Workspace::load()?, &parse(flags)?)
}

/// What CI does: each target for a short while, on all cores.
pub(crate) fn short(workspace: &Workspace) -> Result<()> {
    fuzz(workspace, &Options { seconds: SECONDS_IN_CI, ..parse(&[])? })
}

fn parse(flags: &[&str]) -> Result<Options> {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut options =
        Options { targets: Vec::new(), seconds: SECONDS_DEFAULT, runs: None, jobs, release: false };
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let mut number = || -> Result<u64> {
            let text = flags.next().with_context(|| format!("{flag} needs a number"))?;
            text.parse().with_context(|| format!("{flag}: `{text}` is no number"))
        };
        match *flag {
            "--seconds" => options.seconds = number()?,
            "--runs" => options.runs = Some(number()?),
            "--jobs" => options.jobs = usize::try_from(number()?.max(1))?,
            "--release" => options.release = true,
            other if other.starts_with('-') => {
                bail!(
                    "usage: cargo xtask fuzz [TARGET]... [--seconds N] [--runs N] [--jobs N] [--release], not {other}"
                )
            }
            target => options.targets.push(target.to_owned()),
        }
    }
    Ok(options)
}

fn fuzz(workspace: &Workspace, options: &Options) -> Result<()> {
    let known = known_targets(workspace)?;
    for target in &options.targets {
        ensure!(known.contains(target), "there is no target `{target}`; known here: {}", known.join(", "));
    }
    let targets = if options.targets.is_empty() { known } else { options.targets.clone() };
    steps::run(&mut build(workspace, options.release))?;
    let mut waiting: VecDeque<&String> = targets.iter().collect();
    let mut running: Vec<Run> = Vec::new();
    let mut outcomes = Vec::new();
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < options.jobs
            && let Some(target) = waiting.pop_front()
        {
            running.push(Run::start(workspace, target, options)?);
        }
        pause();
        let mut still = Vec::new();
        for mut run in running {
            match run.child.try_wait()? {
                Some(status) => outcomes.push(run.end(status.success())?),
                None => still.push(run),
            }
        }
        running = still;
    }
    outcomes.sort_by(|a, b| a.target.cmp(&b.target));
    eprint!("{}", table(&outcomes));
    let broken: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.failed).collect();
    for outcome in &broken {
        eprintln!("\n{} failed:\n{}", outcome.target, outcome.repeat);
    }
    ensure!(broken.is_empty(), "{} of {} targets failed", broken.len(), outcomes.len());
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no runtime here, and children cannot be waited for all at once"
)]
fn pause() {
    std::thread::sleep(LOOK_AFTER);
}

/// Each target has a folder of inputs.
fn known_targets(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace.root.join("fuzz/corpus"))? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// A debug build is of the workspace as a whole, a release build has the features of the program. No test can be among the
/// targets, which would spare building dependencies with other features: libFuzzer is linked to `fuzz_all` alone.
fn build(workspace: &Workspace, release: bool) -> Command {
    let mut build = workspace.cargo();
    build.arg("build").env("RUSTC_WORKSPACE_WRAPPER", workspace.root.join("fuzz/coverage-rustc.sh"));
    match release {
        true => build.args(["--release", "--package", "selvedge", "--package", "selvedge-fuzz"]),
        false => build.arg("--workspace"),
    };
    build.args(["--features", "selvedge-fuzz/fuzzer", "--bin", PROGRAM]);
    build
}

/// A target that is running.
struct Run {
    target: String,
    program: PathBuf,
    folder: PathBuf,
    child: Child,
}

/// What came of a target.
struct Outcome {
    target: String,
    executions: u64,
    /// Of all runs that this scratch folder has seen.
    total: u64,
    per_second: u64,
    coverage: u64,
    failed: bool,
    /// Where the input is and how it is run again.
    repeat: String,
}

impl Run {
    fn start(workspace: &Workspace, target: &str, options: &Options) -> Result<Self> {
        let folder = workspace.target.join("fuzz").join(target);
        let (scratch, broken) = (folder.join("corpus"), folder.join("broken"));
        fs::create_dir_all(&scratch)?;
        fs::create_dir_all(&broken)?;
        let profile = if options.release { "release" } else { "debug" };
        let program = workspace.target.join(profile).join(PROGRAM);
        let mut command = Command::new(&program);
        command
            .env(CHOICE, target)
            .arg(&scratch)
            .arg(workspace.root.join("fuzz/corpus").join(target))
            .arg(format!("-artifact_prefix={}/", broken.display()))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={HANG_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
            .arg("-print_final_stats=1")
            .arg("-use_value_profile=0");
        match options.runs {
            Some(runs) => command.arg(format!("-runs={runs}")),
            None => command.arg(format!("-max_total_time={}", options.seconds)),
        };
        // What writes files writes them to memory, where there is such a folder.
        if Path::new(MEMORY_FOLDER).is_dir() {
            command.env("TMPDIR", MEMORY_FOLDER);
        }
        let words = workspace.root.join("fuzz/words").join(format!("{target}.dict"));
        if words.is_file() {
            command.arg(format!("-dict={}", words.display()));
        }
        eprintln!("    {CHOICE}={target} {}", shown(&command));
        let log = File::create(folder.join("log"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { target: target.to_owned(), program, folder, child })
    }

    fn end(self, success: bool) -> Result<Outcome> {
        let path = self.folder.join("log");
        let log = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let (executions, per_second, coverage) = figures(&log);
        let tally = self.folder.join("executions");
        let before: u64 =
            fs::read_to_string(&tally).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
        let total = before + executions;
        fs::write(&tally, total.to_string())?;
        let repeat = match input_of(&log) {
            Some(input) if !success => format!(
                "  {}\n  input: {}\n  again: {CHOICE}={} {} {}",
                reason(&log),
                input.display(),
                self.target,
                self.program.display(),
                input.display()
            ),
            _ => format!("  {}\n  see {}", reason(&log), path.display()),
        };
        // A target that ran nothing has shown nothing.
        let failed = !success || executions == 0;
        Ok(Outcome { target: self.target, executions, total, per_second, coverage, failed, repeat })
    }
}

/// Executions, executions a second and covered edges, from libFuzzer's own words.
fn figures(log: &str) -> (u64, u64, u64) {
    let after = |line: &str, word: &str| {
        let number = line.split(word).nth(1)?.split_whitespace().next()?;
        number.parse::<u64>().ok()
    };
    let last = |word: &str| log.lines().rev().find_map(|line| after(line, word)).unwrap_or_default();
    (last("stat::number_of_executed_units:"), last("stat::average_exec_per_sec:"), last("cov:"))
}

/// The file that a run wrote its last input to.
fn input_of(log: &str) -> Option<&Path> {
    log.lines().rev().find_map(|line| line.split("Test unit written to ").nth(1)).map(Path::new)
}

/// What a person wants to read first.
fn reason(log: &str) -> &str {
    let told = |line: &&str| line.contains("panicked at") || line.contains("ERROR: libFuzzer");
    log.lines().find(told).unwrap_or("libFuzzer said nothing")
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "\n{:12} {:>12} {:>12} {:>10} {:>10}  {}\n",
        "target", "executions", "with earlier", "a second", "coverage", "crashes"
    );
    for outcome in outcomes {
        let Outcome { target, executions, total, per_second, coverage, failed, .. } = outcome;
        let crashes = u8::from(*failed);
        writeln!(text, "{target:12} {executions:>12} {total:>12} {per_second:>10} {coverage:>10}  {crashes}")
            .expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
#2\tINITED cov: 16 ft: 16 corp: 1/1b exec/s: 0 rss: 33Mb
#734520\tDONE   cov: 1021 ft: 5 corp: 90/1Kb lim: 500 exec/s: 24484 rss: 60Mb
stat::number_of_executed_units: 734520
stat::average_exec_per_sec:     24484
";

    #[test]
    fn figures_are_those_that_libfuzzer_ended_with() {
        assert_eq!(figures(LOG), (734_520, 24_484, 1021));
        assert_eq!(figures("no figures"), (0, 0, 0));
    }

    #[test]
    fn a_crash_is_told_with_its_file() {
        let log = "thread panicked at src/a.rs:7:1:\n==1== ERROR: libFuzzer: deadly signal\n\
                   artifact_prefix='x/'; Test unit written to x/crash-1\n";
        assert_eq!(input_of(log), Some(Path::new("x/crash-1")));
        assert!(reason(log).contains("src/a.rs:7"));
        assert_eq!(input_of(LOG), None);
    }

    #[test]
    fn every_target_has_a_folder_of_inputs() {
        let workspace = Workspace::load().unwrap();
        let text = fs::read_to_string(workspace.root.join("fuzz/src/lib.rs")).unwrap();
        let name = |line: &str| Some(line.strip_prefix("    (\"")?.split_once('"')?.0.to_owned());
        let mut listed: Vec<String> = text.lines().filter_map(name).collect();
        listed.sort();
        assert_eq!(known_targets(&workspace).unwrap(), listed);
    }

    #[test]
    fn flags_are_targets_and_numbers() {
        let options = parse(&["sql", "--seconds", "5", "--runs", "100", "--jobs", "1", "--release"]).unwrap();
        let (targets, seconds, runs) = (vec!["sql".to_owned()], 5, Some(100));
        assert_eq!(options, Options { targets, seconds, runs, jobs: 1, release: true });
        assert!(parse(&["--second", "5"]).is_err());
        assert!(parse(&["--seconds"]).is_err());
    }
}
