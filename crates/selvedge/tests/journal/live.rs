//! A process, what is sent to it, and what it says.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use selvedge_testkit::free_addresses;

/// Long enough for a slow machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Until it is so.
#[expect(clippy::disallowed_methods, reason = "the patience of a test with another process is real time")]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "{what}: never");
        std::thread::yield_now();
    }
}

/// A folder with a configuration, in which one process after the other runs.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) http: SocketAddr,
    pub(crate) api: SocketAddr,
    config: PathBuf,
}

/// A running process; killed with the test.
pub(crate) struct Live {
    pub(crate) child: Child,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Live {
    /// kill -9.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Place {
    /// `more` is added to the configuration.
    pub(crate) fn new(more: &str) -> Self {
        Self::with_receiver("", more)
    }

    /// The same, with `receiver` beside that of OTLP.
    pub(crate) fn with_receiver(receiver: &str, more: &str) -> Self {
        Self::configured(&format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"GRPC\"}}, http: {{endpoint: \"HTTP\"}}}}}}{receiver}}}\n\
             serve: {{endpoint: \"API\"}}\nsql: {{endpoint: \"WIRE\", rows_max: 1000000, time_limit: 60s}}\n{more}"
        ))
    }

    /// The whole configuration, in which `GRPC`, `HTTP`, `API` and `WIRE` stand for free addresses.
    pub(crate) fn configured(text: &str) -> Self {
        // On the disk of the build, not in memory as `/tmp` may be: there is room there, and it is a disk.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let [grpc, http, api, wire] = free_addresses();
        let mut text = text.to_owned();
        for (word, address) in [("GRPC", grpc), ("HTTP", http), ("API", api), ("WIRE", wire)] {
            text = text.replace(word, &address.to_string());
        }
        let config = folder.path().join("selvedge.yaml");
        std::fs::write(&config, text).unwrap();
        Self { folder, http, api, config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command that starts a process here.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
        command.args(["run", "--config", self.config.to_str().unwrap()]).args(more);
        self.prepare(&mut command);
        command
    }

    /// The same, with no file larger than this, and no signal when one would be.
    pub(crate) fn limited(&self, kib: u32) -> Command {
        let mut command = Command::new("bash");
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" run --config \"$1\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_selvedge"), self.config.to_str().unwrap()]);
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        let errors = std::fs::File::options().create(true).append(true).open(self.path("errors")).unwrap();
        command.env("NO_COLOR", "1").env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", self.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    }

    /// Starts a process and waits until it takes telemetry.
    pub(crate) fn start(&self, mut command: Command) -> Live {
        let mut live = Live { child: command.spawn().unwrap() };
        until("ready", || {
            assert!(live.child.try_wait().unwrap().is_none(), "ended: {}", self.errors());
            self.get("/readyz").0 == 200
        });
        live
    }

    /// Starts one in this folder, with these arguments more.
    pub(crate) fn start_here(&self, more: &[&str]) -> Live {
        let mut command = self.command(more);
        command.current_dir(self.folder.path());
        self.start(command)
    }

    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(self.path("errors")).unwrap_or_default()
    }

    /// Status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        exchange(self.api, &format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n"), &[])
            .unwrap_or_default()
    }

    pub(crate) fn ask(&self, query: &str) -> serde_json::Value {
        let body = serde_json::json!({ "query": query }).to_string();
        let head = format!(
            "POST /api/v1/sql HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let (status, answer) = exchange(self.api, &head, body.as_bytes()).unwrap();
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// The trace ids of all spans whose ids begin so.
    pub(crate) fn traces(&self, prefix: &str) -> BTreeSet<String> {
        let rows = self.ask(&format!("SELECT trace_id FROM spans WHERE trace_id LIKE '{prefix}%'"));
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["trace_id"].as_str().unwrap().to_owned()).collect()
    }

    /// A number of `/metrics`, all its label sets that hold `label` added up.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        self.metrics(name, label).iter().map(|number| number.parse::<u64>().unwrap()).sum()
    }

    /// The numbers of `/metrics` with this name, of the label sets that hold `label`.
    pub(crate) fn metrics(&self, name: &str, label: &str) -> Vec<String> {
        let (_, text) = self.get("/metrics");
        let rows = text.lines().filter(|line| !line.starts_with('#'));
        let of_name = rows.filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(label));
        let numbers: Vec<String> = of_name.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
        assert!(!numbers.is_empty(), "no {name} with {label:?} in:\n{text}");
        numbers
    }
}

fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A sender of OTLP/HTTP that keeps its connection.
pub(crate) struct Sender {
    stream: BufReader<TcpStream>,
}

impl Sender {
    pub(crate) fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream: BufReader::new(stream) })
    }

    /// The status of the answer; `None` when the connection ended before it.
    pub(crate) fn send(&mut self, signal: &str, content_type: &str, body: &[u8]) -> Option<u16> {
        let head = format!(
            "POST /v1/{signal} HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat()).ok()?;
        let (mut line, mut status, mut length) = (String::new(), None, 0);
        loop {
            line.clear();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if status.is_none() {
                status = text.split(' ').nth(1)?.parse().ok();
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        self.stream.read_exact(&mut vec![0; length]).ok()?;
        status
    }
}

/// Spans with these trace ids as OTLP/JSON, of this size each, that end now.
pub(crate) fn spans(traces: &[String], padding: usize) -> Vec<u8> {
    spans_of(Duration::ZERO, traces, padding)
}

/// The same, of so long ago.
pub(crate) fn spans_of(ago: Duration, traces: &[String], padding: usize) -> Vec<u8> {
    let end = std::time::UNIX_EPOCH.elapsed().unwrap() - ago;
    let now = u64::try_from(end.as_nanos()).unwrap();
    let padding = "x".repeat(padding);
    let spans: Vec<serde_json::Value> = traces
        .iter()
        .map(|trace| {
            serde_json::json!({
                "traceId": trace, "spanId": &trace[16..], "name": "GET /carts", "kind": 2,
                "startTimeUnixNano": (now - 1_000_000).to_string(), "endTimeUnixNano": now.to_string(),
                "attributes": [{"key": "padding", "value": {"stringValue": padding}}],
            })
        })
        .collect();
    let resource =
        serde_json::json!({"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]});
    let request =
        serde_json::json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
    request.to_string().into_bytes()
}
