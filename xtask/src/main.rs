//! `cargo xtask`: everything that this repository does to itself, in one place that needs nothing but Cargo.
//!
//! Turns a command's name into steps that are printed, timed and stopped at the first failure. Owns the checks that
//! Cargo cannot express ([`tidy`], [`floors`]), the peers of the end-to-end test ([`peers`]), the benchmark
//! ([`mod@bench`]) and fuzzing ([`fuzz`]). Never part of the shipped program. Start reading at [`COMMANDS`], then `commands.rs`.

mod bench;
mod commands;
mod floors;
mod fuzz;
mod peers;
mod steps;
mod text_rules;
mod tidy;
mod workspace;

use std::process::ExitCode;

/// What each command is for, as `cargo xtask` prints it.
const COMMANDS: &str = "\
cargo xtask <command>

  quick    fmt, clippy, unit tests and tidy for the crates that differ from HEAD: while you work
  check    fmt, clippy, all tests, docs, tidy: before you send
  test     all tests, then the end-to-end test with a real Envoy, OpenTelemetry SDK and Alertmanager, which it
           installs (pip into the target folder; apt for Alertmanager, openssl and Python, as root);
           with CI=true also fmt, clippy, docs and tidy
             --without-peers   leave the end-to-end test out, and say so
             --only-peers      only the end-to-end test
  tidy     arrows between crates, owners of heavy dependencies, sizes, headers, names in rules and fixtures
  golden   run the tests with UPDATE_GOLDEN=1 and show what changed
  bench    CPU seconds per million records of `selvedge run`, against servers that decode and drop, or only drop, the same
           payload; beside the last recorded run (`benches/recorded.json`), and as JSON in the target folder
             --signal traces|logs|metrics  --http  --spans N (100 a request; 5, 512; of logs Envoy sends 7)
             --rounds N (5)  --requests N (a million records)  --warm-up MB (2500)  --profile NAME (release)
             --no-pin  --record
             --rotel (a peer, from PyPI)  --glibc  --yardstick-only
           --system: start, restart, idle, size, replay, shards, latency, alerts, window close, many edges, minute 10 against 1
             --only NAME,...  --minutes N (10)  --seconds N (20)  --alerts N (200)  --rounds N  --warm-up MB  --no-pin  --record
           --micro: decode, join, learn and judge alone (criterion): [NAME]
           --sql: questions over ten million calls in memory, against plain DataFusion; what a row costs and takes
             --rounds N (5)  --calls N (10000000)  --edges N (1000)
  fuzz     hostile bytes for everything that reads any (`fuzz/`): [TARGET]...
              --seconds N (60 each)  --runs N (each, instead)  --jobs N (cores)  --release
  soak     false pages of simulated mesh-weeks, what is found of injected faults, poisoning, broken calibration,
           lateral movement, false quarantines
             null | power | poison | control | causes | wired | cost | lateral | quarantine | short (for CI)
             lateral: --scenarios N (30)  --cover  --known  --new-edge CHANCE
             recorded: faults that others recorded (../shared/captures): found or not, how soon, suspects
             --seed N (1)  --meshes N (1)  --edges N (300)  --weeks N (2)  --warm-weeks N (5)  --window SECONDS (10)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["quick"] => commands::quick(),
        ["check"] => commands::check(),
        ["test", flags @ ..] => commands::test(flags),
        ["tidy"] => commands::tidy(),
        ["golden"] => commands::golden(),
        ["bench", flags @ ..] => bench::run(flags),
        ["fuzz", flags @ ..] => fuzz::run(flags),
        ["soak", flags @ ..] => commands::soak(flags),
        _ => {
            eprint!("{COMMANDS}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
