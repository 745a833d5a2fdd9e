//! The history: memory and files are one table, and files go only when nobody reads them.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::util::pretty::pretty_format_batches;
use selvedge_model::SymbolTable;
use selvedge_query::{
    History, HistoryConfig, QueryOptions, Snapshot, SqlConfig, SqlService, Store, StoreConfig,
};
use support::Mesh;

fn history(folder: &Path, bytes_max: u64) -> History {
    History::open(HistoryConfig {
        folder: folder.to_owned(),
        age_max: Duration::from_secs(1 << 40),
        bytes_max,
    })
    .unwrap()
}

fn service(snapshot: Arc<Snapshot>, history: &History) -> SqlService {
    SqlService::with_history(snapshot, Some(history.clone()), SqlConfig::default()).unwrap()
}

fn nothing() -> Arc<Snapshot> {
    Store::new(&StoreConfig::default()).snapshot(&SymbolTable::new(1 << 10))
}

async fn ask(service: &SqlService, sql: &str) -> Vec<RecordBatch> {
    service.query(sql, QueryOptions::default()).await.unwrap().collect().await.unwrap()
}

async fn numbers(service: &SqlService, sql: &str) -> Vec<i64> {
    let batches = ask(service, sql).await;
    let columns = batches.iter().flat_map(RecordBatch::columns);
    columns.flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Appends calls to a small store and writes what is sealed, as the engine does.
fn live(folder: &Path, calls: u64) -> (Mesh, History) {
    let config =
        StoreConfig { bytes_max: 2 << 20, shares: [1, 0, 0, 0], history: true, ..StoreConfig::default() };
    let (mut mesh, history) = (Mesh::new(&config), history(folder, u64::MAX));
    for from in (0..calls).step_by(1_000) {
        mesh.calls(from..(from + 1_000).min(calls));
        for sealed in mesh.store.take_sealed(&mesh.symbols) {
            history.write(&sealed).unwrap();
        }
    }
    (mesh, history)
}

#[tokio::test]
async fn memory_and_files_are_one_table_with_no_row_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut mesh, history) = live(folder.path(), 60_500);
    assert!(mesh.store.sizes()[0].dropped_rows > 0);
    let service = service(mesh.store.snapshot(&mesh.symbols), &history);
    let count = "SELECT count(*), count(DISTINCT response_bytes), max(response_bytes) FROM calls";
    assert_eq!(numbers(&service, count).await, [60_500, 60_500, 60_499]);
    let filtered =
        "SELECT count(*) FROM calls WHERE destination_workload = 'payments' AND security = 'plaintext'";
    assert_eq!(numbers(&service, filtered).await, [(60_500 - 1) / 30 + 1]);
    let by_trace = "SELECT response_bytes FROM calls WHERE trace_id = '00000000000000000000000000000002'";
    assert_eq!(numbers(&service, by_trace).await, [1]);
    let limited = ask(&service, "SELECT source_workload, trace_id FROM calls LIMIT 7").await;
    assert_eq!(limited.iter().map(RecordBatch::num_rows).sum::<usize>(), 7);
}

#[tokio::test]
async fn a_snapshot_from_before_the_seal_sees_its_rows_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { history: true, ..StoreConfig::default() };
    let (mut mesh, history) = (Mesh::new(&config), history(folder.path(), u64::MAX));
    mesh.calls(0..500);
    let before = mesh.store.snapshot(&mesh.symbols);
    mesh.calls(500..600);
    mesh.store.seal();
    for sealed in mesh.store.take_sealed(&mesh.symbols) {
        history.write(&sealed).unwrap();
    }
    assert_eq!(numbers(&service(before, &history), "SELECT count(*) FROM calls").await, [500]);
}

#[tokio::test]
async fn another_process_reads_the_folder_or_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let (mut mesh, written) = live(folder.path(), 20_000);
    mesh.store.seal();
    for sealed in mesh.store.take_sealed(&mesh.symbols) {
        written.write(&sealed).unwrap();
    }
    let here = service(mesh.store.snapshot(&mesh.symbols), &written);
    let again = service(nothing(), &history(folder.path(), u64::MAX));
    let all = "SELECT * FROM calls ORDER BY response_bytes LIMIT 50 OFFSET 19000";
    let text = |batches: Vec<RecordBatch>| pretty_format_batches(&batches).unwrap().to_string();
    assert_eq!(text(ask(&again, all).await), text(ask(&here, all).await));
    let hours = std::fs::read_dir(folder.path().join("calls")).unwrap();
    let mut hours: Vec<_> = hours.map(|entry| entry.unwrap().path()).collect();
    hours.sort();
    assert!(hours[0].ends_with("hour=2026-01-01T00"), "{hours:?}");
    let file = std::fs::read_dir(&hours[0]).unwrap().next().unwrap().unwrap().path();
    let one = service(nothing(), &history(&file, u64::MAX));
    assert!(numbers(&one, "SELECT count(*) FROM calls").await[0] > 0);
}

#[tokio::test]
async fn a_plan_reads_only_files_of_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_, history) = live(folder.path(), 60_000);
    let service = service(nothing(), &history);
    let plan =
        ask(&service, "EXPLAIN SELECT count(*) FROM calls WHERE end_time < TIMESTAMP '2026-01-01T00:30:00Z'")
            .await;
    let plan = pretty_format_batches(&plan).unwrap().to_string();
    assert_eq!(
        plan.matches(".parquet").count(),
        0,
        "files of this process are newer than an empty snapshot: {plan}"
    );
    let again = self::service(nothing(), &self::history(folder.path(), u64::MAX));
    let plan =
        ask(&again, "EXPLAIN SELECT count(*) FROM calls WHERE end_time < TIMESTAMP '2026-01-01T00:30:00Z'")
            .await;
    let plan = pretty_format_batches(&plan).unwrap().to_string();
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
}

#[tokio::test]
async fn a_file_past_the_byte_limit_goes_when_its_last_query_ended() {
    let folder = tempfile::tempdir().unwrap();
    drop(live(folder.path(), 30_000));
    let files = || walk(folder.path()).len();
    let before = files();
    let history = history(folder.path(), 1);
    let service = service(nothing(), &history);
    let mut running =
        service.query("SELECT response_bytes FROM calls", QueryOptions::default()).await.unwrap();
    let mut mesh = Mesh::new(&StoreConfig { history: true, ..StoreConfig::default() });
    mesh.calls(0..10);
    mesh.store.seal();
    for sealed in mesh.store.take_sealed(&mesh.symbols) {
        history.write(&sealed).unwrap();
    }
    assert_eq!(history.size(), (0, 0));
    assert_eq!(files(), before, "the query still reads them");
    let mut rows = 0;
    while let Some(batch) = futures::StreamExt::next(&mut running).await {
        rows += batch.unwrap().num_rows();
    }
    assert!(rows > 20_000, "{rows}");
    drop(running);
    drop(service);
    // The task that held them ends on another thread.
    while files() > 0 {
        tokio::task::yield_now().await;
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
