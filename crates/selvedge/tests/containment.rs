//! Policies, quarantines and the audit log from outside: what the commands print, and how they end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use selvedge_enforce::audit::{AuditEntry, AuditKind, AuditLog, AuditOptions};
use selvedge_model::ObservedTime;
use selvedge_replay::capture::CaptureWriter;
use selvedge_testkit::{Request, Traffic};

fn selvedge(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_selvedge")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
}

/// A folder with `normal` and `today`: today `courier` also reads what it never read, ten times.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let mut normal = Traffic::seeded(1);
        ordinary(&mut normal, 60);
        bench.capture("normal.otlpcap", &normal);
        let mut today = Traffic::seeded(2);
        today.wait(std::time::Duration::from_secs(600));
        ordinary(&mut today, 20);
        for _ in 0..10 {
            today.send(Request::along("courier -> ledger").asking("GET", "/admin/export"));
        }
        bench.capture("today.otlpcap", &today);
        bench
    }

    fn capture(&self, name: &str, traffic: &Traffic) {
        let mut writer = CaptureWriter::create(&self.0.path().join(name)).unwrap();
        for frame in traffic.frames() {
            writer.write(frame.signal, frame.observed, &frame.payload).unwrap();
        }
        writer.finish().unwrap();
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self.path(name)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn backtest(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let (normal, today) = (self.path("normal.otlpcap"), self.path("today.otlpcap"));
        let args = ["policy", "backtest", "--learn", &normal, "--capture", &today];
        told(&selvedge(&[&args[..], more].concat()))
    }
}

fn ordinary(traffic: &mut Traffic, times: usize) {
    for _ in 0..times {
        traffic.send(Request::along("courier -> cart").asking("GET", "/carts"));
        traffic.send(Request::along("web -> ledger").asking("GET", "/accounts"));
    }
}

/// Denies one caller at the ledger.
fn deny(caller: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: no-{caller}, namespace: store}}\n\
         spec:\n  selector: {{matchLabels: {{app: ledger}}}}\n  action: DENY\n  rules:\n  - from:\n    \
         - source: {{principals: [mesh.test/ns/store/sa/{caller}]}}\n"
    )
}

/// Guarantees: every call of the capture is judged, none of those that say what is normal, and harm has an exit code.
#[test]
fn a_backtest_says_what_would_have_been_denied_and_fails_on_harm() {
    let bench = Bench::new();
    let (harmless, harmful) =
        (bench.write("courier.yaml", &deny("courier")), bench.write("web.yaml", &deny("web")));
    let (code, out, err) = bench.backtest(&[&harmless, "--max-denied-normal", "0"]);
    assert_eq!(code, Some(0), "{err}");
    assert_contains(
        &out,
        &[
            "1 policy tried on 50 calls",
            "denied      10 (20.0 %), 0 of them normal",
            "by        store/no-courier: 10",
            "whose     store/courier (spiffe://mesh.test/ns/store/sa/courier): 10, 0 of them normal",
            "route     GET /admin/export: 10",
        ],
    );
    let (code, out, err) = bench.backtest(&[&harmless, &harmful, "--max-denied-normal", "19"]);
    assert_eq!(code, Some(4), "{out}");
    assert_contains(&out, &["2 policies tried on 50 calls", "denied      30 (60.0 %), 20 of them normal"]);
    assert_contains(&err, &["20 normal calls would have been denied; at most 19 may be"]);
    let (code, out, err) = bench.backtest(&[&harmful, "--max-denied-normal", "20", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["backtest"]["considered"], 50);
    assert_eq!(document["backtest"]["denied_normal"], 20);
    assert_eq!(document["denied_by"][0]["policy"], "store/no-web");
}

#[test]
fn what_a_record_does_not_say_is_undecided_with_its_reason() {
    let bench = Bench::new();
    let by_port = deny("courier") + "    to: [{operation: {ports: [\"8080\"]}}]\n";
    let (code, out, err) = bench.backtest(&[&bench.write("port.yaml", &by_port)]);
    assert_eq!(code, Some(0), "{err}");
    assert_contains(&out, &["denied      0 (0.0 %)", "undecided   10, 0 of them normal", "port"]);
    assert_eq!(bench.backtest(&[&bench.path("port.yaml"), "--max-denied-normal", "0"]).0, Some(0));
}

/// Guarantees: policies of which nothing can be judged do not pass for harmless.
#[test]
fn normal_calls_of_which_the_record_does_not_say_count_as_harm() {
    let bench = Bench::new();
    let by_port = deny("web") + "    to: [{operation: {ports: [\"8080\"]}}]\n";
    let by_port = bench.write("port.yaml", &by_port);
    let (code, out, err) = bench.backtest(&[&by_port, "--max-denied-normal", "19"]);
    assert_eq!(code, Some(4), "{out}{err}");
    assert_contains(&out, &["denied      0 (0.0 %)", "undecided   20, 20 of them normal"]);
    assert_contains(
        &err,
        &["0 normal calls would have been denied, and of 20 the record does not say; at most 19"],
    );
    assert_eq!(bench.backtest(&[&by_port, "--max-denied-normal", "20"]).0, Some(0));
}

/// Guarantees: a policy with a wrong namespace or label is told, and does not pass for a harmless one.
#[test]
fn a_policy_that_selects_none_of_the_calls_is_named_and_not_taken_for_harmless() {
    let bench = Bench::new();
    let right = bench.write("right.yaml", &deny("courier"));
    let wrong = |name: &str, from: &str, to: &str| bench.write(name, &deny("web").replace(from, to));
    let label = wrong("label.yaml", "app: ledger", "app: legder");
    let (code, out, err) = bench.backtest(&[&right, &label]);
    assert_eq!(code, Some(0), "{err}");
    assert_contains(
        &out,
        &["denied      10 (20.0 %)", "idle        store/no-web selects none of these calls"],
    );
    assert!(!out.contains("idle        store/no-courier"), "{out}");
    for file in [label, wrong("namespace.yaml", "namespace: store", "namespace: stroe")] {
        let (code, out, err) = bench.backtest(&[&right, &file, "--max-denied-normal", "100"]);
        assert_eq!(code, Some(4), "{out}");
        assert_contains(&err, &["/no-web selects none of the judged calls"]);
    }
    // Whether another label is at a workload is not recorded: then nobody can say.
    let other = wrong("version.yaml", "app: ledger", "version: v2");
    let (code, out, err) = bench.backtest(&[&other, "--format", "json", "--max-denied-normal", "100"]);
    assert_eq!(code, Some(0), "{err}");
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["idle"], serde_json::json!([]));
}

#[test]
fn an_rbac_filter_is_tried_on_the_workload_that_is_named() {
    let bench = Bench::new();
    let rbac = bench.write(
        "rbac.json",
        r#"{"rules": {"action": "DENY", "policies": {"mine": {"permissions": [{"any": true}], "principals":
           [{"authenticated": {"principal_name": {"exact": "spiffe://mesh.test/ns/store/sa/courier"}}}]}}}}"#,
    );
    let (code, _, err) = bench.backtest(&[&rbac]);
    assert_eq!(code, Some(1));
    assert_contains(&err, &["--workload NAMESPACE/NAME"]);
    let (code, out, err) = bench.backtest(&[&rbac, "--workload", "store/ledger"]);
    assert_eq!(code, Some(0), "{err}");
    assert_contains(
        &out,
        &["tried on 30 calls to store/ledger", "denied      10 (33.3 %)", "by        mine: 10"],
    );
    let (code, _, err) = bench.backtest(&[&rbac, "--workload", "store/nothing"]);
    assert_eq!(code, Some(1));
    assert_contains(&err, &["no call was judged"]);
    assert_eq!(bench.backtest(&[&rbac, "--workload", "ledger"]).0, Some(2));
}

#[test]
fn everything_that_is_wrong_with_policies_is_told_with_file_and_line() {
    let bench = Bench::new();
    let misspelt = bench.write("misspelt.yaml", &deny("courier").replace("principals", "principles"));
    let other = bench.write("other.yaml", &deny("web").replace("action: DENY", "action: DNEY"));
    let (code, _, err) = bench.backtest(&[&misspelt, &other]);
    assert_eq!(code, Some(1));
    assert_contains(
        &err,
        &["3 problems", "misspelt.yaml:9: ", "did you mean `principals`?", "other.yaml:6: "],
    );
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ledger, namespace: store}\n";
    let (code, _, err) = bench.backtest(&[&bench.write("deployment.yaml", other)]);
    assert_eq!(code, Some(1));
    assert_contains(
        &err,
        &["no policy that is judged here", "deployment.yaml:1: kind Deployment is not judged"],
    );
    let (code, _, err) = bench.backtest(&[&bench.path("none.yaml")]);
    assert_eq!(code, Some(1));
    assert_contains(&err, &["cannot read", "none.yaml"]);
}

/// Guarantees: what is suggested allows the traffic that it was written from, and its own cases hold it to that.
#[test]
fn suggested_policies_pass_their_own_cases_and_a_wrong_case_fails() {
    let bench = Bench::new();
    let (normal, out) = (bench.path("normal.otlpcap"), bench.path("policies"));
    let args = ["policy", "suggest", "--namespace", "store", "--learn", &normal];
    let (code, text, err) = told(&selvedge(&[&args[..], &["--out", &out]].concat()));
    assert_eq!(code, Some(0), "{err}");
    assert_contains(&text, &["120 recorded calls: 120 allowed, 0 denied, 0 undecided", "store.cases.yaml"]);
    let (policies, cases) = (format!("{out}/store.policies.yaml"), format!("{out}/store.cases.yaml"));
    let (code, text, err) = told(&selvedge(&["policy", "test", &cases]));
    assert_eq!(code, Some(0), "{text}{err}");
    assert_contains(&text, &["4 passed, 0 failed"]);
    let (code, text, err) = bench.backtest(&[&policies, "--max-denied-normal", "0"]);
    assert_eq!(code, Some(0), "{err}");
    assert_contains(&text, &["denied      10 (20.0 %), 0 of them normal", "no ALLOW policy matches: 10"]);
    let wrong = std::fs::read_to_string(&cases).unwrap().replacen("expect: deny", "expect: allow", 1);
    let wrong = bench.write("policies/wrong.cases.yaml", &wrong);
    let (code, text, err) = told(&selvedge(&["policy", "test", &cases, &wrong]));
    assert_eq!(code, Some(4), "{text}");
    assert_contains(&text, &["FAIL", "wrong.cases.yaml:", "expected allow", "7 passed, 1 failed"]);
    assert_contains(&err, &["1 of 8 cases"]);
    // Without a folder the policies go where programs read, and the trial where people do.
    let (code, text, err) = told(&selvedge(&args));
    assert_eq!((code, text), (Some(0), std::fs::read_to_string(&policies).unwrap()));
    assert_contains(&err, &["120 allowed"]);
    let nowhere = ["policy", "suggest", "--namespace", "yard", "--learn", &normal];
    assert_eq!(told(&selvedge(&nowhere)).0, Some(1));
}

/// Guarantees: a reader that stops early is no failure, and hides none.
#[test]
fn nobody_has_to_read_to_the_end_and_the_exit_code_is_the_same() {
    let bench = Bench::new();
    let left = |args: &[&str]| {
        // The reading ends are closed before anything is written.
        let [out, err] = [(); 2].map(|()| std::io::pipe().unwrap().1);
        let status = Command::new(env!("CARGO_BIN_EXE_selvedge")).args(args).stdout(out).stderr(err).status();
        status.unwrap().code()
    };
    let audit = audit_log(bench.0.path(), 3);
    let verify = ["audit", "verify", audit.to_str().unwrap()];
    let json = [&verify[..], &["--format", "json"]].concat();
    let config = bench.write("empty.yaml", "log: {level: info}\n");
    let [normal, today] = ["normal.otlpcap", "today.otlpcap"].map(|capture| bench.path(capture));
    let harmful = bench.write("web.yaml", &deny("web"));
    let backtest = ["policy", "backtest", &harmful, "--learn", &normal, "--capture", &today];
    let gate = [&backtest[..], &["--max-denied-normal", "0"]].concat();
    for args in [&verify[..], &json, &["check", "--config", &config], &["completions", "bash"], &backtest] {
        assert_eq!(left(args), Some(0), "{args:?}");
    }
    let log = audit.join("audit.log");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("selvedge-q-2\"", "selvedge-q-3\"", 1)).unwrap();
    for args in [&verify[..], &json, &gate] {
        assert_eq!(left(args), Some(4), "{args:?}");
    }
}

/// A log of `records` entries below `folder`, as the engine keeps it.
fn audit_log(folder: &Path, records: u64) -> PathBuf {
    let audit = folder.join("audit");
    std::fs::create_dir(&audit).unwrap();
    let mut log = AuditLog::open(&audit, ObservedTime(1), AuditOptions::default()).unwrap();
    for at in 1..=records {
        let entry = AuditEntry {
            at: ObservedTime(at),
            kind: AuditKind::Decision,
            subject: format!("selvedge-q-{at}"),
            who: "engine".to_owned(),
            why: "proposed".to_owned(),
            detail: BTreeMap::new(),
        };
        log.append(&entry).unwrap();
    }
    log.close(ObservedTime(records)).unwrap();
    audit
}

/// Guarantees: one changed byte is found and named; a key from beside the log is said to be worth little.
#[test]
fn a_changed_audit_log_is_named_by_file_line_record_and_flaw() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit_log(folder.path(), 100);
    let (whole, own) = (folder.path().to_str().unwrap(), audit.to_str().unwrap());
    for given in [whole, own] {
        let (code, out, err) = told(&selvedge(&["audit", "verify", given]));
        assert_eq!(code, Some(0), "{err}");
        assert_contains(&out, &["is intact", "records      102, 2 of them", "head         record 102"]);
        assert_contains(&err, &["taken from beside the log"]);
    }
    let key_file = audit.join("audit.pub");
    let key = std::fs::read_to_string(&key_file).unwrap();
    for key in [key.trim(), key_file.to_str().unwrap()] {
        let (code, out, err) = told(&selvedge(&["audit", "verify", whole, "--key", key, "--format", "json"]));
        assert_eq!((code, err.as_str()), (Some(0), ""));
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&document["seq"], &document["key_given"]), (&102.into(), &true.into()));
    }
    let log = audit.join("audit.log");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("selvedge-q-40\"", "selvedge-q-41\"", 1)).unwrap();
    let (code, out, err) = told(&selvedge(&["audit", "verify", whole, "--key", key.trim()]));
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert_contains(&err, &["audit.log, line 40: record 40: the record was changed"]);
    let (code, out, _) = told(&selvedge(&["audit", "verify", whole, "--format", "json"]));
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["intact"], &document["seq"]), (Some(4), &false.into(), &40.into()));
}

#[test]
fn a_log_or_a_key_that_is_not_there_is_a_runtime_failure_that_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for key in [&[][..], &["--key", &"0".repeat(64)]] {
        let (code, _, err) = told(&selvedge(&[&["audit", "verify", path], key].concat()));
        assert_eq!(code, Some(1));
        assert_contains(&err, &["there is no audit log in", path, "`quarantine.folder`"]);
    }
    let audit = audit_log(folder.path(), 3);
    let (code, _, err) = told(&selvedge(&["audit", "verify", path, "--key", "nonsense"]));
    assert_eq!(code, Some(1));
    assert_contains(&err, &["--key"]);
    // Another key is another writer: that is found, and no failure to read.
    let other = "0".repeat(64);
    assert_eq!(told(&selvedge(&["audit", "verify", audit.to_str().unwrap(), "--key", &other])).0, Some(4));
    std::fs::remove_file(audit.join("audit.pub")).unwrap();
    let (code, _, err) = told(&selvedge(&["audit", "verify", path]));
    assert_eq!(code, Some(1));
    assert_contains(&err, &["audit.pub is missing", "--key"]);
}

/// Guarantees: a log that was removed is found, and one that was emptied before its first checkpoint is not called intact
/// without a word.
#[test]
fn a_removed_log_is_found_and_an_emptied_one_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let audit = folder.path().join("audit");
    std::fs::create_dir(&audit).unwrap();
    drop(AuditLog::open(&audit, ObservedTime(1), AuditOptions::default()).unwrap());
    let (code, out, err) = told(&selvedge(&["audit", "verify", path]));
    assert_eq!(code, Some(0), "{err}");
    assert_contains(&out, &["records      0"]);
    assert_contains(&err, &["warning: the log is empty"]);
    std::fs::remove_file(audit.join("audit.log")).unwrap();
    let (code, out, err) = told(&selvedge(&["audit", "verify", path]));
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert_contains(&err, &["was removed"]);
}
