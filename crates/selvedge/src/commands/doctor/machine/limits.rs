//! Limits that the machine sets: open files against connections, memory against budgets.

use std::fs;
use std::path::Path;

use super::super::check::{Check, bytes};
use super::ports::Holder;
use crate::config::Config;

/// Files beside connections: listeners, segments, history, sinks, the runtime's own.
const FILES_BESIDE: u64 = 256;
/// Connections that the API takes.
const API_CONNECTIONS: u64 = 256;
/// Names, series of metrics, open windows and learned edges at their bounds, which no key of the file sets.
const FIXED_BYTES: u64 = 256 << 20;
/// A limit of cgroup version 1 that is none: the largest number of pages.
const UNLIMITED: u64 = 1 << 60;

pub(super) fn look(config: &Config, engine: Option<&Holder>) -> Vec<Check> {
    let (limits, groups) = (of_process(engine, "limits"), of_process(engine, "cgroup"));
    let memory_limit = memory_limit(&groups, Path::new("/sys/fs/cgroup"));
    vec![files(open_files(&limits), files_wanted(config)), memory(memory_limit, memory_wanted(config))]
}

/// What the kernel says of the engine's process, else of ours.
fn of_process(engine: Option<&Holder>, what: &str) -> String {
    let of = |process: &str| fs::read_to_string(format!("/proc/{process}/{what}"));
    let engine = engine.and_then(|engine| of(&engine.pid.to_string()).ok());
    engine.unwrap_or_else(|| of("self").unwrap_or_default())
}

fn files_wanted(config: &Config) -> u64 {
    let receivers = u64::from(config.receive.grpc.is_some()) + u64::from(config.receive.http.is_some());
    let sql = config.sql.as_ref().map_or(0, |sql| sql.connections_max as u64);
    receivers * config.receive.connections_max as u64 + sql + API_CONNECTIONS + FILES_BESIDE
}

fn files(limit: Option<u64>, wanted: u64) -> Check {
    const SUBJECT: &str = "open files";
    let Some(limit) = limit else { return Check::unknown(SUBJECT, "the limit cannot be read") };
    if limit >= wanted {
        return Check::ok(SUBJECT, format!("{limit} allowed, {wanted} wanted at most"));
    }
    Check::warn(SUBJECT, format!("{limit} allowed, but the configured connections may need {wanted}")).advise(
        format!(
            "raise it (`LimitNOFILE={wanted}` in systemd, `ulimit -n {wanted}` in a shell), or lower \
         `receivers.otlp.connections_max`: past the limit senders cannot connect"
        ),
    )
}

/// The soft limit that `/proc/*/limits` shows.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

fn memory_wanted(config: &Config) -> u64 {
    let (receive, engine) = (&config.receive, &config.engine);
    let sql = config.sql.as_ref().map_or(0, |sql| sql.store.bytes_max + sql.queries.memory_bytes_max);
    let keyed = receive.bytes_in_flight_max + engine.join.open_bytes_max + engine.learn.hot_bytes_max + sql;
    keyed as u64 + FIXED_BYTES
}

fn memory(limit: Option<(u64, &'static str)>, wanted: u64) -> Check {
    const SUBJECT: &str = "memory";
    let Some((limit, whose)) = limit else { return Check::unknown(SUBJECT, "the limit cannot be read") };
    let text = format!("{} ({whose})", bytes(limit));
    if limit >= wanted {
        return Check::ok(SUBJECT, format!("{text}, the configured budgets add up to {}", bytes(wanted)));
    }
    Check::warn(SUBJECT, format!("{text}, but the configured budgets add up to {}", bytes(wanted))).advise(
        "raise it, or lower `sql.bytes_max` (the largest), `sql.memory_max` or `engine.join_memory_mib`: past it \
         the kernel ends the process",
    )
}

/// The least that one of the process's cgroups or the machine allows, and which of them.
fn memory_limit(groups: &str, root: &Path) -> Option<(u64, &'static str)> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let group = cgroup_limit(groups, root);
    let limits = [machine.map(|bytes| (bytes, "the machine's")), group.map(|bytes| (bytes, "the cgroup's"))];
    limits.into_iter().flatten().min()
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// The least limit of the group and those that it is in; versions 2 and 1.
fn cgroup_limit(groups: &str, root: &Path) -> Option<u64> {
    let group = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            "" => Some((root.to_owned(), path, "memory.max")),
            "memory" => Some((root.join("memory"), path, "memory.limit_in_bytes")),
            _ => None,
        }
    });
    let (root, path, file) = group?;
    let inner = root.join(path.trim_start_matches('/'));
    let folders = inner.ancestors().take_while(|folder| folder.starts_with(&root));
    let limits = folders.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok());
    limits.filter(|limit| *limit < UNLIMITED).min()
}

#[cfg(test)]
mod tests {
    use super::super::super::check::Level;
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max processes             63321                63321                processes \n\
             Max open files            1024                 1048576              files     \n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files("Max open files   unlimited  unlimited files"), Some(u64::MAX));
        assert_eq!(open_files(""), None);
        assert_eq!(machine_bytes("MemTotal:       16303428 kB\nMemFree: 1 kB\n"), Some(16_303_428 << 10));
        let limit = memory_limit(&of_process(None, "cgroup"), Path::new("/sys/fs/cgroup"));
        assert!(limit.is_some_and(|(bytes, _)| bytes > 1 << 20));
    }

    #[test]
    fn the_kernel_is_asked_of_the_engines_process() {
        let mut engine = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let holder = |pid| Holder { pid, name: "selvedge".to_owned() };
        let pid = engine.id();
        let said = of_process(Some(&holder(pid)), "stat");
        assert!(said.starts_with(&format!("{pid} (")), "{said}");
        engine.kill().unwrap();
        engine.wait().unwrap();
        let said = of_process(Some(&holder(pid)), "stat");
        assert!(said.starts_with(&format!("{} (", std::process::id())), "it is gone: {said}");
    }

    #[test]
    fn the_least_limit_of_the_groups_around_us_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("kubepods/pod7");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("kubepods/memory.max"), "1073741824\n").unwrap();
        assert_eq!(cgroup_limit("0::/kubepods/pod7\n", root.path()), Some(1 << 30));
        fs::write(inner.join("memory.max"), "536870912\n").unwrap();
        assert_eq!(cgroup_limit("0::/kubepods/pod7\n", root.path()), Some(512 << 20));
        let first = root.path().join("memory/docker");
        fs::create_dir_all(&first).unwrap();
        fs::write(first.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(cgroup_limit("7:memory:/docker\n", root.path()), None, "a limit that is none");
        assert_eq!(cgroup_limit("", root.path()), None);
    }

    #[test]
    fn what_is_wanted_past_a_limit_is_a_warning_that_says_what_to_do() {
        assert_eq!(files(Some(9_000), 9_000).level, Level::Ok);
        let few = files(Some(1_024), 8_768);
        assert!(few.level == Level::Warn && few.advice.contains("LimitNOFILE=8768"), "{few:?}");
        assert_eq!(files(None, 1).level, Level::Unknown);
        assert_eq!(memory(Some((2 << 30, "the machine's")), 1 << 30).level, Level::Ok);
        let little = memory(Some((512 << 20, "the cgroup's")), 1 << 30);
        assert!(little.level == Level::Warn && little.advice.contains("sql.bytes_max"), "{little:?}");
        assert_eq!(memory(None, 1).level, Level::Unknown);
    }
}
