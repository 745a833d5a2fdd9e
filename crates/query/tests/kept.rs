//! What is kept: bytes by table, shapes without end, and results in every format.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use selvedge_model::{MetricValue, ObservationKind, SymbolTable};
use selvedge_query::output::{self, Format};
use selvedge_query::{QueryOptions, SqlConfig, SqlService, StoreConfig};
use support::Mesh;

const BYTES_MAX: usize = 8 << 20;

#[test]
fn each_of_the_four_tables_keeps_to_its_share_of_the_bytes_and_counts_what_it_dropped() {
    let mut mesh = Mesh::new(&StoreConfig { bytes_max: BYTES_MAX, shares: [1; 4], ..StoreConfig::default() });
    let appended = 100_000;
    for number in 0..appended {
        let call = mesh.call(number);
        mesh.store.append_call(&call);
        for kind in [ObservationKind::Span, ObservationKind::AccessLog] {
            let record = mesh.observation(kind, number);
            mesh.store.append_observation(&record);
        }
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let point = mesh.point(number, MetricValue::Number(number as f64 * 1.1));
        mesh.store.append_point(&point);
        if number % 10_000 == 9_999 {
            for size in mesh.store.sizes() {
                assert!(size.bytes <= BYTES_MAX / 4, "{size:?}");
                assert_eq!(size.rows + size.dropped_rows, number + 1, "{size:?}");
            }
        }
    }
    assert!(mesh.store.sizes().iter().all(|size| size.dropped_rows > 0), "{:?}", mesh.store.sizes());
}

#[tokio::test]
async fn more_shapes_than_a_book_holds_are_kept_in_the_next_book() {
    let mut mesh = Mesh::new(&StoreConfig::default());
    mesh.symbols = SymbolTable::new(1 << 24);
    let call = mesh.call(0);
    for number in 0..70_000 {
        let mut call = call;
        call.shape.route = mesh.symbols.intern(&format!("/route-{number}"));
        mesh.store.append_call(&call);
        // The first shape comes again, also when its book is long full.
        call.shape.route = mesh.symbols.intern("/route-0");
        mesh.store.append_call(&call);
    }
    assert_eq!(mesh.store.sizes()[0].shapes, 70_001);
    let service = SqlService::new(mesh.store.snapshot(&mesh.symbols), SqlConfig::default()).unwrap();
    let sql = "SELECT count(*), count(DISTINCT route), count(*) FILTER (WHERE route = '/route-0') FROM calls";
    let batches = service.query(sql, QueryOptions::default()).await.unwrap().collect().await.unwrap();
    let number = |column: usize| batches[0].column(column).as_primitive::<Int64Type>().value(0);
    assert_eq!([number(0), number(1), number(2)], [140_000, 70_000, 70_001]);
    let sql = "SELECT count(*) FROM (SELECT route, count(*) FROM calls GROUP BY route)";
    let batches = service.query(sql, QueryOptions::default()).await.unwrap().collect().await.unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 70_000);
}

async fn written(format: Format) -> Vec<u8> {
    let service = support::service(SqlConfig::default());
    let sql = "SELECT start_time, destination_workload, error, duration_ms, source_principal, trace_id \
               FROM calls WHERE end_time < TIMESTAMP '2026-01-01T00:00:03Z' ORDER BY start_time";
    let result = service.query(sql, QueryOptions::default()).await.unwrap();
    let mut bytes = Vec::new();
    assert_eq!(output::write(result, format, &mut bytes).await.unwrap(), 3);
    bytes
}

#[tokio::test]
async fn every_format_has_the_same_rows() {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let csv = text(written(Format::Csv).await);
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(
        csv.starts_with("start_time,destination_workload,error,duration_ms,source_principal,trace_id\n"),
        "{csv}"
    );
    let lines = text(written(Format::JsonLines).await);
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let json = text(written(Format::Json).await);
    assert!(json.starts_with('[') && json.trim_end().ends_with(']'), "{json}");
    let table = text(written(Format::Table).await);
    for text in [&csv, &lines, &json, &table] {
        for word in ["payments", "00000000000000000000000000000003", "2026-01-01T00:00:02Z"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
    let stream = StreamReader::try_new(std::io::Cursor::new(written(Format::Arrow).await), None).unwrap();
    let arrow: Vec<_> = stream.map(Result::unwrap).collect();
    let parquet =
        ParquetRecordBatchReader::try_new(bytes::Bytes::from(written(Format::Parquet).await), 100).unwrap();
    let parquet: Vec<_> = parquet.map(Result::unwrap).collect();
    for batches in [arrow, parquet] {
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!((all.num_rows(), all.num_columns()), (3, 6));
        assert_eq!(all.schema().field(5).name(), "trace_id");
    }
}
