//! A service over a few thousand calls.

use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use selvedge_model::{Call, CallShape, EdgeKey, EventTime, Node, Security, SpanId, SymbolTable, TraceId};

use crate::{QueryOptions, SnapshotSource, SqlConfig, SqlError, SqlService, Store, StoreConfig};

/// Calls one millisecond apart, over twenty edges, from a fixed start.
pub(crate) fn calls(symbols: &mut SymbolTable, count: u64) -> Vec<Call> {
    let start = 1_764_000_000_000_000_000_u64;
    (0..count)
        .map(|number| {
            let source =
                Node { workload: symbols.intern(&format!("client-{}", number % 4)), ..Node::default() };
            let destination = Node {
                namespace: symbols.intern("shop"),
                workload: symbols.intern(&format!("server-{}", number % 5)),
                ..Node::default()
            };
            let shape = CallShape {
                method: symbols.intern("GET"),
                route: symbols.intern("/orders/{id}"),
                status: if number % 50 == 0 { 503 } else { 200 },
                grpc_status: -1,
                security: if number % 10 == 0 { Security::Plaintext } else { Security::MutualTls },
                ..CallShape::default()
            };
            let at = start + number * 1_000_000;
            Call {
                edge: EdgeKey { source, destination, external: false },
                shape,
                trace_id: TraceId((u128::from(number) + 1).to_be_bytes()),
                span_id: SpanId((number + 1).to_be_bytes()),
                start: EventTime(at),
                end: EventTime(at + 5_000_000),
                duration_nanos: 1_000_000 + number % 100 * 10_000,
                request_bytes: number,
                response_bytes: 10,
            }
        })
        .collect()
}

pub(crate) fn store(count: u64) -> (Store, SymbolTable) {
    let mut symbols = SymbolTable::new(1 << 20);
    let mut store = Store::new(&StoreConfig { segment_rows_max: 10_000, ..StoreConfig::default() });
    calls(&mut symbols, count).iter().for_each(|call| store.append_call(call));
    (store, symbols)
}

pub(crate) fn service(count: u64) -> SqlService {
    let (mut store, symbols) = store(count);
    SqlService::new(store.snapshot(&symbols), SqlConfig::default()).unwrap()
}

pub(crate) async fn ask(service: &SqlService, sql: &str) -> Result<String, SqlError> {
    let batches = service.query(sql, QueryOptions::default()).await?.collect().await?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

#[tokio::test]
async fn look() {
    let service = service(50_000);
    for sql in [
        "select count(*) from calls",
        "select * from calls limit 2",
        "select source_workload, destination_workload, count(*), avg(duration_ms), max(duration), percentile(duration, 0.99), percentile(duration_ms, 0.99), count(*) filter (where error) from calls group by 1, 2 order by 1, 2 limit 3",
        "explain select count(*) from calls where end_time > timestamp '2025-11-24T16:00:40Z' and status >= 500",
        "select count(*), min(status) from calls where end_time > timestamp '2025-11-24T16:00:40Z' and status >= 500",
        "select trace_id, span_id from calls where trace_id = '000000000000000000000000000003e8'",
        "explain select source_workload from calls where source_workload like '%-3' and destination_workload = 'server-1' limit 3",
        "select * from nodegraph_nodes order by id",
        "explain select * from nodegraph_edges order by 1 limit 2",
        "select * from nodegraph_edges order by 1 limit 2",
        "show tables",
        "describe fates",
        "select * from fates",
        "select time_bucket(interval '10 seconds', end_time) as t, count(*) from calls group by t order by t",
        "select route('/a/12345?x=1'), workload('spiffe://td/ns/shop/sa/cart'), namespace(source_principal) from calls limit 1",
        "select staus from calls",
        "select * from cals",
        "select * form calls",
        "create table x as select 1",
        "insert into calls select * from calls",
        "copy calls to '/tmp/x'",
        "set datafusion.execution.batch_size = 1",
        "select * from '/etc/passwd'",
        "select repeat('x', 10)",
        "select 1; select 2",
        "select * into x from calls",
        "with x as (insert into calls select * from calls returning *) select * from x",
        "select duration / 0 from calls limit 1",
        "select percentile(duration, 2) from calls",
    ] {
        println!("{sql}");
        match ask(&service, sql).await {
            Ok(text) => println!("{text}"),
            Err(error) => println!("{error:?}\n{error} hint {:?}", error.hint()),
        }
    }
}
