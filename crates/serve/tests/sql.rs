//! `POST /api/v1/sql` from outside: formats, refusals as problem documents, and limits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use selvedge_query::SqlConfig;
use selvedge_query::output::BatchReader;
use selvedge_serve::{Health, Lifecycle};
use serde_json::{Value, json};
use support::{Answer, exchange, seen, seen_with, serving};

/// 41 times 41 times 41 rows of a quarter of a kilobyte.
const MANY: &str = "SELECT a.trace_id || b.trace_id || c.trace_id || a.trace_id || b.trace_id || c.trace_id AS ids \
                    FROM calls a, calls b, calls c";
/// Computes for longer than a test waits, and has one row.
const ENDLESS: &str = "SELECT count(*) FROM calls a, calls b, calls c, calls d, calls e, calls f \
                       WHERE a.duration + b.duration + c.duration + d.duration + e.duration < f.duration";

/// Serves SQL with limits while `ask` runs.
fn limited(limits: SqlConfig, ask: impl FnOnce(SocketAddr) + Send + 'static) {
    let (view, sql) = seen_with(limits);
    let health = Arc::new(Health::default());
    health.set(Lifecycle::Ready);
    serving(view, Some(sql), &health, ask);
}

fn asked(ask: impl FnOnce(SocketAddr) + Send + 'static) {
    limited(SqlConfig::default(), ask);
}

/// A request with a body and more header lines, by HTTP/1.0: no chunks in the answer.
fn post(address: SocketAddr, lines: &str, body: &str) -> Answer {
    let length = body.len();
    let head =
        format!("POST /api/v1/sql HTTP/1.0\r\nhost: localhost\r\ncontent-length: {length}\r\n{lines}\r\n");
    exchange(address, &head, body.as_bytes())
}

/// The answer to a statement, in the format that `accept` names.
fn query(address: SocketAddr, accept: &str, sql: &str) -> Answer {
    let lines = format!("content-type: application/json\r\naccept: {accept}\r\n");
    post(address, &lines, &json!({ "query": sql }).to_string())
}

/// A refusal: its status and its document.
fn refusal(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["status"], answer.status);
    assert_eq!(document["type"], format!("urn:selvedge:problem:{}", document["code"].as_str().unwrap()));
    document
}

#[test]
fn rows_come_in_the_format_that_is_asked_for() {
    asked(|address| {
        let sql = "SELECT source_workload, count(*) AS calls, avg(duration_ms) > 0 AS slow FROM calls \
                   WHERE handshake_failure IS NULL GROUP BY 1";
        for accept in ["*/*", "application/json", "text/html, application/json;q=0.9"] {
            let answer = query(address, accept, sql);
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{accept}");
            let rows: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(rows, json!([{"source_workload": "web", "calls": 40, "slow": true}]));
        }
        let csv = query(address, "text/csv", sql);
        assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
        assert_eq!(csv.text(), "source_workload,calls,slow\nweb,40,true\n");
        for accept in ["application/x-ndjson", "application/jsonl"] {
            let lines = query(address, accept, "SELECT status FROM calls WHERE status = 200");
            assert_eq!(lines.text(), "{\"status\":200}\n".repeat(40), "{accept}");
        }
        let arrow = query(address, "application/vnd.apache.arrow.stream", sql);
        let mut reader = BatchReader::default();
        let batches = reader.read(arrow.body).unwrap();
        assert_eq!(batches.iter().map(selvedge_query::RecordBatch::num_rows).sum::<usize>(), 1);
        let names: Vec<String> =
            reader.schema().unwrap().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["source_workload", "calls", "slow"]);
        reader.finish().unwrap();
    });
}

/// Guarantees: an answer without rows is one, with its columns where the format has a place for them.
#[test]
fn no_row_is_an_answer() {
    asked(|address| {
        let nothing = "SELECT status, route FROM calls WHERE status = 999";
        assert_eq!(query(address, "application/json", nothing).text(), "[]");
        assert_eq!(query(address, "text/csv", nothing).text(), "status,route\n");
        let mut reader = BatchReader::default();
        let arrow = query(address, "application/vnd.apache.arrow.stream", nothing);
        assert!(reader.read(arrow.body).unwrap().iter().all(|batch| batch.num_rows() == 0));
        assert_eq!(reader.schema().unwrap().fields().len(), 2);
    });
}

#[test]
fn the_statement_may_be_the_body() {
    asked(|address| {
        for media in ["text/plain", "text/plain; charset=utf-8", "application/sql"] {
            let lines = format!("content-type: {media}\r\naccept: text/csv\r\n");
            let answer = post(address, &lines, "SELECT count(*) AS n FROM calls WHERE status = 200");
            assert_eq!(answer.text(), "n\n40\n", "{media}");
        }
    });
}

#[test]
fn a_wrong_statement_is_told_with_its_place_and_a_hint() {
    asked(|address| {
        let cases = [
            ("SELECT\n  staus FROM calls", "invalid_query", json!({"line": 2, "column": 3})),
            ("SELECT count(*) FROM\n cals", "invalid_query", json!({"line": 2, "column": 2})),
            ("SELECT *\nFRM calls", "syntax_error", json!({"line": 2, "column": 5})),
            ("SELECT status FROM calls\nGROUP BY nope", "invalid_query", json!({"line": 2, "column": 10})),
            ("SELECT percentile(status) FROM calls", "invalid_query", json!({"line": 1, "column": 8})),
            ("SELECT nosuch(status) FROM calls", "invalid_query", json!({"line": 1, "column": 8})),
        ];
        for (sql, code, position) in cases {
            let answer = query(address, "text/csv", sql);
            let document = refusal(&answer);
            assert_eq!((answer.status, &document["code"]), (400, &code.into()), "{document}");
            assert_eq!(document["position"], position, "{document}");
        }
        let misspelt = refusal(&query(address, "text/csv", "SELECT staus FROM calls"));
        assert_eq!(misspelt["hint"], "did you mean status?");
        let written = query(address, "text/csv", "DELETE FROM calls");
        assert_eq!((written.status, &refusal(&written)["code"]), (403, &"not_read_only".into()));
        let failed = query(address, "text/csv", "SELECT CAST(route AS INT) FROM calls");
        assert_eq!((failed.status, &refusal(&failed)["code"]), (422, &"execution_failed".into()));
    });
}

#[test]
fn a_wrong_request_is_told() {
    asked(|address| {
        let json = "content-type: application/json\r\n";
        let ask = "{\"query\": \"SELECT 1\"}";
        let cases = [
            (post(address, json, "{\"querry\": \"SELECT 1\"}"), 400, "unreadable_request"),
            (post(address, json, "SELECT 1"), 400, "unreadable_request"),
            (post(address, "content-type: image/png\r\n", ask), 415, "unsupported_media_type"),
            (post(address, "", ask), 415, "unsupported_media_type"),
            (post(address, &format!("{json}accept: image/png\r\n"), ask), 406, "not_acceptable"),
            (
                post(address, &format!("{json}origin: http://elsewhere.example\r\n"), ask),
                403,
                "foreign_origin",
            ),
            (post(address, json, &" ".repeat(300 << 10)), 413, "unreadable_request"),
            (
                query(address, "text/csv", &format!("SELECT {}", "1+".repeat(40_000))),
                413,
                "statement_too_long",
            ),
        ];
        for (answer, status, code) in cases {
            assert_eq!(
                (answer.status, &refusal(&answer)["code"]),
                (status, &code.into()),
                "{}",
                answer.text()
            );
        }
        assert_eq!(post(address, &format!("{json}origin: http://localhost\r\n"), ask).status, 200);
        let got = exchange(address, "GET /api/v1/sql HTTP/1.0\r\nhost: localhost\r\n\r\n", &[]);
        assert_eq!((got.status, got.header("allow")), (405, "POST"));
    });
}

#[test]
fn without_sql_or_before_the_start_there_is_an_answer_that_says_so() {
    let health = Arc::new(Health::default());
    health.set(Lifecycle::Ready);
    serving(seen().0, None, &health, |address| {
        let off = query(address, "*/*", "SELECT 1");
        assert_eq!((off.status, &refusal(&off)["code"]), (404, &"sql_off".into()));
    });
    let (view, sql) = seen();
    serving(view, Some(sql), &Arc::new(Health::default()), |address| {
        let early = query(address, "*/*", "SELECT 1");
        assert_eq!((early.status, &refusal(&early)["code"]), (503, &"starting".into()));
    });
}

/// Guarantees: past a limit that strikes before the answer has begun, there is a status and a document.
#[test]
fn a_limit_that_strikes_early_has_a_status() {
    limited(SqlConfig { rows_max: 10, ..SqlConfig::default() }, |address| {
        let answer = query(address, "text/csv", "SELECT status FROM calls");
        let document = refusal(&answer);
        assert_eq!((answer.status, &document["code"]), (422, &"too_many_rows".into()));
        assert_eq!(document["hint"], "add LIMIT, or group the rows");
        assert_eq!(query(address, "text/csv", "SELECT status FROM calls LIMIT 10").status, 200);
    });
    limited(SqlConfig { time_max: Duration::from_millis(200), ..SqlConfig::default() }, |address| {
        let answer = query(address, "text/csv", ENDLESS);
        assert_eq!((answer.status, &refusal(&answer)["code"]), (504, &"timed_out".into()));
    });
    limited(SqlConfig { memory_bytes_max: 16 << 10, ..SqlConfig::default() }, |address| {
        let sql =
            "SELECT a.trace_id || b.trace_id AS pair, count(*) FROM calls a, calls b GROUP BY 1 ORDER BY 2";
        let answer = query(address, "text/csv", sql);
        assert_eq!((answer.status, &refusal(&answer)["code"]), (422, &"out_of_memory".into()));
        assert_eq!(query(address, "text/csv", "SELECT 1 AS n").text(), "n\n1\n");
    });
}

/// Scenario: the answer is on its way when the row limit strikes.
/// Guarantees: nobody takes a part for the whole. Who reads trailers is told why; for others the connection breaks.
#[test]
fn half_an_answer_does_not_look_like_a_whole_one() {
    limited(SqlConfig { rows_max: 5_000, ..SqlConfig::default() }, |address| {
        let body = json!({ "query": MANY }).to_string();
        let ask = |more: &str| {
            let head = format!(
                "POST /api/v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: text/csv\r\n\
                 connection: close\r\ncontent-length: {}\r\n{more}\r\n",
                body.len()
            );
            exchange(address, &head, body.as_bytes())
        };
        let broken = ask("");
        assert_eq!((broken.status, broken.header("transfer-encoding")), (200, "chunked"));
        assert!(!broken.body.ends_with(b"0\r\n\r\n"), "the last chunk says that all is there");
        let told = ask("te: trailers\r\nselvedge-errors: trailer\r\n");
        assert_eq!((told.status, told.header("trailer")), (200, "selvedge-problem"));
        let text = told.text();
        let (_, document) = text.rsplit_once("\r\n0\r\nselvedge-problem: ").unwrap();
        let document: Value = serde_json::from_str(document.trim()).unwrap();
        assert_eq!((&document["code"], &document["status"]), (&"too_many_rows".into(), &422.into()));
    });
}

/// Guarantees: past the queue there is a refusal that says when to come again, and a query that nobody waits for any
/// more gives its place up.
#[test]
#[expect(clippy::disallowed_methods, reason = "the patience of a test with a server is real time")]
fn past_the_queue_the_answer_is_busy_until_the_asker_has_gone() {
    let limits = SqlConfig { running_max: 1, waiting_max: 0, ..SqlConfig::default() };
    limited(SqlConfig { time_max: Duration::from_secs(300), ..limits }, |address| {
        let body = json!({ "query": ENDLESS }).to_string();
        let mut asking = std::net::TcpStream::connect(address).unwrap();
        let head = "POST /api/v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        std::io::Write::write_all(
            &mut asking,
            format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        )
        .unwrap();
        let started = std::time::Instant::now();
        let until = |status: u16| loop {
            let answer = query(address, "text/csv", "SELECT 1 AS n");
            if answer.status == status {
                return answer;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "never answered {status}");
        };
        let busy = until(429);
        assert_eq!((&refusal(&busy)["code"], busy.header("retry-after")), (&"busy".into(), "1"));
        drop(asking);
        assert_eq!(until(200).text(), "n\n1\n");
    });
}
