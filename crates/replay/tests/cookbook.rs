//! Every query of `docs/cookbook.md`, asked of all shipped captures at once: the answers are reviewed files.
//!
//! `fixtures/envoy/cookbook/setting.json` says which captures are learned and judged, and what stands in the place of
//! a recipe's examples. The end-to-end test reads the same files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{JUDGED, NORMAL, capture, folder, label};
use selvedge_engine::{EngineConfig, Pipeline, RuleSet};
use selvedge_query::output::{self, Format};
use selvedge_query::{QueryOptions, SqlConfig, SqlService, StoreConfig, Watched};
use selvedge_replay::{Played, judge, teach};
use serde::Deserialize;

/// What `setting.json` holds.
#[derive(Deserialize)]
struct Setting {
    learn: Vec<String>,
    judge: Vec<String>,
    /// By a recipe's number: an example of its text, and what stands in its place.
    put: BTreeMap<u8, BTreeMap<String, String>>,
}

/// A question of the cookbook, its examples replaced.
struct Recipe {
    number: u8,
    heading: String,
    sql: String,
}

fn setting() -> Setting {
    let text = std::fs::read_to_string(folder().join("cookbook/setting.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn recipes(setting: &Setting) -> Vec<Recipe> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cookbook.md");
    let text = std::fs::read_to_string(path).unwrap();
    let recipe = |section: &str| {
        let (heading, rest) = section.split_once('\n').unwrap();
        let number = heading.split_once('.').unwrap().0.parse().unwrap();
        let (_, rest) = rest.split_once("```sql\n").unwrap();
        let mut sql = rest.split_once("```").unwrap().0.to_owned();
        // A longer example first: `now()` is a part of `now() - INTERVAL ...`.
        for (example, real) in setting.put.get(&number).into_iter().flatten().rev() {
            assert!(sql.contains(example), "{heading}: {example} is not in it");
            sql = sql.replace(example, real);
        }
        Recipe { number, heading: heading.to_owned(), sql }
    };
    text.split("\n## ").skip(1).map(recipe).collect()
}

/// All captures in one engine, and what they left for SQL.
fn asked(setting: &Setting, shards: usize) -> (SqlService, Played) {
    let config = EngineConfig { shards, record: Some(StoreConfig::default()), ..EngineConfig::default() };
    let mut pipeline = Pipeline::new(&config, RuleSet::shipped());
    for name in &setting.learn {
        teach(&mut pipeline, &capture(name)).unwrap();
    }
    let captures: Vec<PathBuf> = setting.judge.iter().map(|name| capture(name)).collect();
    let played = judge(&mut pipeline, &captures, &mut common::NoPace).unwrap();
    let learned = Arc::new(pipeline.learned());
    pipeline.recorded().watch(Watched {
        learned,
        findings: Arc::new(played.transcript.findings.clone()),
        incidents: Arc::new(played.incidents.clone()),
        quarantines: Arc::default(),
        audit: Arc::default(),
        ledger: played.stats.ledger,
    });
    let snapshot = pipeline.recorded().snapshot().unwrap();
    (SqlService::new(snapshot, SqlConfig::default()).unwrap(), played)
}

/// The answer as text.
fn answer(service: &SqlService, sql: &str, format: Format) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut bytes = Vec::new();
    runtime.block_on(async {
        let result = service.query(sql, QueryOptions::default()).await;
        let result = result.unwrap_or_else(|error| panic!("{error} at {:?} in\n{sql}", error.position()));
        output::write(result, format, &mut bytes).await.unwrap();
    });
    String::from_utf8(bytes).unwrap()
}

/// The only cell of an answer.
fn number(service: &SqlService, sql: &str) -> u64 {
    let text = answer(service, sql, Format::Csv);
    text.lines().nth(1).and_then(|cell| cell.parse().ok()).unwrap_or_else(|| panic!("{sql}: {text}"))
}

/// Guarantees: each recipe answers as reviewed, and has something to say about what was recorded.
#[test]
fn every_recipe_of_the_cookbook_answers_as_reviewed() {
    let setting = setting();
    let recipes = recipes(&setting);
    assert_eq!(recipes.iter().map(|recipe| recipe.number).collect::<Vec<_>>(), (1..=21).collect::<Vec<_>>());
    let (service, _) = asked(&setting, 1);
    for Recipe { number, heading, sql } in recipes {
        let rows = answer(&service, &sql, Format::Table);
        assert!(rows.lines().count() > 4, "{heading}: a recipe without rows shows nothing\n{rows}");
        selvedge_testkit::check_golden(
            folder().join(format!("cookbook/{number:02}.txt")),
            &format!("{heading}\n{rows}"),
        );
    }
}

/// Guarantees: invariant 3 of the design, for SQL. Order of rows is the query's affair, so everything is sorted.
#[test]
fn the_number_of_shards_changes_no_row() {
    let setting = setting();
    let (one, _) = asked(&setting, 1);
    let (eight, _) = asked(&setting, 8);
    let sorted = |service: &SqlService, sql: &str| {
        let text = answer(service, sql, Format::Csv);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for Recipe { heading, sql, .. } in recipes(&setting) {
        let (of_one, of_eight) = (answer(&one, &sql, Format::Csv), answer(&eight, &sql, Format::Csv));
        assert_eq!(of_one, of_eight, "{heading}");
    }
    let tables = "calls spans log_records metric_points edges routes baselines findings incidents fates \
                  nodegraph_nodes nodegraph_edges";
    for table in tables.split_whitespace() {
        let sql = format!("SELECT * FROM {table}");
        let (of_one, of_eight) = (sorted(&one, &sql), sorted(&eight, &sql));
        assert!(of_one.len() > 1, "{table} is empty");
        assert!(of_one == of_eight, "{table}: {:?}", of_one.iter().zip(&of_eight).find(|(a, b)| a != b));
    }
}

/// Guarantees: the rows are what was joined and found, no more and no less; what was learned from is no row.
#[test]
fn rows_are_as_many_as_the_replay_counts() {
    let setting = setting();
    let mut judged: Vec<&str> = setting.judge.iter().map(String::as_str).collect();
    judged.sort_unstable();
    assert_eq!((&setting.learn[..], &judged[..]), (&NORMAL.map(str::to_owned)[..], &JUDGED[..]));
    let (service, played) = asked(&setting, 1);
    let baseline = Setting { judge: Vec::new(), put: BTreeMap::new(), learn: setting.learn.clone() };
    let (nothing, before) = asked(&baseline, 1);
    assert_eq!(number(&nothing, "SELECT count(*) FROM calls"), 0);
    let calls = |which: &str| number(&service, &format!("SELECT count(*) FROM calls WHERE {which}"));
    let (all, learned) = (&played.stats, &before.stats);
    assert_eq!(calls("reported = 'both'"), all.calls_both - learned.calls_both);
    let client_only = all.calls_client_only - learned.calls_client_only;
    assert_eq!(calls("reported = 'client_only' AND NOT external"), client_only);
    assert_eq!(calls("external"), all.calls_external - learned.calls_external);
    assert_eq!(calls("reported = 'server_only'"), all.calls_server_only - learned.calls_server_only);
    let found = number(&service, "SELECT count(*) FROM findings");
    assert_eq!(found, played.transcript.findings.len() as u64);
    assert_eq!(number(&service, "SELECT count(*) FROM incidents"), played.incidents.len() as u64);
}

/// Guarantees: what SQL says of an attack lies within the time that its label gives, with the ends that it names.
#[test]
fn attacks_stand_where_their_labels_say() {
    let (service, _) = asked(&setting(), 1);
    let cases = [
        ("plaintext_permissive", "security = 'plaintext' AND handshake_failure IS NULL", 8),
        ("lateral_sidecar", "route LIKE '/admin%' AND status = 200", 10),
        ("forged_ca", "handshake_failure = 'unknown_issuer'", 4),
        ("cert_expired", "handshake_failure = 'certificate_expired'", 4),
        ("exfiltration", "external", 20),
        ("scan", "status = 404", 48),
        ("quarantine", "denied_by IS NOT NULL", 7),
    ];
    for (name, attack, calls) in cases {
        let label = label(name);
        let at = |key: &str| label[key].as_str().unwrap().parse::<u64>().unwrap();
        let (from, to) = (at("attack_start_unix_nano"), at("attack_end_unix_nano"));
        let count = |when: &str| {
            let sql = format!("SELECT count(*) FROM calls WHERE {attack} AND {when}");
            number(&service, &sql)
        };
        let segment = format!(
            "end_time BETWEEN to_timestamp_nanos({}) AND to_timestamp_nanos({})",
            at("segment_start_unix_nano"),
            at("segment_end_unix_nano")
        );
        // The proxies' clocks are those of the labels; a quarter of a second is for what was under way.
        let during = format!(
            "end_time BETWEEN to_timestamp_nanos({from}) AND to_timestamp_nanos({}) + INTERVAL '250 milliseconds'",
            to
        );
        assert_eq!((count(&during), count(&segment)), (calls, calls), "{name}");
        let destination = label["destination"].as_str().unwrap().rsplit('/').next().unwrap();
        if destination != "*" {
            assert_eq!(
                count(&format!("{during} AND destination_workload = '{destination}'")),
                calls,
                "{name}"
            );
        }
    }
}
