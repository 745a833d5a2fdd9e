//! Grouping by shape gives what grouping by row gives, whatever the partitions and segments.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use selvedge_query::{QueryOptions, Snapshot, SqlConfig, SqlService, StoreConfig};

const AGGREGATES: &str = "count(*), count(status), sum(response_bytes), avg(duration), min(start_time), max(duration), \
                          percentile(duration, 0.99), percentile(duration_ms, 0.5) FILTER (WHERE error), \
                          sum(CASE WHEN error THEN 1 ELSE 0 END), sum(duration) FILTER (WHERE response_bytes > 5000)";

/// Enough calls for three partitions, in segments of different lengths.
fn snapshot() -> Arc<Snapshot> {
    let mut mesh = support::Mesh::new(&StoreConfig { segment_rows_max: 50_000, ..StoreConfig::default() });
    for cut in [0..30_000, 30_000..30_001, 30_001..140_000, 140_000..200_000] {
        mesh.calls(cut);
        mesh.store.seal();
    }
    mesh.store.snapshot(&mesh.symbols)
}

fn ask(service: &SqlService, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batches = runtime.block_on(async {
        service.query(sql, QueryOptions::default()).await.unwrap().collect().await.unwrap()
    });
    pretty_format_batches(&batches).unwrap().to_string()
}

#[test]
fn every_aggregate_is_the_same_by_shape_and_by_row_in_one_partition_or_three() {
    let snapshot = snapshot();
    let service = |threads| {
        SqlService::new(Arc::clone(&snapshot), SqlConfig { threads, ..SqlConfig::default() }).unwrap()
    };
    let (one, three) = (service(1), service(3));
    for keys in
        ["destination_workload", "edge_id", "status, workload(source_principal)", "external, security"]
    {
        for filter in [
            "",
            "WHERE status <> 404",
            "WHERE end_time < TIMESTAMP '2026-01-02T07:00:00Z'",
            "WHERE status = 1",
        ] {
            let ordered = |more: &str| {
                format!(
                    "SELECT {keys}, {AGGREGATES} FROM calls {filter} GROUP BY {keys}{more} ORDER BY {keys}"
                )
            };
            let by_shape = ask(&one, &ordered(""));
            let by_row = ask(&one, &ordered(", duration * 0"));
            assert_eq!(by_shape, by_row, "{keys} {filter}");
            assert_eq!(by_shape, ask(&three, &ordered("")), "{keys} {filter}, three partitions");
            let plan = ask(&one, &format!("EXPLAIN {}", ordered("")));
            assert!(plan.contains("ShapeAggregateExec: mode=Single"), "{plan}");
            assert!(!ask(&one, &format!("EXPLAIN {}", ordered(", duration * 0"))).contains("ShapeAgg"));
        }
    }
    assert!(
        ask(&three, "EXPLAIN SELECT edge_id, count(*) FROM calls GROUP BY edge_id")
            .contains("ShapeAggregateExec: mode=Partial")
    );
}
