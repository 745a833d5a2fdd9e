//! The commands, each a list of steps.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::fuzz;
use crate::peers;
use crate::steps::{self, Steps};
use crate::tidy as tidiness;
use crate::workspace::{Member, Workspace};

/// Files whose change concerns every crate.
const CONCERNS_ALL: &[&str] =
    &["Cargo.toml", "Cargo.lock", "clippy.toml", "rust-toolchain.toml", "rustfmt.toml"];

/// Folders of data that a crate embeds or is checked against.
const DATA_FOLDERS: &[(&str, &str)] =
    &[("rules", "selvedge-detect"), ("schemas", "selvedge-act"), ("fixtures", "selvedge-replay")];

/// A small test of a small crate: where one is among the targets, dependencies have the features that tests need.
const SOME_TEST: &str = "call_path";

/// All that CI does, but for the end-to-end test.
pub(crate) fn check() -> Result<()> {
    let workspace = Workspace::load()?;
    let mut steps = Steps::default();
    style(&workspace, &mut steps)?;
    tests(&workspace, &mut steps)?;
    steps.summary();
    Ok(())
}

/// Formatting, lints, docs and tidiness: what needs no test to run.
fn style(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.run("fmt", workspace.cargo().args(["fmt", "--all", "--", "--check"]))?;
    steps.step("tidy", || tidiness::check(workspace))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.run("clippy", workspace.cargo().args(clippy))?;
    // A target that no `cargo test` finds by itself is not among all targets either.
    let by_name = ["clippy", "--workspace", "--test", "real_envoy", "--", "-D", "warnings"];
    steps.run("clippy of the tests with a real Envoy", workspace.cargo().args(by_name))?;
    // What only the fuzzer turns on is in no other target. Of the whole workspace and with a test: its dependencies are those
    // of above.
    let fuzzed =
        ["clippy", "--workspace", "--bins", "--test", SOME_TEST, "--features", "selvedge-fuzz/fuzzer"];
    steps.run("clippy of fuzz targets", workspace.cargo().args(fuzzed).args(["--", "-D", "warnings"]))?;
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    steps.run("docs", workspace.cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.run("tests", workspace.cargo().args(["test", "--workspace"]))
}

/// Simulated weeks through the detector of behaviour, and what came of them; or faults that were recorded elsewhere.
pub(crate) fn soak(flags: &[&str]) -> Result<()> {
    let workspace = Workspace::load()?;
    match flags {
        ["recorded"] => steps::run(&mut recorded(&workspace)),
        flags => steps::run(&mut soaked(&workspace, flags)),
    }
}

/// Faults that others recorded. The table is told by a test of the whole engine, built with the features that the other tests
/// have.
fn recorded(workspace: &Workspace) -> Command {
    let mut test = workspace.cargo();
    test.args(["test", "--quiet", "--workspace", "--test", "recorded", "--", "--nocapture"]);
    test
}

fn soaked(workspace: &Workspace, flags: &[&str]) -> Command {
    let mut soak = workspace.cargo();
    soak.args(["run", "--quiet", "--release", "--package", "selvedge-soak", "--"]).args(flags);
    soak
}

/// The command that the README names and `.ci/run` calls.
pub(crate) fn test(flags: &[&str]) -> Result<()> {
    let in_ci = steps::variable("CI").is_some_and(|value| value == "true");
    let (tests_wanted, peers_wanted) = match flags {
        [] => (true, true),
        ["--without-peers"] if in_ci => bail!("CI=true: the end-to-end test cannot be left out in CI"),
        ["--without-peers"] => (true, false),
        ["--only-peers"] => (false, true),
        _ => bail!("usage: cargo xtask test [--without-peers | --only-peers]"),
    };
    let workspace = Workspace::load()?;
    let mut steps = Steps::default();
    if in_ci && tests_wanted {
        style(&workspace, &mut steps)?;
    }
    if tests_wanted {
        tests(&workspace, &mut steps)?;
        if in_ci {
            steps.run("soak, short form", &mut soaked(&workspace, &["short"]))?;
            steps.step("fuzz, short form", || fuzz::short(&workspace))?;
        }
    }
    if peers_wanted {
        end_to_end(&workspace, &mut steps, tests_wanted)?;
    }
    steps.summary();
    if !peers_wanted {
        eprintln!(
            "\nNOT TESTED, as asked: the end-to-end test. Nothing above spoke with a real Envoy, a real\n\
             OpenTelemetry SDK, a real Alertmanager or psql. `cargo xtask test --only-peers` does."
        );
    }
    Ok(())
}

/// `built`: the tests of the workspace ran before, and have built the program, with their features. To ask for the package
/// alone would build the query engine once more, with others.
fn end_to_end(workspace: &Workspace, steps: &mut Steps, built: bool) -> Result<()> {
    let mut installed = None;
    steps.step("install the peers of the end-to-end test", || {
        installed = Some(peers::install(workspace)?);
        Ok(())
    })?;
    if !built {
        steps.run("build selvedge", workspace.cargo().args(["build", "--package", "selvedge"]))?;
    }
    if let Some(peers) = installed {
        steps.step("cargo deny", || peers.audit_dependencies(workspace))?;
        let mut xds = workspace.cargo();
        let alone = ["test", "--package=selvedge-enforce", "--package=selvedge"];
        xds.args(if built { &["test", "--workspace"] } else { &alone[..] }).args(["--test", "real_envoy"]);
        steps.run("xDS and snippets with a real Envoy", xds.env("ENVOY", peers.envoy()))?;
        let program = workspace.target.join("debug").join("selvedge");
        steps.run("end-to-end test", &mut peers.test_command(workspace, &program))?;
    }
    Ok(())
}

/// What Cargo cannot check.
pub(crate) fn tidy() -> Result<()> {
    tidiness::check(&Workspace::load()?)
}

/// Rewrites golden files and shows what changed: review it like code.
pub(crate) fn golden() -> Result<()> {
    let workspace = Workspace::load()?;
    let mut steps = Steps::default();
    let mut tests = workspace.cargo();
    steps.run(
        "tests that rewrite their golden files",
        tests.args(["test", "--workspace"]).env("UPDATE_GOLDEN", "1"),
    )?;
    steps.run("what changed", workspace.git().args(["--no-pager", "diff", "--stat"]))?;
    steps.run("what is new", workspace.git().args(["status", "--short"]))
}

/// The fast round while working: only what differs from HEAD.
pub(crate) fn quick() -> Result<()> {
    let workspace = Workspace::load()?;
    let mut steps = Steps::default();
    let mut changed = BTreeSet::new();
    for file in workspace.changed_files()? {
        changed.extend(concerned(&workspace.members, &file));
    }
    let changed: Vec<&Member> =
        workspace.members.iter().filter(|member| changed.contains(member.name.as_str())).collect();
    if changed.is_empty() {
        eprintln!("no crate differs from HEAD");
    } else {
        steps.run("fmt", of(workspace.cargo().arg("fmt"), &changed).args(["--", "--check"]))?;
        let mut clippy = workspace.cargo();
        of(clippy.arg("clippy"), &changed).args(["--all-targets", "--", "-D", "warnings"]);
        steps.run("clippy", &mut clippy)?;
        for (kind, flag) in [("lib", "--lib"), ("bin", "--bins")] {
            let with: Vec<&Member> =
                changed.iter().copied().filter(|member| member.targets.contains(kind)).collect();
            if !with.is_empty() {
                let mut unit_tests = workspace.cargo();
                of(unit_tests.arg("test"), &with).arg(flag);
                steps.run(&format!("unit tests ({flag})"), &mut unit_tests)?;
            }
        }
    }
    steps.step("tidy", || tidiness::check(&workspace))?;
    steps.summary();
    Ok(())
}

/// Adds `--package` for each of the crates.
fn of<'a>(command: &'a mut Command, crates: &[&Member]) -> &'a mut Command {
    for member in crates {
        command.args(["--package", &member.name]);
    }
    command
}

/// Names of the crates that a changed file concerns.
fn concerned<'a>(members: &'a [Member], file: &Path) -> Vec<&'a str> {
    if CONCERNS_ALL.iter().any(|all| file == Path::new(all)) {
        return members.iter().map(|member| member.name.as_str()).collect();
    }
    let data = DATA_FOLDERS.iter().find(|(folder, _)| file.starts_with(folder)).map(|(_, owner)| *owner);
    let owns = |member: &&Member| file.starts_with(&member.folder) || data == Some(member.name.as_str());
    members.iter().filter(owns).map(|member| member.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<Member> {
        [("selvedge-model", "crates/model"), ("selvedge-detect", "crates/detect"), ("xtask", "xtask")]
            .map(|(name, folder)| Member {
                name: name.to_owned(),
                folder: folder.into(),
                ..Member::default()
            })
            .to_vec()
    }

    #[test]
    fn a_changed_file_concerns_the_crate_that_it_stands_in() {
        assert_eq!(concerned(&members(), Path::new("crates/model/src/edge.rs")), ["selvedge-model"]);
        assert_eq!(concerned(&members(), Path::new("xtask/Cargo.toml")), ["xtask"]);
        assert!(concerned(&members(), Path::new("docs/proxies.md")).is_empty());
    }

    #[test]
    fn a_changed_rule_concerns_the_crate_that_embeds_it() {
        assert_eq!(concerned(&members(), Path::new("rules/new_edge.yml")), ["selvedge-detect"]);
    }

    #[test]
    fn the_root_manifest_concerns_all() {
        assert_eq!(concerned(&members(), Path::new("Cargo.lock")).len(), 3);
    }
}
