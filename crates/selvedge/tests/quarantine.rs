//! `selvedge quarantine` against a live engine: from a recorded attack to a proposal that a person looks at and lifts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use selvedge_replay::capture::CaptureReader;
use selvedge_testkit::free_addresses;
use serde_json::Value;

/// How long another process may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy").join(name);
    path.to_str().unwrap().to_owned()
}

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
}

/// Ends with the test.
struct Live {
    child: Child,
    http: SocketAddr,
    api: SocketAddr,
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Live {
    /// An engine that knows the mesh, with a token for the API, and more configuration.
    #[expect(clippy::disallowed_methods, reason = "the patience of a test with another process is real time")]
    fn start(folder: &Path, more: &str) -> Self {
        let [http, api] = free_addresses();
        std::fs::write(folder.join("token"), "s3cret\n").unwrap();
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{http}\"}}}}}}}}\nsql: {{enabled: false}}\njournal: {{path: journal}}\n\
             serve: {{endpoint: \"{api}\", auth: {{bearer_token_file: token, name: night shift}}}}\n{more}\n"
        );
        let path = folder.join("live.yaml");
        std::fs::write(&path, config).unwrap();
        let learned = ["normal_1.otlpcap.zst", "normal_2.otlpcap.zst"].map(fixture);
        let mut child = Command::new(env!("CARGO_BIN_EXE_selvedge"))
            .args(["run", "--config", path.to_str().unwrap(), "--learn", &learned[0], "--learn", &learned[1]])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let ready = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        while !exchange(api, ready, &[]).contains(" 200 ") {
            assert!(child.try_wait().unwrap().is_none() && started.elapsed() < PATIENCE);
        }
        Self { child, http, api }
    }

    fn send(&self, capture: &str) {
        for frame in CaptureReader::open(Path::new(capture)).unwrap() {
            let frame = frame.unwrap();
            let (signal, length) = (frame.signal.name(), frame.body.len());
            let head = format!(
                "POST /v1/{signal} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\n\
                 content-length: {length}\r\n\r\n"
            );
            assert!(exchange(self.http, &head, &frame.body).starts_with("HTTP/1.1 200"));
        }
    }

    /// The one that is proposed at the callee after an attack.
    #[expect(clippy::disallowed_methods, reason = "the patience of a test with another process is real time")]
    fn proposed(&self) -> Value {
        self.send(&fixture("exfiltration.otlpcap.zst"));
        let started = Instant::now();
        loop {
            let list: Value = serde_json::from_str(&self.told(None, &["list", "--format", "json"])).unwrap();
            let all = list["quarantines"].as_array().unwrap();
            if let Some(found) = all.iter().find(|one| one["cuts"][0]["place"] == "inbound") {
                return found.clone();
            }
            assert!(started.elapsed() < PATIENCE, "nothing was proposed");
        }
    }

    /// `selvedge quarantine` of this engine.
    fn quarantine(&self, token: Option<&str>, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
        command.env("NO_COLOR", "1").env_remove("SELVEDGE_TOKEN");
        if let Some(token) = token {
            command.env("SELVEDGE_TOKEN", token);
        }
        command
            .arg("quarantine")
            .args(args)
            .args(["--url", &format!("http://{}", self.api)])
            .output()
            .unwrap()
    }

    /// What it prints when it succeeds.
    fn told(&self, token: Option<&str>, args: &[&str]) -> String {
        let output = self.quarantine(token, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says when it does not.
    fn refused(&self, token: Option<&str>, args: &[&str]) -> String {
        let output = self.quarantine(token, args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> String {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        drop(stream.read_to_end(&mut answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Scenario: an attack is sent to a live engine that only proposes; a person lists, looks, and takes the proposal back.
/// Guarantees: everything that a person must know is on the page; nothing changes without the token, and nothing can be
/// approved where nothing can be enforced.
#[test]
fn a_proposal_is_listed_previewed_and_lifted_by_the_holder_of_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let live = Live::start(folder.path(), "");
    assert_eq!(live.told(None, &["list"]), "no quarantines\n");
    let proposed = live.proposed();
    let id = proposed["id"].as_str().unwrap();
    let incident = proposed["incident_id"].as_str().unwrap();
    let table = live.told(None, &["list", "--state", "proposed", "--incident", incident]);
    assert_contains(&table, &["ID", "STATE", "NORMAL", "WHAT", id, "proposed", "planned"]);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "wider than a page:\n{table}");
    assert_eq!(live.told(None, &["list", "--state", "enforced"]), "no quarantines\n");
    let page = live.told(None, &["preview", id]);
    assert_contains(&page, &[id, incident, "cuts", "evidence", "backtest"]);
    assert_contains(
        &page,
        &[
            "normal before the onset",
            "made when it was proposed",
            "not stopped",
            "lease",
            "proposed at",
            "owner",
            "policy      for envoy",
            "RBAC",
        ],
    );
    let istio = live.told(None, &["preview", id, "--target", "istio", "--format", "json"]);
    let istio: Value = serde_json::from_str(&istio).unwrap();
    // What leaves the mesh cannot be cut by Istio's policies, so there is a text or a reason, never nothing.
    assert!(istio["policy"].is_string() != istio["not_rendered"].is_array(), "{istio}");
    assert_contains(
        &live.told(None, &["preview", id, "--target", "network-policy"]),
        &["there is none", "deny"],
    );
    for none in [None, Some(""), Some(" ")] {
        assert_contains(&live.refused(none, &["lift", id, "--why", "x"]), &["give it in SELVEDGE_TOKEN"]);
    }
    assert_contains(&live.refused(Some("guess"), &["approve", id]), &["not the right one"]);
    assert_contains(&live.refused(Some("s3cret"), &["approve", id]), &["quarantine.folder"]);
    assert_contains(&live.refused(Some("s3cret"), &["lift", id, "--why", " "]), &["--why"]);
    let lifted = live.told(Some("s3cret"), &["lift", id, "--why", "it was a deployment"]);
    assert_contains(&lifted, &[id, "is lifted: lifted by night shift: it was a deployment"]);
    let ended = live.told(None, &["list", "--state", "lifted"]) + &live.told(None, &["preview", id]);
    let ended = ended.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_contains(&ended, &[id, "owner engine; ended: lifted by night shift"]);
    assert!(!ended.contains("planned"), "the progress of what has ended: {ended}");
    assert_contains(&live.refused(None, &["preview", "selvedge-q-0"]), &["no quarantine with this id"]);
    assert_contains(&live.refused(None, &["preview", "../incidents"]), &["is no id"]);
    assert_eq!(live.quarantine(None, &["preview", id, "--target", "iptables"]).status.code(), Some(2));
    assert_eq!(live.quarantine(None, &["lift", id]).status.code(), Some(2));
}

/// Scenario: a person approves; the engine is killed and comes back; the person lifts; the engine ends in peace.
/// Guarantees: what was answered is stored: it is enforced before and after the crash, and all of it is in the audit log,
/// under the person's name.
#[test]
#[expect(clippy::disallowed_methods, reason = "the patience of a test with another process is real time")]
fn an_approval_survives_a_crash_and_is_audited() {
    let folder = tempfile::tempdir().unwrap();
    let [xds] = free_addresses();
    let more = format!("quarantine: {{folder: state, xds: {{endpoint: \"{xds}\"}}}}");
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let live = Live::start(folder.path(), &more);
    let proposed = live.proposed();
    let id = proposed["id"].as_str().unwrap();
    assert_contains(&live.told(Some("s3cret"), &["approve", id]), &[id, "is enforced", "until"]);
    drop(live);
    let mut live = Live::start(folder.path(), &more);
    let started = Instant::now();
    // The view is made when the engine begins to run, a moment after the ports are open.
    while !live.told(None, &["list", "--state", "enforced"]).contains(id) {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "it is lost: {}",
            live.told(None, &["list", "--format", "json"])
        );
    }
    let lifted = live.told(Some("s3cret"), &["lift", id, "--why", "it was a deployment", "--format", "json"]);
    let lifted: Value = serde_json::from_str(&lifted).unwrap();
    assert_eq!((&lifted["state"], &lifted["owner"]), (&"lifted".into(), &"night shift".into()));
    let pid = live.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(live.child.wait().unwrap().success());
    let state = folder.path().join("state");
    let verify = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(["audit", "verify", state.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    let log = std::fs::read_to_string(state.join("audit/audit.log")).unwrap();
    for kind in ["approve", "lift"] {
        let told = |line: &&str| {
            let record: Value = serde_json::from_str(line).unwrap();
            record["kind"] == kind && record["subject"] == id && record["who"] == "night shift"
        };
        assert_eq!(log.lines().filter(told).count(), 1, "{kind} in:\n{log}");
    }
}

#[test]
fn no_engine_to_ask_is_a_runtime_failure_that_says_what_to_do() {
    let [free] = free_addresses();
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(["quarantine", "list", "--url", &format!("http://{free}")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_contains(&String::from_utf8_lossy(&output.stderr), &["--url", "selvedge run"]);
}
