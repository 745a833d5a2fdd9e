//! The second benchmark: what a question costs over ten million calls in memory, against plain DataFusion over the same
//! rows in a `MemTable`; what appending a row costs; and what a row takes.
//!
//! Everything runs on one thread at a time, both sides in turns. The figure is the CPU time of the whole process.

mod mesh;
mod window;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::compute::{BatchCoalescer, concat_batches};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use selvedge_model::ObservationKind;
use selvedge_query::{QueryOptions, SqlConfig, SqlService, Store, StoreConfig, TableSize};
use tokio::runtime::{Builder, Runtime};

use crate::mesh::Mesh;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// SQL over calls in memory, against plain DataFusion.
#[derive(Parser)]
struct Arguments {
    /// Calls in memory.
    #[arg(long, default_value_t = 10_000_000)]
    calls: usize,
    /// Edges between which they go.
    #[arg(long, default_value_t = 1_000)]
    edges: usize,
    /// Rounds; a figure is the median over them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Rows of a `MemTable`'s batch.
const PEER_BATCH_ROWS: usize = 65_536;
/// Rows appended between two looks at the clock.
const APPEND_ROWS: usize = 20_000;
/// Spans and log records made to see what one takes.
const RECORDS: usize = 1_000_000;
/// Bytes that a store of the benchmark may hold; it is to drop nothing.
const BYTES_MAX: usize = 8 << 30;

const BY_EDGE: &str = "SELECT edge_id, count(*) AS calls, avg(duration) AS mean, max(duration) AS longest, \
                       sum(CASE WHEN error THEN 1 ELSE 0 END) AS errors FROM calls GROUP BY edge_id";
const BY_NAMES: &str = "SELECT source_workload, destination_workload, count(*) AS calls, avg(duration) AS mean, \
                        max(duration) AS longest, sum(CASE WHEN error THEN 1 ELSE 0 END) AS errors \
                        FROM calls GROUP BY source_workload, destination_workload";
/// A nanosecond long after all calls.
const NEVER: u64 = 1 << 62;
const P99: &str = "SELECT edge_id, percentile(duration, 0.99) AS p99 FROM calls GROUP BY edge_id";
const P99_PEER: &str =
    "SELECT edge_id, approx_percentile_cont(duration, 0.99) AS p99 FROM calls GROUP BY edge_id";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.calls > 0 && arguments.rounds > 0, "--calls and --rounds must be above zero");
    let mut mesh = Mesh::new(arguments.edges);
    let config = StoreConfig { bytes_max: BYTES_MAX, shares: [1, 0, 0, 0], ..StoreConfig::default() };
    let mut store = Store::new(&config);
    let append_call = append_calls(&mut mesh, &mut store, arguments.calls);
    store.seal();
    let bench = Bench::new(&mut store, &mesh, &arguments)?;
    bench.answers_agree()?;
    let mut report = Report::new(&arguments);
    let (rows, rows_late) = bench.late_rows(mesh.moment(9))?;
    report.queries(&bench.measure(mesh.moment(9))?, rows_late / rows);
    report.size("a call", store.sizes()[0], Some(160.0));
    drop(bench);
    report.line("    in the join window", &format!("{:>7.1} B held", window::bytes_per_call()?), "", None);
    let mut append_record = 0.0;
    for (kind, at, name) in
        [(ObservationKind::Span, 1, "a span"), (ObservationKind::AccessLog, 2, "a log record")]
    {
        let config = StoreConfig { bytes_max: BYTES_MAX, shares: [0, 1, 1, 0], ..StoreConfig::default() };
        let mut store = Store::new(&config);
        let nanos = append_records(&mut mesh, &mut store, kind);
        append_record = f64::max(append_record, nanos);
        report.size(name, store.sizes()[at], None);
    }
    report.append("append_call", append_call);
    report.append("append_observation", append_record);
    report.print();
    Ok(())
}

/// Median nanoseconds of appending one call.
fn append_calls(mesh: &mut Mesh, store: &mut Store, calls: usize) -> f64 {
    let mut costs = Vec::new();
    let mut left = calls;
    while left > 0 {
        let some: Vec<_> = (0..left.min(APPEND_ROWS)).map(|_| mesh.call()).collect();
        left -= some.len();
        let before = thread_cpu();
        some.iter().for_each(|call| store.append_call(call));
        costs.push(each(thread_cpu() - before, some.len()));
    }
    median(costs)
}

/// Median nanoseconds of appending one record.
fn append_records(mesh: &mut Mesh, store: &mut Store, kind: ObservationKind) -> f64 {
    let costs = (0..RECORDS / APPEND_ROWS).map(|_| {
        let some: Vec<_> = (0..APPEND_ROWS).map(|_| mesh.record(kind)).collect();
        let before = thread_cpu();
        some.iter().for_each(|record| store.append_observation(record));
        each(thread_cpu() - before, some.len())
    });
    let costs = costs.collect();
    store.seal();
    median(costs)
}

/// Both sides, with the same rows.
struct Bench {
    ours: SqlService,
    peer: SessionContext,
    runtime: Runtime,
    rounds: usize,
}

/// CPU seconds of each question, ours and the peer's.
struct Cost {
    by_edge: (f64, f64),
    by_names: (f64, f64),
    p99: (f64, f64),
    late: (f64, f64),
    /// The same question about a time of which there is nothing: what understanding and planning it takes.
    empty: (f64, f64),
}

impl Bench {
    fn new(store: &mut Store, mesh: &Mesh, arguments: &Arguments) -> Result<Self> {
        let config = SqlConfig {
            threads: 1,
            memory_bytes_max: 4 << 30,
            rows_max: usize::MAX,
            time_max: Duration::from_secs(3_600),
            ..SqlConfig::default()
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ours = SqlService::new(store.snapshot(&mesh.symbols), config)?;
        let peer = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let bench = Self { ours, peer, runtime, rounds: arguments.rounds };
        let columns = "edge_id, source_workload, destination_workload, start_time, duration, error";
        let batches = bench.ours(&format!("SELECT {columns} FROM calls"))?;
        let schema = batches.first().context("there are no calls")?.schema();
        let mut coalescer = BatchCoalescer::new(Arc::clone(&schema), PEER_BATCH_ROWS);
        let mut coalesced = Vec::new();
        for batch in batches {
            coalescer.push_batch(batch)?;
            coalesced.extend(std::iter::from_fn(|| coalescer.next_completed_batch()));
        }
        coalescer.finish_buffered_batch()?;
        coalesced.extend(std::iter::from_fn(|| coalescer.next_completed_batch()));
        bench.peer.register_table("calls", Arc::new(MemTable::try_new(schema, vec![coalesced])?))?;
        Ok(bench)
    }

    fn ours(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let answer = async { self.ours.query(sql, QueryOptions::default()).await?.collect().await };
        self.runtime.block_on(answer).with_context(|| format!("our answer to {sql}"))
    }

    fn peer(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let answer = async { self.peer.sql(sql).await?.collect().await };
        self.runtime.block_on(answer).with_context(|| format!("the peer's answer to {sql}"))
    }

    /// Before anything is measured: both sides count the same.
    fn answers_agree(&self) -> Result<()> {
        for (sql, order) in [(BY_EDGE, "1"), (BY_NAMES, "1, 2")] {
            let sql = format!("{sql} ORDER BY {order}");
            let (ours, peer) = (self.ours(&sql)?, self.peer(&sql)?);
            ensure!(text(&ours)? == text(&peer)?, "the two sides differ on {sql}");
        }
        Ok(())
    }

    /// Rows of the whole, and rows that the question about its last tenth reads.
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    fn late_rows(&self, from: u64) -> Result<(f64, f64)> {
        let plan = text(&self.ours(&format!("EXPLAIN {}", late(from)))?)?;
        let (_, rows) = plan.split_once("rows=").context("the plan does not say how many rows it reads")?;
        let (read, rest) = rows.split_once('/').context("rows=read/all")?;
        let all: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let matching = self.peer(&format!("SELECT count(*) FROM ({})", late(from)))?;
        ensure!(matching[0].column(0).as_primitive::<Int64Type>().value(0) > 0, "no call is late");
        Ok((all.parse::<usize>()? as f64, read.parse::<usize>()? as f64))
    }

    fn measure(&self, from: u64) -> Result<Cost> {
        let (late, empty) = (late(from), late(NEVER));
        let questions =
            [(BY_EDGE, BY_EDGE), (BY_NAMES, BY_NAMES), (P99, P99_PEER), (&late, &late), (&empty, &empty)];
        let mut costs = [(); 5].map(|()| (Vec::new(), Vec::new()));
        for round in 0..=self.rounds {
            for ((ours, peer), cost) in questions.iter().zip(&mut costs) {
                let taken = (spent(|| self.ours(ours))?, spent(|| self.peer(peer))?);
                // The first round makes the columns of shapes, and warms the caches.
                if round > 0 {
                    cost.0.push(taken.0);
                    cost.1.push(taken.1);
                }
            }
            eprintln!("round {round} of {}", self.rounds);
        }
        let [by_edge, by_names, p99, late, empty] = costs.map(|(ours, peer)| (median(ours), median(peer)));
        Ok(Cost { by_edge, by_names, p99, late, empty })
    }
}

fn late(from: u64) -> String {
    let from = format!("to_timestamp_nanos({from})");
    BY_EDGE.replace(" GROUP BY", &format!(" WHERE start_time >= {from} GROUP BY"))
}

fn text(batches: &[RecordBatch]) -> Result<String> {
    let schema = batches.first().context("an answer without rows")?.schema();
    Ok(pretty_format_batches(&[concat_batches(&schema, batches)?])?.to_string())
}

/// What was measured, and whether it is what it should be.
struct Report {
    lines: Vec<String>,
    calls: f64,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    fn new(arguments: &Arguments) -> Self {
        let head = format!(
            "\n{} calls on {} edges in memory, one core, medians of {} rounds\n",
            arguments.calls, arguments.edges, arguments.rounds
        );
        Self { lines: vec![head], calls: arguments.calls as f64 }
    }

    fn line(&mut self, what: &str, figure: &str, goal: &str, met: Option<bool>) {
        let met = met.map_or("", |met| if met { "met" } else { "MISSED" });
        self.lines.push(format!("{what:<42}{figure:<76}{goal:<18}{met}"));
    }

    fn queries(&mut self, cost: &Cost, rows_late: f64) {
        let speed = |seconds: f64| self.calls / seconds / 1e6;
        let both = |(ours, peer): (f64, f64)| {
            let (ours, peer) = (speed(ours), speed(peer));
            (ours / peer, format!("{ours:>7.1} M rows/CPU-s, DataFusion {peer:>6.1}: {:.2} x", ours / peer))
        };
        let (edge, names, p99) = (both(cost.by_edge), both(cost.by_names), both(cost.p99));
        let p99_speed = speed(cost.p99.0);
        let (plan, whole) = (cost.empty.0, cost.by_edge.0);
        let work = (cost.late.0 - plan) / (whole - plan);
        self.line("A   count, avg, max, errors by edge", &edge.1, ">= 0.9 x", Some(edge.0 >= 0.9));
        self.line("A2  the same by source and destination", &names.1, ">= 0.9 x", Some(names.0 >= 0.9));
        self.line("B   p99 by edge", &p99.1, ">= 5 x", Some(p99.0 >= 5.0));
        self.line("", &format!("{p99_speed:>7.1} M rows/CPU-s"), ">= 35", Some(p99_speed >= 35.0));
        let rows = format!("{:>7.1} % of the rows read", rows_late * 100.0);
        self.line("C   the last tenth by edge", &rows, "<= 11 %", Some(rows_late <= 0.11));
        let share = format!(
            "{:>7.1} % of the CPU of A beyond planning ({:.1} of {:.1} ms, planning {:.1} ms)",
            work * 100.0,
            cost.late.0 * 1e3,
            whole * 1e3,
            plan * 1e3
        );
        self.line("", &share, "<= 12 %", Some(work <= 0.12));
    }

    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    fn size(&mut self, what: &str, size: TableSize, bytes_max: Option<f64>) {
        let bytes = size.bytes as f64 / size.rows.max(1) as f64;
        let figure = format!("{bytes:>7.1} B held ({} shapes)", size.shapes);
        let goal = bytes_max.map_or(String::new(), |max| format!("<= {max:.0} with the join window"));
        self.line(&format!("D   {what}"), &figure, &goal, None);
    }

    fn append(&mut self, what: &str, nanos: f64) {
        self.line(&format!("E   {what}"), &format!("{nanos:>7.1} ns a row"), "<= 60 ns", Some(nanos <= 60.0));
    }

    #[expect(clippy::print_stdout, reason = "the figures are data")]
    fn print(&self) {
        println!("{}", self.lines.join("\n"));
    }
}

/// CPU seconds that the process spends on something.
fn spent<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let before = process_cpu();
    work()?;
    Ok((process_cpu() - before).as_secs_f64())
}

fn process_cpu() -> Duration {
    cpu(rustix::time::ClockId::ProcessCPUTime)
}

fn thread_cpu() -> Duration {
    cpu(rustix::time::ClockId::ThreadCPUTime)
}

fn cpu(clock: rustix::time::ClockId) -> Duration {
    Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn each(taken: Duration, rows: usize) -> f64 {
    taken.as_secs_f64() * 1e9 / rows.max(1) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
