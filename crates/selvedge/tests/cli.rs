//! The program from outside: exit codes, and what a person reads when something is wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use selvedge_testkit::free_addresses;

fn selvedge(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_selvedge")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy").join(name);
    path.to_str().unwrap().to_owned()
}

fn written(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let output = selvedge(&["replay", "--leran", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--learn"), "{}", stderr(&output));
}

#[test]
fn a_broken_configuration_tells_every_problem_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let text = "receivers:\n  otlp:\n    protocols:\n      grcp: {}\nengine:\n  shards: lots\nsrve: {}\n";
    let path = written(&folder, "broken.yaml", text);
    let output = selvedge(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(told.contains("3 problems"), "{told}");
    for part in
        ["broken.yaml:4:", "did you mean `grpc`", "broken.yaml:6:", "broken.yaml:7:", "did you mean `serve`"]
    {
        assert!(told.contains(part), "`{part}` is missing in:\n{told}");
    }
}

#[test]
fn a_listener_off_loopback_without_tls_and_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = "receivers:\n  otlp:\n    protocols:\n      grpc: {endpoint: \"0.0.0.0:4317\"}\nserve: {endpoint: \"0.0.0.0:4319\"}\n";
    let path = written(&folder, "open.yaml", text);
    let output = selvedge(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(told.contains("tls") && told.contains("serve.endpoint"), "{told}");
}

#[test]
fn a_log_filter_that_cannot_be_used_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for (level, part) in [
        ("selvedge_act=loud", "is no log filter"),
        ("inof", "did you mean `info`?"),
        ("warn,selvedge_act=debgu", "5:10: "),
    ] {
        let text = format!("engine:\n  shards: 1\n\nlog:\n  level: \"{level}\"\n");
        let path = written(&folder, "log.yaml", &text);
        let output = selvedge(&["check", "--config", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3), "{level}: {}", stderr(&output));
        let told = stderr(&output);
        assert!(told.contains("log.yaml:5:10: ") && told.contains(part), "`{part}` is missing in:\n{told}");
    }
    for level in ["debug", "WARN", "info,selvedge_act=trace", "selvedge_engine", "off"] {
        let path = written(&folder, "log.yaml", &format!("log: {{level: \"{level}\"}}\n"));
        let output = selvedge(&["check", "--config", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{level}: {}", stderr(&output));
    }
}

/// Guarantees: what would be ignored, apply to nothing or leave a door open is told before the start.
#[test]
fn a_quarantine_section_that_would_not_do_what_it_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |section: &str| {
        let path = written(&folder, "quarantine.yaml", &format!("quarantine: {{{section}}}\n"));
        let output = selvedge(&["check", "--config", path.to_str().unwrap()]);
        (output.status.code(), stderr(&output))
    };
    let exposed = "endpoint: \"0.0.0.0:4321\"";
    for (section, part) in [
        (format!("xds: {{{exposed}}}"), "needs `tls`"),
        ("yaml: {folder: out}".to_owned(), "quarantine.folder: is required with yaml"),
        ("overrides: {store/: off}".to_owned(), "`store/` is neither"),
        ("overrides: {/ledger: off}".to_owned(), "`/ledger` is neither"),
        ("overrides: {store/ledger/x: off}".to_owned(), "`store/ledger/x` is neither"),
        ("overrides: {\"store/*\": off}".to_owned(), "`store/*` is neither"),
        ("overrides: {store: offf}".to_owned(), "did you mean `off`?"),
        ("mode: enforced".to_owned(), "did you mean `enforce`?"),
        ("protected: [ledger]".to_owned(), "`ledger` is not of the form"),
        ("protected: [store/]".to_owned(), "`store/` is not of the form"),
        ("xds: {inbound: same, outbound: same}".to_owned(), "must be two names"),
        ("xds: {outbound: selvedge-inbound}".to_owned(), "must be two names"),
        ("xds: {bearer_token: \" \"}".to_owned(), "quarantine.xds.bearer_token: is empty"),
        ("shadow_for: 30m".to_owned(), "quarantine.shadow_for"),
        ("shadow_for: 10m, ttl: 5m".to_owned(), "quarantine.shadow_for"),
        ("folder: state, yaml: {folder: out, target: cillium}".to_owned(), "did you mean `cilium`?"),
    ] {
        let (code, told) = check(&section);
        assert!(code == Some(3) && told.contains(part), "{section}: `{part}` is missing in:\n{told}");
    }
    for section in [
        "overrides: {store: shadow, store/ledger: off}, folder: state, shadow_for: 29m",
        "protected: [\"store/payroll*\", \"*/ledger\"], xds: {inbound: own-in, outbound: own-out}",
    ] {
        assert_eq!(check(section).0, Some(0), "{section}: {}", check(section).1);
    }
}

#[test]
fn an_unknown_rule_parameter_is_told_with_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/path_scan.yml");
    let text =
        std::fs::read_to_string(shipped).unwrap().replace("parameters:\n", "parameters:\n  ruotes_min: 3\n");
    std::fs::write(rules.join("mine.yml"), text).unwrap();
    let path = written(&folder, "config.yaml", "rules: {folder: rules}\n");
    let output = selvedge(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("ruotes_min"), "{}", stderr(&output));
}

#[test]
fn a_missing_capture_is_named_before_any_work() {
    let output = selvedge(&["replay", "no-such-capture.otlpcap"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot read no-such-capture.otlpcap"), "{}", stderr(&output));
}

#[test]
fn a_file_that_is_no_capture_is_an_exact_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, "notes.txt", "these are notes and not telemetry\n");
    let output = selvedge(&["replay", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("notes.txt"), "{}", stderr(&output));
}

#[test]
fn an_unmet_expectation_exits_with_four_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let expect =
        written(&folder, "expect.yml", "incidents:\n  - kinds: [beacon]\n    destination: nowhere\n");
    let output =
        selvedge(&["replay", &fixture("normal_1.otlpcap.zst"), "--expect", expect.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("no incident with kinds beacon; destination nowhere"),
        "{}",
        stderr(&output)
    );
}

/// Guarantees: the README's command prints the incident, who did it and what to do, and writes the promised files.
#[test]
fn the_readme_command_shows_the_incident() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (one, two, attack) = (
        fixture("normal_1.otlpcap.zst"),
        fixture("normal_2.otlpcap.zst"),
        fixture("exfiltration.otlpcap.zst"),
    );
    let output = selvedge(&[
        "replay",
        "--learn",
        &one,
        "--learn",
        &two,
        &attack,
        "--out",
        out.to_str().unwrap(),
        "--shards",
        "2",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(told.contains("batch") && told.contains("paste.evil.example"), "{told}");
    for file in ["incidents.jsonl", "findings.jsonl", "actions.jsonl", "transcript.txt", "summary.json"] {
        assert!(out.join(file).metadata().unwrap().len() > 0, "{file} is empty");
    }
    let summary: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    assert!(summary["signals"]["logs"].as_u64().unwrap() > 0);
    assert!(summary["peak_rss_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn completions_and_rules_are_printed() {
    let completions = selvedge(&["completions", "bash"]);
    assert!(stdout(&completions).contains("selvedge"));
    let rules = selvedge(&["rules", "list"]);
    assert_eq!(rules.status.code(), Some(0), "{}", stderr(&rules));
    assert!(stdout(&rules).contains("mtls_downgrade"));
}

fn live_config(folder: &tempfile::TempDir, [grpc, http, api]: [SocketAddr; 3]) -> PathBuf {
    let protocols = format!("{{grpc: {{endpoint: \"{grpc}\"}}, http: {{endpoint: \"{http}\"}}}}");
    let text = format!(
        "receivers: {{otlp: {{protocols: {protocols}}}}}\nserve: {{endpoint: \"{api}\"}}\nsql: {{enabled: false}}\n\
         journal: off\n"
    );
    written(folder, "live.yaml", &text)
}

/// The status of `/readyz`; `None` when the API does not answer.
fn readiness(api: SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect(api).ok()?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_taken_port_ends_run_before_a_baseline_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let [grpc, _, api] = free_addresses();
    let config = live_config(&folder, [grpc, taken.local_addr().unwrap(), api]);
    let (config, capture) = (config.to_str().unwrap(), fixture("normal_1.otlpcap.zst"));
    let output = selvedge(&["run", "--config", config, "--learn", &capture]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("already in use") && !told.contains("baseline learned"), "{told}");
}

/// Guarantees: while a baseline is learned the API answers, says that it is not ready, and nobody is let in with
/// telemetry; when it says that it is ready, telemetry is taken.
#[test]
#[expect(clippy::disallowed_methods, reason = "the patience of a test with another process is real time")]
fn nothing_is_received_before_the_baseline_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = free_addresses();
    let [grpc, http, api] = addresses;
    let (config, capture) = (live_config(&folder, addresses), fixture("normal_1.otlpcap.zst"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.args(["run", "--config", config.to_str().unwrap()]);
    // Enough to learn that the test sees it being done.
    command.args(["--learn", &capture].repeat(10));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (started, mut refused) = (Instant::now(), 0);
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "never ready");
        assert!(child.try_wait().unwrap().is_none(), "ended");
        // The ports are reserved before the API answers.
        match readiness(api) {
            None => continue,
            Some(200) => break,
            Some(status) => assert_eq!(status, 503),
        }
        let let_in = TcpStream::connect(grpc).is_ok() || TcpStream::connect(http).is_ok();
        // Between the opening of the ports and the word that they are open lies a moment, but not at the start.
        assert!(!let_in || refused > 0, "let in while the baseline is learned");
        refused += usize::from(!let_in);
    }
    let received = TcpStream::connect(grpc).is_ok() && TcpStream::connect(http).is_ok();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(refused > 0 && received);
}
