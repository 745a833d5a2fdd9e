//! Which crate may depend on which. The same table stands in `ARCHITECTURE.md` for people.
//!
//! An arrow points down: to a crate on a lower floor. Floors 0 to 2 are pure. A heavy dependency has one owner.

use crate::workspace::{Member, Need};

/// The folder list of the design, as floors. A crate that is not here does not exist.
const FLOORS: &[(&str, u8)] = &[
    ("selvedge-model", 0),
    ("selvedge-decode", 1),
    ("selvedge-join", 1),
    ("selvedge-learn", 1),
    ("selvedge-correlate", 1),
    ("selvedge-simulate", 1),
    ("selvedge-detect", 2),
    ("selvedge-policy", 2),
    ("selvedge-checkpoint", 3),
    ("selvedge-receive", 3),
    ("selvedge-act", 3),
    ("selvedge-enforce", 3),
    ("selvedge-query", 3),
    ("selvedge-kafka", 4),
    ("selvedge-engine", 4),
    ("selvedge-replay", 5),
    ("selvedge-serve", 5),
    ("selvedge", 6),
];

/// Beside the floors: programs of the house, which may use any crate and are used by none.
const OUTSIDE: &[&str] =
    &["xtask", "selvedge-benches", "selvedge-microbenches", "selvedge-soak", "selvedge-fuzz"];

/// Only tests may use it, so it may use any crate.
const TESTKIT: &str = "selvedge-testkit";

/// Up to this floor a crate is a function of its arguments.
const PURE_FLOOR_MAX: u8 = 2;

/// What would let a pure crate do I/O, read a clock or spawn, at whatever distance it is linked.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio-util",
    "tonic",
    "axum",
    "hyper",
    "hyper-util",
    "reqwest",
    "rustls",
    "mio",
    "socket2",
    "async-std",
    "smol",
    "chrono",
    "time",
    "tempfile",
    "rdkafka",
    "kube",
];

/// Heavy dependencies and the crates that may name them in what they ship. Tests may use any.
const OWNERS: &[(&str, &[&str])] = &[
    ("tonic", &["selvedge-receive", "selvedge-enforce"]),
    ("tonic-health", &["selvedge-receive"]),
    ("tokio-rustls", &["selvedge-receive", "selvedge-query", "selvedge-enforce"]),
    ("envoy-types", &["selvedge-enforce"]),
    ("axum", &["selvedge-receive", "selvedge-serve"]),
    ("hyper-rustls", &["selvedge-act"]),
    ("datafusion", &["selvedge-query"]),
    ("datafusion-postgres", &["selvedge-query"]),
    ("pgwire", &["selvedge-query"]),
    ("arrow", &["selvedge-query"]),
    ("parquet", &["selvedge-query"]),
    ("object_store", &["selvedge-query"]),
    ("opentelemetry-proto", &[]),
    ("rdkafka", &["selvedge-kafka"]),
    ("redb", &["selvedge-enforce"]),
    ("reqwest", &[]),
    ("prometheus-client", &["selvedge-serve"]),
    ("clap", &["selvedge"]),
    ("indicatif", &["selvedge"]),
    ("rustyline", &["selvedge"]),
    ("anyhow", &["selvedge"]),
    ("mimalloc", &["selvedge"]),
];

/// Everything that is wrong with the arrows of the workspace, one sentence each.
pub(crate) fn violations(members: &[Member]) -> Vec<String> {
    let mut found = Vec::new();
    for member in members {
        if OUTSIDE.contains(&member.name.as_str()) {
            continue;
        }
        arrows(member, &mut found);
        if member.name != TESTKIT {
            owners(member, &mut found);
        }
        purity(member, &mut found);
    }
    found
}

/// Where the map of `ARCHITECTURE.md` differs from the table here. Its rows are ``| `crate` | floor | ...``.
pub(crate) fn map_violations(architecture: &str) -> Vec<String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let folder = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let floor = cells.next()?.parse::<u8>().ok()?;
        let package = if folder == "selvedge" { folder.to_owned() } else { format!("selvedge-{folder}") };
        Some((package, floor))
    };
    let map: Vec<(String, u8)> = architecture.lines().filter_map(row).collect();
    let missing = FLOORS
        .iter()
        .filter(|(package, own)| !map.iter().any(|(name, floor)| name == package && floor == own));
    missing.map(|(package, own)| format!("ARCHITECTURE.md does not show {package} on floor {own}")).collect()
}

/// True for a crate that is a function of its arguments.
pub(crate) fn pure(package: &str) -> bool {
    floor(package).is_some_and(|floor| floor <= PURE_FLOOR_MAX)
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(package, _)| *package == name).map(|&(_, floor)| floor)
}

fn arrows(member: &Member, found: &mut Vec<String>) {
    let name = &member.name;
    if name == TESTKIT {
        return;
    }
    let Some(own) = floor(name) else {
        found.push(format!("{name} has no floor: add it to xtask/src/floors.rs and to ARCHITECTURE.md"));
        return;
    };
    for (needed, need) in &member.needs {
        if needed == TESTKIT && *need != Need::Dev {
            found.push(format!("{name} ships with {TESTKIT}, which is for tests only"));
        }
        if OUTSIDE.contains(&needed.as_str()) {
            found.push(format!("{name} depends on {needed}, which nothing may depend on"));
        }
        if let Some(other) = floor(needed).filter(|&other| own <= other) {
            found.push(format!(
                "{name} (floor {own}) depends on {needed} (floor {other}): arrows point down only"
            ));
        }
    }
}

fn owners(member: &Member, found: &mut Vec<String>) {
    for (needed, need) in &member.needs {
        let owners = OWNERS.iter().find(|(heavy, _)| heavy == needed).map(|(_, owners)| *owners);
        if let Some(owners) =
            owners.filter(|owners| *need != Need::Dev && !owners.contains(&member.name.as_str()))
        {
            let who = if owners.is_empty() { "tests only".to_owned() } else { owners.join(", ") };
            found.push(format!("{} depends on {needed}, which belongs to: {who}", member.name));
        }
    }
}

fn purity(member: &Member, found: &mut Vec<String>) {
    let pure = pure(&member.name);
    for linked in member.linked.iter().filter(|linked| pure && IMPURE.contains(&linked.as_str())) {
        found.push(format!("{} is pure, and {linked} is linked into it", member.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, needs: &[(&str, Need)]) -> Member {
        let needs = needs.iter().map(|&(name, need)| (name.to_owned(), need)).collect();
        Member { name: name.to_owned(), needs, ..Member::default() }
    }

    fn complaint(member: Member) -> String {
        violations(&[member]).join("\n")
    }

    #[test]
    fn an_arrow_down_is_allowed() {
        let detect =
            member("selvedge-detect", &[("selvedge-learn", Need::Normal), ("selvedge-model", Need::Normal)]);
        assert_eq!(complaint(detect), "");
    }

    #[test]
    fn an_arrow_up_or_sideways_is_not() {
        assert!(
            complaint(member("selvedge-learn", &[("selvedge-detect", Need::Normal)]))
                .contains("arrows point down")
        );
        assert!(
            complaint(member("selvedge-join", &[("selvedge-decode", Need::Normal)]))
                .contains("arrows point down")
        );
        assert!(
            complaint(member("selvedge-join", &[("selvedge-decode", Need::Dev)]))
                .contains("arrows point down")
        );
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        assert!(complaint(member("selvedge-join", &[(TESTKIT, Need::Normal)])).contains("for tests only"));
        assert_eq!(complaint(member("selvedge-join", &[(TESTKIT, Need::Dev)])), "");
    }

    #[test]
    fn the_map_for_people_shows_the_same_floors() {
        let rows: Vec<String> = FLOORS
            .iter()
            .map(|(package, floor)| {
                format!("| `{}` | {floor} | bytes |", package.trim_start_matches("selvedge-"))
            })
            .collect();
        assert!(map_violations(&rows.join("\n")).is_empty());
        assert_eq!(map_violations(&rows[1..].join("\n")).len(), 1);
    }

    #[test]
    fn nothing_depends_on_the_programs_of_the_house() {
        assert!(complaint(member("selvedge", &[("xtask", Need::Normal)])).contains("nothing may depend on"));
    }

    #[test]
    fn a_crate_without_a_floor_is_named() {
        assert!(complaint(member("selvedge-news", &[])).contains("has no floor"));
    }

    #[test]
    fn a_heavy_dependency_has_one_owner_and_tests_may_borrow_it() {
        assert_eq!(complaint(member("selvedge-receive", &[("tonic", Need::Normal)])), "");
        assert!(
            complaint(member("selvedge-act", &[("tonic", Need::Normal)]))
                .contains("belongs to: selvedge-receive, selvedge-enforce")
        );
        assert_eq!(complaint(member("selvedge-act", &[("tonic", Need::Dev)])), "");
        assert!(
            complaint(member("selvedge-decode", &[("opentelemetry-proto", Need::Normal)]))
                .contains("tests only")
        );
    }

    #[test]
    fn a_pure_crate_links_no_runtime_at_any_distance() {
        let mut join = member("selvedge-join", &[]);
        join.linked.insert("tokio".to_owned());
        assert!(complaint(join.clone()).contains("tokio is linked into it"));
        join.name = "selvedge-receive".to_owned();
        assert_eq!(complaint(join), "");
    }
}
