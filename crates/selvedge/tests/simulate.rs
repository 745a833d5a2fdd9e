//! `selvedge simulate` from outside: what it writes is a capture, the same for the same seed, in which attacks are found
//! and without them nothing is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn selvedge(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.args(args).env("NO_COLOR", "1").env_remove("SELVEDGE_TOKEN").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A small, busy mesh: in ten minutes every edge has shown all of its routes.
const MESH: [&str; 6] = ["--edges", "20", "--rate", "40", "--seed", "7"];

fn simulate(out: &Path, more: &[&str]) -> String {
    simulate_mesh(MESH, out, more)
}

fn simulate_mesh(mesh: [&str; 6], out: &Path, more: &[&str]) -> String {
    let args = [&["simulate"], &mesh[..], &["--out", out.to_str().unwrap()], more].concat();
    let output = selvedge(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Incidents above `info` of a capture, judged by another one, and the summary of the replay.
fn judged(folder: &Path, learn: &Path, capture: &Path) -> (Vec<Value>, Value) {
    let out = folder.join("out");
    let (learn, capture) = (learn.to_str().unwrap(), capture.to_str().unwrap());
    let output = selvedge(&["replay", "--learn", learn, capture, "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let incidents = std::fs::read_to_string(out.join("incidents.jsonl")).unwrap();
    let incidents = incidents.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (incidents.filter(|incident| incident["severity"] != "info").collect(), json(&out.join("summary.json")))
}

/// Scenario: two stretches of one calm mesh, then the second one under each attack that records show.
/// Guarantees: every call that was told is read; quiet gives no incident above info; each attack gives one of its kind,
/// about an end of an edge on its way.
#[test]
fn an_attack_on_a_simulated_mesh_is_found_and_quiet_gives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let quiet = folder.path().join("quiet.otlpcap.zst");
    let later = folder.path().join("later.otlpcap.zst");
    simulate(&quiet, &[]);
    simulate(&later, &["--skip", "10m"]);
    let (incidents, summary) = judged(folder.path(), &quiet, &later);
    let calls: u64 = ["quiet.labels.json", "later.labels.json"]
        .iter()
        .map(|name| json(&folder.path().join(name))["calls"].as_u64().unwrap())
        .sum();
    assert!(calls > 5_000, "{calls} calls");
    // Of parallel calls to one route in one request, whose logs arrive before their spans, `join` may count a caller's
    // view once more on its own: some in ten thousand.
    let sides = &summary["calls_by_side"];
    let count = |side: &str| sides[side].to_string().trim_matches('"').parse::<u64>().unwrap();
    assert_eq!((count("both"), count("server_only")), (calls, 0), "{summary}");
    assert!(count("client_only") * 200 < calls, "{summary}");
    assert_eq!(incidents, Vec::<Value>::new());
    for (attack, kind) in [
        ("lateral-movement", "new_edge"),
        ("forged-identity", "forged_identity"),
        ("downgrade", "mtls_downgrade"),
        ("bypassed-sidecar", "one_sided_call"),
        ("beaconing", "new_egress"),
    ] {
        let attacked = folder.path().join("attacked.otlpcap.zst");
        let told = simulate(&attacked, &["--attack", attack]);
        assert!(told.contains(&format!("attack    {attack} from 5m")), "{told}");
        let labels = json(&folder.path().join("attacked.labels.json"));
        let path = labels["attacks"][0]["path"].as_array().unwrap();
        let (incidents, _) = judged(folder.path(), &quiet, &attacked);
        let of_kind = |incident: &&Value| incident["kinds"].as_array().unwrap().contains(&kind.into());
        let about = |incident: &Value| {
            let edges = incident["edges"].as_array().unwrap().iter();
            edges
                .flat_map(|edge| [&edge["source"], &edge["destination"]])
                .any(|end| path.iter().any(|service| service["workload"] == end["workload"]))
        };
        assert!(incidents.iter().filter(of_kind).any(about), "{attack}: {incidents:#?}");
    }
}

/// Scenario: an attacker goes over edges that all exist, in a mesh busy enough for each way to have shown itself.
/// Guarantees: that is an incident about its way, with the attacker first among the suspects; without it there is none.
#[test]
fn a_way_that_no_request_took_is_found_though_all_its_edges_are_known() {
    let mesh = ["--edges", "20", "--rate", "60", "--seed", "7"];
    let folder = tempfile::tempdir().unwrap();
    let [learned, later, attacked] =
        ["learned", "later", "attacked"].map(|name| folder.path().join(format!("{name}.otlpcap.zst")));
    simulate_mesh(mesh, &learned, &["--calm", "--for", "15m"]);
    let after = ["--calm", "--for", "6m", "--skip", "15m"];
    simulate_mesh(mesh, &later, &after);
    assert_eq!(judged(folder.path(), &learned, &later).0, Vec::<Value>::new());
    simulate_mesh(mesh, &attacked, &[&after[..], &["--attack", "known-edges"]].concat());
    let labels = json(&folder.path().join("attacked.labels.json"));
    let path = labels["attacks"][0]["path"].as_array().unwrap();
    let (incidents, _) = judged(folder.path(), &learned, &attacked);
    let found = &incidents[0];
    assert_eq!(
        (incidents.len(), &found["kinds"]),
        (1, &serde_json::json!(["new_call_path"])),
        "{incidents:#?}"
    );
    assert_eq!(found["suspects"][0]["workload"], path[0]["workload"], "{found:#?}");
}

/// Scenario: a mesh whose sidecars send counters beside their records, for an hour and a half; in the last twenty-five minutes nine
/// of ten records of one edge are kept back, or none are.
/// Guarantees: that is one incident, about that edge and nobody's deed; without it there is none.
#[test]
fn records_that_are_kept_back_are_missed_by_what_counters_count() {
    let mesh = ["--edges", "20", "--rate", "8", "--seed", "7"];
    let folder = tempfile::tempdir().unwrap();
    let [learned, later, attacked] =
        ["learned", "later", "attacked"].map(|name| folder.path().join(format!("{name}.otlpcap.zst")));
    simulate_mesh(mesh, &learned, &["--calm"]);
    let longer = ["--calm", "--skip", "10m", "--for", "95m"];
    simulate_mesh(mesh, &later, &longer);
    let suppressed = |incidents: Vec<Value>| -> Vec<Value> {
        let of_kind = |incident: &Value| {
            incident["kinds"].as_array().unwrap().contains(&Value::from("telemetry_suppressed"))
        };
        incidents.into_iter().filter(of_kind).collect()
    };
    let (quiet, _) = judged(folder.path(), &learned, &later);
    assert_eq!(suppressed(quiet), Vec::<Value>::new());
    let attack = ["--attack", "suppressed-telemetry", "--attack-at", "70m"];
    simulate_mesh(mesh, &attacked, &[&longer[..], &attack].concat());
    let (incidents, _) = judged(folder.path(), &learned, &attacked);
    let found = suppressed(incidents);
    assert_eq!(found.len(), 1, "{found:#?}");
    let labels = json(&folder.path().join("attacked.labels.json"));
    let path = labels["attacks"][0]["path"].as_array().unwrap();
    let edges = found[0]["edges"].as_array().unwrap();
    let ends = |edge: &Value| [edge["source"]["workload"].clone(), edge["destination"]["workload"].clone()];
    assert!(
        edges.iter().any(|edge| ends(edge) == [path[0]["workload"].clone(), path[1]["workload"].clone()])
    );
    assert_eq!(found[0]["suspects"], Value::Array(Vec::new()));
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_speed_and_another_seed_others() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, more: &[&str]| {
        let path = folder.path().join(name);
        simulate(&path, &[&["--for", "20s", "--attack", "downgrade"], more].concat());
        std::fs::read(path).unwrap()
    };
    let first = written("a.otlpcap", &[]);
    assert_eq!(&first[..8], b"SLVCAP01");
    assert_eq!(first, written("b.otlpcap", &["--speed", "200"]));
    let labels = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(labels("a.labels.json"), labels("b.labels.json"));
    assert_ne!(first, written("c.otlpcap", &["--start", "2026-11-23T08:00:00Z"]));
    let path = folder.path().join("d.otlpcap");
    let output = selvedge(&["simulate", "--seed", "8", "--for", "20s", "--out", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_ne!(first, std::fs::read(path).unwrap());
}

/// Reads one HTTP request, and gives its head and how long its body is.
fn request(stream: &mut TcpStream) -> Option<(String, usize)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).unwrap();
    Some((head, length))
}

/// Scenario: an endpoint that is too busy for the first request.
/// Guarantees: it is sent again, everything arrives, at the paths of OTLP over HTTP; of metrics when a minute ends in it.
#[test]
fn an_endpoint_gets_everything_also_when_it_is_busy_at_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heads: Vec<String> = Vec::new();
        while let Some((head, length)) = request(&mut stream) {
            assert!(length > 0);
            let status = if heads.is_empty() { "503 Service Unavailable" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            heads.push(head);
        }
        heads
    });
    let args = [&["simulate"], &MESH[..], &["--for", "20s", "--speed", "max", "--endpoint", &url]].concat();
    let output = selvedge(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = stdout(&output);
    let heads = server.join().unwrap();
    assert!(told.contains(&format!("sent      {} requests", heads.len() - 1)), "{told}");
    let to = |path: &str| heads.iter().filter(|head| head.starts_with(&format!("post {path} "))).count();
    assert!(to("/v1/logs") > 10 && to("/v1/traces") > 10, "{heads:?}");
    assert_eq!(to("/v1/logs") + to("/v1/traces") + to("/v1/metrics"), heads.len());
    assert!(heads.iter().all(|head| head.contains("content-type: application/x-protobuf")));
}

#[test]
fn wrong_options_are_told_with_what_was_meant() {
    for (args, code, part) in [
        (&["--attack", "lateral-movment", "--out", "x"][..], 2, "lateral-movement"),
        (&["--fault", "latency-x6", "--out", "x"], 2, "latency-x5"),
        (&["--seed", "1"], 2, "--out <FILE>|--endpoint <URL>"),
        (&["--out", "x", "--endpoint", "http://127.0.0.1:1"], 2, "cannot be used with"),
        (&["--out", "x", "--speed", "fast"], 2, "give max, or a number above 0"),
        (&["--out", "x", "--for", "10"], 2, "--for"),
        (&["--out", "x", "--for", "1s"], 2, "--for must be at least 10s"),
        (&["--out", "x", "--start", "monday"], 2, "2026-11-23T08:00:00Z"),
        (&["--out", "x", "--attack-at", "5m"], 2, "needs an --attack or a --fault"),
        (&["--out", "x", "--fault", "vanished", "--attack-at", "10m"], 2, "less than --for, which is 10m"),
        (&["--out", "/no/such/folder/x.otlpcap"], 1, "/no/such/folder/x.otlpcap"),
        (&["--endpoint", "127.0.0.1:4318"], 1, "http://"),
        (&["--endpoint", "http://127.0.0.1:1"], 1, "is `selvedge run` running?"),
    ] {
        let output = selvedge(&[&["simulate"], args].concat());
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        assert!(told.contains(part), "{args:?}: `{part}` is missing in:\n{told}");
    }
    assert!(!Path::new("x").exists());
}
