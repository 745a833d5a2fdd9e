//! Limits: rows, time, memory, number; and that a result sees one moment, whatever happens meanwhile.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::StreamExt;
use proptest::prelude::*;
use selvedge_query::{QueryOptions, SqlConfig, SqlError, SqlService, Store, StoreConfig};
use support::{Mesh, service};

async fn collect(service: &SqlService, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
    service.query(sql, QueryOptions::default()).await?.collect().await
}

async fn count(service: &SqlService, sql: &str) -> i64 {
    collect(service, sql).await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn a_result_ends_with_an_error_past_the_row_limit() {
    let service = service(SqlConfig { rows_max: 100, ..SqlConfig::default() });
    let mut result = service.query("SELECT * FROM calls", QueryOptions::default()).await.unwrap();
    let (mut rows, mut ended) = (0, None);
    while let Some(batch) = result.next().await {
        match batch {
            Ok(batch) => rows += batch.num_rows(),
            Err(error) => ended = Some(error),
        }
    }
    assert_eq!((rows, ended), (100, Some(SqlError::TooManyRows { rows_max: 100 })));
    assert!(collect(&service, "SELECT * FROM calls LIMIT 100").await.is_ok());
}

#[tokio::test]
async fn a_query_is_stopped_at_its_time_limit() {
    let service = service(SqlConfig::default());
    let time_max = Some(Duration::from_millis(50));
    let endless = "SELECT count(*) FROM calls a, calls b, calls c WHERE a.duration + b.duration < c.duration";
    let result = service.query(endless, QueryOptions { time_max, ..QueryOptions::default() }).await.unwrap();
    let error = result.collect().await.unwrap_err();
    assert_eq!(error.code(), "timed_out", "{error}");
}

#[tokio::test]
async fn a_query_that_needs_too_much_memory_fails_and_the_next_one_works() {
    let service = service(SqlConfig { memory_bytes_max: 64 * 1024, ..SqlConfig::default() });
    let error =
        collect(&service, "SELECT trace_id, count(*) FROM calls GROUP BY 1 ORDER BY 2").await.unwrap_err();
    assert_eq!(error, SqlError::OutOfMemory { bytes_max: 64 * 1024 });
    assert_eq!(count(&service, "SELECT count(*) FROM calls").await, 3_000);
}

/// Scenario: statements that take minutes to read or plan, or more stack than a thread usually has, each next to one that people may
/// write (found by fuzzing).
/// Guarantees: the first are refused before they are read, the others are answered.
#[tokio::test]
async fn what_is_too_complex_is_refused_before_it_is_read() {
    let service = service(SqlConfig::default());
    let nested = |opened: &str, depth: usize| {
        format!("SELECT {}1{} FROM calls LIMIT 1", opened.repeat(depth), ")".repeat(depth))
    };
    let derived = |depth: usize| {
        format!("SELECT * FROM {}calls{} LIMIT 1", "(SELECT * FROM ".repeat(depth), ")".repeat(depth))
    };
    let exists = |depth: usize| {
        let opened = "EXISTS (SELECT 1 FROM calls WHERE ".repeat(depth);
        format!("SELECT 1 FROM calls WHERE {opened}true{}", ")".repeat(depth))
    };
    let chain =
        |of: &str, length: usize| format!("SELECT 1 FROM calls WHERE 1 = 1{} LIMIT 1", of.repeat(length));
    let with = |levels: usize| {
        let level = |level: usize| format!(", a{level} AS (SELECT p.x FROM a{0} p, a{0} q)", level - 1);
        let all: String = (1..=levels).map(level).collect();
        format!("WITH a0 AS (SELECT 1 AS x){all} SELECT count(*) FROM a{levels}")
    };
    for sql in [
        nested("abs(", 40),
        nested("abs(", 10_000),
        nested("position(", 20),
        derived(20),
        exists(20),
        chain(" OR status = 200", 3_000),
        chain(" + 1", 15_000),
        with(24),
        format!("SELECT $1{}..b FROM calls WHERE status = 200 AND true", ".a".repeat(40)),
    ] {
        let error = collect(&service, &sql).await.unwrap_err();
        assert_eq!(error.code(), "statement_too_complex", "{}", &sql[..60]);
    }
    let union = format!("SELECT 1{}", " UNION ALL SELECT 2".repeat(600));
    for sql in [
        nested("abs(", 14),
        derived(12),
        exists(12),
        chain(" OR status = 200", 600),
        chain(" + 1", 1_900),
        with(9),
        union,
    ] {
        assert!(collect(&service, &sql).await.is_ok(), "{}", &sql[..60]);
    }
}

/// Scenario: a statement on which DataFusion 55.2 panics (found by fuzzing: a scalar subquery without columns).
/// Guarantees: it is an error like any other, it holds nothing, and the next one works.
#[tokio::test]
async fn a_statement_that_breaks_the_engine_is_an_error_and_the_next_one_works() {
    let service = service(SqlConfig { running_max: 1, ..SqlConfig::default() });
    for _ in 0..3 {
        let error = collect(&service, "SELECT (SELECT FROM calls) AS calls").await.unwrap_err();
        assert_eq!((error.code(), error.retry()), ("execution_failed", false), "{error}");
    }
    assert_eq!(count(&service, "SELECT count(*) FROM calls").await, 3_000);
}

#[tokio::test]
async fn past_the_queue_queries_are_refused() {
    let config = SqlConfig { running_max: 1, waiting_max: 0, rows_max: usize::MAX, ..SqlConfig::default() };
    let service = service(config);
    let many = "SELECT a.trace_id FROM calls a, calls b";
    // Its batches are not read, so it stays.
    let running = service.query(many, QueryOptions::default()).await.unwrap();
    let error = service.query("SELECT 1", QueryOptions::default()).await.err().unwrap();
    assert_eq!((error.code(), error.retry()), ("busy", true));
    drop(running);
    // Dropping the result frees its place, once its task has noticed.
    while service.query("SELECT 1", QueryOptions::default()).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_query_answers_from_segments_that_were_dropped_meanwhile() {
    let config = StoreConfig { bytes_max: 4 << 20, shares: [1, 0, 0, 0], ..StoreConfig::default() };
    let mut mesh = Mesh::new(&config);
    mesh.calls(0..20_000);
    let snapshot = mesh.store.snapshot(&mesh.symbols);
    let service = SqlService::new(Arc::clone(&snapshot), SqlConfig::default()).unwrap();
    let result = service.query("SELECT response_bytes FROM calls", QueryOptions::default()).await.unwrap();
    drop(snapshot);
    mesh.calls(20_000..200_000);
    assert!(mesh.store.sizes()[0].dropped_rows > 20_000);
    assert!(mesh.store.bytes() <= 5 << 20, "{}", mesh.store.bytes());
    let batches = result.collect().await.unwrap();
    let values =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
    assert!(values.eq(0..20_000));
}

#[test]
fn a_call_costs_less_than_sixty_bytes_and_an_unchanged_store_no_copy() {
    let mut mesh = Mesh::new(&StoreConfig::default());
    mesh.calls(0..200_000);
    let size = mesh.store.sizes()[0];
    let each = size.bytes / usize::try_from(size.rows).unwrap();
    assert!(each < 60, "{each} bytes a call: {size:?}");
    let snapshot = mesh.store.snapshot(&mesh.symbols);
    assert!(Arc::ptr_eq(&snapshot, &mesh.store.snapshot(&mesh.symbols)));
}

fn appended(cuts: &[(u64, bool)], config: &StoreConfig) -> (Vec<i64>, SqlService) {
    let mut mesh = Mesh::new(config);
    let (mut next, mut expected) = (0, Vec::new());
    for (count, seal) in cuts {
        mesh.calls(next..next + count);
        expected.extend((next..next + count).map(|number| i64::try_from(number).unwrap()));
        next += count;
        // A snapshot in between must change nothing.
        drop(mesh.store.snapshot(&mesh.symbols));
        if *seal {
            mesh.store.seal();
        }
    }
    (expected, SqlService::new(mesh.store.snapshot(&mesh.symbols), SqlConfig::default()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn rows_read_back_whatever_the_cuts(
        cuts in proptest::collection::vec((0..12_000_u64, any::<bool>()), 1..5),
        segment_rows_max in 1..20_000_usize,
    ) {
        let config = StoreConfig { segment_rows_max, ..StoreConfig::default() };
        let (expected, service) = appended(&cuts, &config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let batches = runtime.block_on(collect(&service, "SELECT response_bytes, duration, trace_id FROM calls")).unwrap();
        let mut numbers = Vec::new();
        for batch in &batches {
            let traces = batch.column(2).as_string::<i32>();
            let durations = batch.column(1).as_primitive::<Int64Type>();
            for (row, number) in batch.column(0).as_primitive::<Int64Type>().values().iter().enumerate() {
                prop_assert_eq!(traces.value(row), format!("{:032x}", number + 1));
                prop_assert_eq!(durations.value(row), (1 + number % 100) * 1_000_000);
                numbers.push(*number);
            }
        }
        prop_assert_eq!(numbers, expected);
    }
}

#[test]
fn an_empty_store_answers_too() {
    let mut store = Store::new(&StoreConfig::default());
    let symbols = selvedge_model::SymbolTable::new(1 << 10);
    let service = SqlService::new(store.snapshot(&symbols), SqlConfig::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for table in ["calls", "spans", "log_records", "metric_points", "nodegraph_nodes", "nodegraph_edges"]
        {
            let batches = collect(&service, &format!("SELECT * FROM {table}")).await.unwrap();
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0, "{table}");
        }
        assert_eq!(count(&service, "SELECT count(*) FROM calls").await, 0);
    });
}
