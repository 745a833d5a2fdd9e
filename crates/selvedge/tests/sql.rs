//! SQL from outside: captures without an engine, and a live engine by HTTP and by the PostgreSQL wire.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use selvedge_replay::capture::{CaptureReader, FrameEncoding};
use selvedge_testkit::free_addresses;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.env("NO_COLOR", "1");
    command
}

fn sql(args: &[&str]) -> Output {
    command().arg("sql").args(args).output().unwrap()
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy").join(name);
    path.to_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Guarantees: every call that the replay counts is a row, and every finding is one; what was learned from is no row.
#[test]
fn a_capture_is_asked_without_an_engine() {
    let (normal, capture) = (fixture("normal_1.otlpcap.zst"), fixture("exfiltration.otlpcap.zst"));
    let out = tempfile::tempdir().unwrap();
    let replay =
        command().args(["replay", &capture, "--out", out.path().to_str().unwrap()]).output().unwrap();
    assert!(replay.status.success(), "{}", text(&replay.stderr));
    let summary = std::fs::read_to_string(out.path().join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let question =
        "SELECT (SELECT count(*) FROM calls) AS calls, (SELECT count(*) FROM findings) AS findings";
    let output = sql(&["--format", "json", "--learn", &normal, "--capture", &capture, question]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    assert_eq!(number(&rows[0]["calls"]), number(&summary["calls"]));
    assert_eq!(rows[0]["findings"], 5);
    let question = "SELECT source_workload, destination_workload, max(request_bytes) AS bytes FROM calls WHERE external \
                    GROUP BY ALL ORDER BY bytes DESC LIMIT 1";
    let question = question.replace("GROUP BY ALL", "GROUP BY source_workload, destination_workload");
    let output = sql(&["--format", "csv", "--capture", &capture, &question]);
    assert_eq!(
        text(&output.stdout),
        "source_workload,destination_workload,bytes\nbatch,paste.evil.example,600000\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn an_error_shows_the_line_with_a_caret_and_a_hint() {
    let capture = fixture("normal_1.otlpcap.zst");
    let output = sql(&["--capture", &capture, "SELECT\n  staus FROM calls"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.contains("  2 |   staus FROM calls\n    |   ^") && told.contains("did you mean status?"),
        "{told}"
    );
    assert!(output.stdout.is_empty());
    assert_eq!(sql(&["--formt", "csv", "SELECT 1"]).status.code(), Some(2));
    assert_eq!(sql(&["--capture", &capture, "--url", "http://x", "SELECT 1"]).status.code(), Some(2));
}

#[test]
fn a_statement_comes_from_standard_input_and_the_format_from_the_file_s_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answer.parquet");
    let capture = fixture("normal_1.otlpcap.zst");
    let mut child = command()
        .args(["sql", "--capture", &capture, "--output", path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT count(*) AS n\nFROM calls;\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(std::fs::read(&path).unwrap().starts_with(b"PAR1"));
}

#[test]
fn no_engine_to_ask_is_a_runtime_failure_that_says_what_to_do() {
    let [free] = free_addresses();
    let output = sql(&["--url", &format!("http://{free}"), "SELECT 1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--capture"), "{}", text(&output.stderr));
}

#[test]
fn the_sql_section_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sql.yaml");
    let broken = "sql:\n  endpoint: 0.0.0.0:4320\n  memory_max: 5\n  history: {}\n  auth: {user: me}\n";
    std::fs::write(&path, broken).unwrap();
    let check = || command().args(["check", "--config", path.to_str().unwrap()]).output().unwrap();
    let told = check();
    assert_eq!(told.status.code(), Some(3));
    let told = text(&told.stderr);
    for part in
        ["sql.endpoint: 0.0.0.0:4320", "sql.memory_max", "sql.history.folder", "exactly one of password"]
    {
        assert!(told.contains(part), "`{part}` is missing in:\n{told}");
    }
    std::fs::write(&path, "sql:\n  rows_mx: 5\n").unwrap();
    let told = text(&check().stderr);
    assert!(told.contains(":2:3: ") && told.contains("did you mean `rows_max`?"), "{told}");
}

/// Ends with the test.
struct Live {
    child: Child,
    http: SocketAddr,
    api: SocketAddr,
    wire: SocketAddr,
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Live {
    #[expect(clippy::disallowed_methods, reason = "the patience of a test with another process is real time")]
    fn start(folder: &Path) -> Self {
        let [http, api, wire] = free_addresses();
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{http}\"}}}}}}}}\nserve: {{endpoint: \"{api}\"}}\n\
             sql: {{endpoint: \"{wire}\", rows_max: 100000, history: {{folder: history}}}}\njournal: {{path: journal}}\n"
        );
        let path = folder.join("live.yaml");
        std::fs::write(&path, config).unwrap();
        let mut child = command()
            .args(["run", "--config", path.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !answers(api, "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", &[])
            .contains(" 200 ")
        {
            assert!(child.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(60));
        }
        Self { child, http, api, wire }
    }

    fn send(&self, capture: &str) {
        let reader = CaptureReader::open(Path::new(capture)).unwrap();
        for frame in reader {
            let frame = frame.unwrap();
            assert_eq!(frame.encoding, FrameEncoding::Protobuf);
            let (signal, length) = (frame.signal.name(), frame.body.len());
            let head = format!(
                "POST /v1/{signal} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\n\
                 content-length: {length}\r\n\r\n"
            );
            let answer = answers(self.http, &head, &frame.body);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }

    fn ask(&self, query: &str) -> serde_json::Value {
        let body = serde_json::json!({ "query": query }).to_string();
        let head = format!(
            "POST /api/v1/sql HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = answers(self.api, &head, body.as_bytes());
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|_| panic!("{answer}"))
    }
}

fn answers(address: SocketAddr, head: &str, body: &[u8]) -> String {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        drop(stream.read_to_end(&mut answer));
    }
    text(&answer)
}

/// Scenario: a capture is sent to a live engine while SQL is asked by every way in; then the engine is told to end.
/// Guarantees: all ways see the same rows, and what was in memory is in the history afterwards.
#[test]
#[expect(clippy::disallowed_methods, reason = "the patience of a test with another process is real time")]
fn a_live_engine_answers_by_http_by_the_postgresql_wire_and_from_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = Live::start(folder.path());
    live.send(&fixture("exfiltration.otlpcap.zst"));
    let spans = live.ask("SELECT count(*) AS n FROM log_records")[0]["n"].as_i64().unwrap();
    assert!(spans > 0);
    let evil = "SELECT count(*) AS n FROM calls WHERE destination_workload = 'paste.evil.example'";
    let started = Instant::now();
    while live.ask(evil)[0]["n"].as_i64().unwrap() == 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "the call never completed");
    }
    let refused = live.ask("DELETE FROM calls");
    assert_eq!((&refused["code"], &refused["status"]), (&"not_read_only".into(), &403.into()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let by_wire: i64 = runtime.block_on(async {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(live.wire.port()).user("reader").dbname("selvedge");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        let asked = async { client.query_one("SELECT count(*) FROM log_records", &[]).await.unwrap().get(0) };
        tokio::select! {
            count = asked => count,
            _ = connection => panic!("the connection ended"),
        }
    });
    assert_eq!(by_wire, spans);
    let url = format!("http://{}", live.api);
    let output = sql(&["--url", &url, "--format", "csv", "SELECT count(*) AS n FROM log_records"]);
    assert_eq!(text(&output.stdout), format!("n\n{spans}\n"), "{}", text(&output.stderr));
    // More rows than one answer may have: what came is not taken for the whole.
    let output = sql(&[
        "--url",
        &url,
        "--format",
        "csv",
        "SELECT a.trace_id FROM log_records a CROSS JOIN log_records b CROSS JOIN log_records c",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("100000 rows"), "{}", text(&output.stderr));
    let pid = live.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(live.child.wait().unwrap().success());
    let history = folder.path().join("history");
    let output = sql(&[
        "--history",
        history.to_str().unwrap(),
        "--format",
        "csv",
        "SELECT count(*) AS n FROM log_records",
    ]);
    assert_eq!(text(&output.stdout), format!("n\n{spans}\n"), "{}", text(&output.stderr));
}
