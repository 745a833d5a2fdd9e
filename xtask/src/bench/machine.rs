//! The machine that figures come from, and who runs on which of its cores.

use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use crate::steps;
use crate::workspace::Workspace;

/// A core for servers and another one for the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cores {
    pub(super) server: usize,
    pub(super) generator: usize,
}

impl Cores {
    /// Two of the cores that we may use; none when there is only one, or nobody wants it.
    pub(super) fn choose(wanted: bool) -> Option<Self> {
        let allowed = sched_getaffinity(None).ok().filter(|_| wanted)?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        let server = *allowed.first()?;
        let siblings = format!("/sys/devices/system/cpu/cpu{server}/topology/thread_siblings_list");
        let siblings = std::fs::read_to_string(siblings).map(|text| listed(&text)).unwrap_or_default();
        Self::of(&allowed, &siblings)
    }

    /// The generator gets no thread of the server's own core, where another one is to be had.
    fn of(allowed: &[usize], siblings_of_first: &[usize]) -> Option<Self> {
        let (&server, others) = allowed.split_first()?;
        let apart = others.iter().find(|core| !siblings_of_first.contains(core));
        let generator = *apart.or(others.first())?;
        Some(Self { server, generator })
    }
}

/// What is said about it.
pub(super) fn pinned(cores: Option<Cores>) -> String {
    match cores {
        Some(Cores { server, generator }) => {
            format!("servers on core {server}, generator on core {generator}")
        }
        None => "not pinned".to_owned(),
    }
}

/// The numbers of a list as the kernel writes it: `0-3,8`.
fn listed(text: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse(), last.parse::<usize>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

/// Does something on one core. A process that is started meanwhile inherits it, with all of its threads.
///
/// # Errors
/// When the kernel does not let us, or what is done fails.
pub(super) fn on_core<T>(core: Option<usize>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(core) = core else { return work() };
    let before = sched_getaffinity(None).context("cannot ask for the cores that we may use")?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).with_context(|| format!("cannot move to core {core}"))?;
    let done = work();
    sched_setaffinity(None, &before).context("cannot go back to all cores")?;
    done
}

/// Where and when a run was: what figures of another one are compared by.
pub(super) fn described(workspace: &Workspace, cores: Option<Cores>) -> Result<Value> {
    let date = steps::output(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?;
    let commit = steps::output(workspace.git().args(["rev-parse", "HEAD"]))?;
    let changes = steps::output(workspace.git().args(["status", "--porcelain", "--untracked-files=no"]))?;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Ok(json!({
        "date": date.trim(),
        "commit": commit.trim(),
        "uncommitted_changes": !changes.trim().is_empty(),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpu": cpu_model(&read("/proc/cpuinfo")),
        "cores": std::thread::available_parallelism()?.get(),
        "load_average_at_start": read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        "pinned": pinned(cores),
    }))
}

/// The first `model name`; some architectures have none.
fn cpu_model(cpuinfo: &str) -> String {
    let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let named = named.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim());
    named.unwrap_or(std::env::consts::ARCH).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gets_another_core_and_not_only_another_thread_of_the_same() {
        assert_eq!(Cores::of(&[0], &[0]), None);
        assert_eq!(Cores::of(&[], &[]), None);
        assert_eq!(Cores::of(&[0, 1], &[0]), Some(Cores { server: 0, generator: 1 }));
        assert_eq!(Cores::of(&[2, 3, 4], &[2, 3]), Some(Cores { server: 2, generator: 4 }));
        assert_eq!(Cores::of(&[0, 1], &[0, 1]), Some(Cores { server: 0, generator: 1 }));
    }

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(listed("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(listed("5"), [5]);
        assert_eq!(listed(""), [0_usize; 0]);
    }

    #[test]
    fn the_model_is_the_first_processors() {
        assert_eq!(
            cpu_model("processor : 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name : x\n"),
            "Some CPU @ 2 GHz"
        );
        assert_eq!(cpu_model("processor : 0\n"), std::env::consts::ARCH);
    }

    #[test]
    fn what_is_done_on_a_core_runs_there_and_the_others_come_back() {
        let Some(cores) = Cores::choose(true) else { return };
        let before = sched_getaffinity(None).unwrap();
        let meanwhile = on_core(Some(cores.generator), || Ok(sched_getaffinity(None)?)).unwrap();
        assert_eq!(meanwhile.count(), 1);
        assert!(meanwhile.is_set(cores.generator));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
