//! Who gets in, and what nobody gets to see: every listener of the program, and every secret of its configuration.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use selvedge_replay::capture::CaptureReader;
use selvedge_testkit::free_addresses;

/// How long another process may take.
const PATIENCE: Duration = Duration::from_secs(90);

fn selvedge(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_selvedge")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy").join(name);
    path.to_str().unwrap().to_owned()
}

/// A listener of the program: how its section is written around its keys, its TLS and its token.
struct Door {
    name: &'static str,
    section: fn(&str) -> String,
    tls: &'static str,
    token: &'static str,
}

const TLS: &str = "tls: {cert_file: c.pem, key_file: k.pem}";
const TOKEN: &str = "auth: {bearer_token: abc}";

/// All of them: those of `docs/configuration.md`, and of `docs/quarantine.md`.
const DOORS: [Door; 5] = [
    Door {
        name: "receivers.otlp.protocols.grpc",
        section: |keys| format!("receivers: {{otlp: {{protocols: {{grpc: {{{keys}}}}}}}}}"),
        tls: TLS,
        token: TOKEN,
    },
    Door {
        name: "receivers.otlp.protocols.http",
        section: |keys| format!("receivers: {{otlp: {{protocols: {{http: {{{keys}}}}}}}}}"),
        tls: TLS,
        token: TOKEN,
    },
    Door {
        name: "sql",
        section: |keys| format!("sql: {{{keys}}}"),
        tls: TLS,
        token: "auth: {user: reader, password: abc}",
    },
    Door {
        name: "quarantine.xds",
        section: |keys| format!("quarantine: {{folder: state, xds: {{{keys}}}}}"),
        tls: TLS,
        token: "bearer_token: abc",
    },
    // It has no TLS: never without saying so.
    Door { name: "serve", section: |keys| format!("serve: {{{keys}}}"), tls: "", token: TOKEN },
];

/// Guarantees: off loopback every listener wants TLS and a proof of who asks, or to be told that nobody needs them.
#[test]
fn off_loopback_every_listener_is_protected_or_says_that_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("open.yaml");
    for door in &DOORS {
        for address in ["0.0.0.0:7000", "[::]:7000", "192.0.2.7:7000"] {
            let endpoint = format!("endpoint: \"{address}\"");
            let with = |more: &[&str]| {
                let keys: Vec<&str> = more.iter().copied().filter(|key| !key.is_empty()).collect();
                fs::write(&path, (door.section)(&[&[endpoint.as_str()], &keys[..]].concat().join(", ")))
                    .unwrap();
                let output = selvedge(&["check", "--config", path.to_str().unwrap()]);
                (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
            };
            for missing in [&[][..], &[door.tls][..], &[door.token][..]] {
                let (code, told) = with(missing);
                assert_eq!(code, Some(3), "{} at {address} with {missing:?}", door.name);
                assert!(told.contains(&format!("{}.endpoint", door.name)), "{told}");
                assert!(told.contains("insecure: true"), "{told}");
            }
            let (code, told) = with(&["insecure: true"]);
            assert_eq!(code, Some(0), "{} at {address}: {told}", door.name);
            if !door.tls.is_empty() {
                assert_eq!(with(&[door.tls, door.token]).0, Some(0), "{} at {address}", door.name);
            }
        }
        for address in ["127.0.0.1:7000", "[::1]:7000", "localhost:7000"] {
            fs::write(&path, (door.section)(&format!("endpoint: \"{address}\""))).unwrap();
            let output = selvedge(&["check", "--config", path.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(0), "{} at {address}", door.name);
        }
    }
}

/// Every secret that a configuration can hold. No two begin alike, so that what leaks is known by its name.
const SECRETS: [&str; 9] = [
    "Gr9cTokenMark",
    "Htt4TokenMark",
    "Serv7TokenMark",
    "Sq1PassMark",
    "Xd5TokenMark",
    "c2VjcmV0d2ViaG9va21hcms5OTk5OTk5OTk5",
    "pd0RoutingKeyMark",
    "sl4ckPathMark",
    "ho0kPathMark",
];
/// What others try: it is nobody's, and no log is to show what somebody took for a secret.
const GUESSES: [&str; 2] = ["Gu3ssTokenMark", "Gu3ssPassMark"];

/// A running program with secrets everywhere; it says all that it can say.
struct Loud {
    child: Child,
    folder: tempfile::TempDir,
    http: SocketAddr,
    grpc: SocketAddr,
    api: SocketAddr,
    wire: SocketAddr,
    xds: SocketAddr,
}

impl Drop for Loud {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(sinks: SocketAddr) -> Loud {
    let folder = tempfile::tempdir().unwrap();
    let [grpc, http, api, wire, xds] = free_addresses();
    let [grpc_token, http_token, serve_token, password, xds_token, webhook, pagerduty, slack, hook] = SECRETS;
    fs::create_dir(folder.path().join("state")).unwrap();
    fs::write(folder.path().join("serve-token"), serve_token).unwrap();
    fs::write(folder.path().join("webhook-secret"), format!("whsec_{webhook}\n")).unwrap();
    let config = format!(
        "receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: \"{grpc}\", auth: {{bearer_token: {grpc_token}}}}}\n      \
         http: {{endpoint: \"{http}\", auth: {{bearer_token: {http_token}}}}}\n\
         serve: {{endpoint: \"{api}\", auth: {{bearer_token_file: serve-token}}}}\n\
         sql: {{endpoint: \"{wire}\", auth: {{user: reader, password: {password}}}}}\n\
         journal: {{path: journal}}\n\
         quarantine: {{folder: state, xds: {{endpoint: \"{xds}\", bearer_token: {xds_token}}}}}\n\
         alerts:\n  jsonl: {{path: \"{folder}/alerts.jsonl\"}}\n  terminal: {{output: stdout}}\n  \
         webhook: {{url: \"http://{sinks}/{hook}\", secret_file: \"{folder}/webhook-secret\"}}\n  \
         pagerduty: {{url: \"http://{sinks}/pd\", routing_key: {pagerduty}}}\n  \
         slack: {{url: \"http://{sinks}/{slack}\"}}\n  \
         alertmanager: {{urls: [\"http://{sinks}/am\"]}}\n",
        folder = folder.path().display()
    );
    let path = folder.path().join("loud.yaml");
    fs::write(&path, config).unwrap();
    let file = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
    let learned = ["normal_1.otlpcap.zst", "normal_2.otlpcap.zst"].map(fixture);
    let child = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(["run", "--config", path.to_str().unwrap(), "--learn", &learned[0], "--learn", &learned[1]])
        .env("RUST_LOG", "trace")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .unwrap();
    Loud { child, folder, http, grpc, api, wire, xds }
}

#[expect(clippy::disallowed_methods, reason = "the patience of a test with another process is real time")]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "{what}: never");
        std::thread::yield_now();
    }
}

/// One HTTP/1 request, and all of its answer; nothing when nobody is there.
fn exchange(address: SocketAddr, method: &str, path: &str, token: &str, kind: &str, body: &[u8]) -> String {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(stream.write_all(&[head.as_bytes(), body].concat()));
        drop(stream.read_to_end(&mut answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Takes what the sinks send, and answers some of it badly, so that there are failures to tell of.
fn sinks() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            drop(stream.set_read_timeout(Some(Duration::from_millis(300))));
            drop(stream.read(&mut [0; 65_536]));
            let status = ["200 OK", "500 Oh", "400 No"][number % 3];
            drop(write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"));
        }
    });
    address
}

impl Loud {
    fn ask(&self, method: &str, path: &str, token: &str) -> String {
        exchange(self.api, method, path, token, "application/json", b"")
    }

    fn sql(&self, password: &str) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut config = tokio_postgres::Config::new();
            config.host("127.0.0.1").port(self.wire.port()).user("reader").password(password);
            config.dbname("selvedge");
            let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await else { return false };
            tokio::select! {
                rows = client.query("SELECT count(*) FROM audit", &[]) => rows.is_ok(),
                _ = connection => false,
            }
        })
    }

    /// A stream to an HTTP/2 port with this token, as far as headers go.
    fn knock(&self, address: SocketAddr, path: &str, token: &str) {
        let text = |index: &[u8], value: &str| {
            [index, &[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
        };
        let block = [
            vec![0x83, 0x86],
            text(&[0x44], path),
            text(&[0x41], "x"),
            text(&[0x0f, 0x10], "application/grpc"),
            text(&[0x0f, 0x08], &format!("Bearer {token}")),
        ]
        .concat();
        let length = u32::try_from(block.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[1, 5], &1_u32.to_be_bytes(), &block].concat();
        let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[&begin[..], &frame].concat()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        drop(stream.read(&mut [0; 4096]));
        drop(stream.read(&mut [0; 4096]));
    }

    /// Uses every secret, and every door without one.
    fn use_everything(&mut self) {
        let [grpc_token, http_token, serve_token, password, xds_token, ..] = SECRETS;
        let [wrong_token, wrong_password] = GUESSES;
        until("ready", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(self.folder.path().join("stderr")).unwrap());
            self.ask("GET", "/readyz", "").contains(" 200 ")
        });
        for frame in CaptureReader::open(Path::new(&fixture("exfiltration.otlpcap.zst"))).unwrap() {
            let frame = frame.unwrap();
            let path = format!("/v1/{}", frame.signal.name());
            let kind = "application/x-protobuf";
            assert!(exchange(self.http, "POST", &path, http_token, kind, &frame.body).contains(" 200 "));
        }
        let refused = exchange(self.http, "POST", "/v1/traces", wrong_token, "application/json", b"{}");
        assert!(refused.contains(" 401 "), "{refused}");
        let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let discover = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
        for token in [grpc_token, xds_token, wrong_token] {
            self.knock(self.grpc, export, token);
            self.knock(self.xds, discover, token);
        }
        assert!(self.sql(password) && !self.sql(wrong_password));
        until("proposed", || self.ask("GET", "/api/v1/quarantines", "").contains("\"id\":\"selvedge-q-"));
        let list = self.ask("GET", "/api/v1/quarantines", "");
        let id = list.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let lift = format!("/api/v1/quarantines/{id}/lift");
        assert!(self.ask("POST", &lift, wrong_token).contains(" 401 "));
        let reason = br#"{"why":"seen"}"#;
        let lifted = exchange(self.api, "POST", &lift, serve_token, "application/json", reason);
        assert!(lifted.contains(" 200 "), "{lifted}");
        until("alerts are sent", || {
            let told = self.ask("GET", "/api/v1/deliveries?limit=1000", "");
            ["webhook", "pagerduty", "slack", "alertmanager"].iter().all(|sink| told.contains(sink))
        });
    }

    /// Everything that anybody gets to see, each with its name.
    fn all_outputs(&self) -> Vec<(String, String)> {
        let mut outputs = Vec::new();
        let routes = [
            "/",
            "/healthz",
            "/readyz",
            "/metrics",
            "/api/v1/incidents",
            "/api/v1/findings",
            "/api/v1/edges",
            "/api/v1/deliveries?limit=10000",
            "/api/v1/quarantines",
            "/nowhere",
        ];
        for path in routes {
            let answer = self.ask("GET", path, "");
            assert!(answer.starts_with("HTTP/1.1 "), "{path}");
            outputs.push((path.to_owned(), answer));
        }
        for table in ["audit", "quarantines", "incidents", "findings", "fates", "spans", "log_records"] {
            let question = format!("{{\"query\": \"SELECT * FROM {table}\"}}");
            let kind = "application/json";
            outputs.push((
                table.to_owned(),
                exchange(self.api, "POST", "/api/v1/sql", "", kind, question.as_bytes()),
            ));
        }
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let bytes = fs::read(entry.path()).unwrap();
                    outputs.push((
                        entry.path().display().to_string(),
                        String::from_utf8_lossy(&bytes).into_owned(),
                    ));
                }
            }
        }
        // Where people wrote them down themselves.
        outputs.retain(|(name, _)| {
            !["loud.yaml", "serve-token", "webhook-secret"].iter().any(|own| name.ends_with(own))
        });
        outputs
    }
}

/// Scenario: a program with a secret in every place that takes one, at its most talkative, does all that it can; and others
/// try what they took for secrets.
/// Guarantees: none of it is in a log, an answer, a metric, an alert, the audit log, the journal or any other file.
#[test]
fn no_secret_is_ever_shown() {
    let mut loud = start(sinks());
    loud.use_everything();
    let pid = loud.child.id().to_string();
    let outputs = loud.all_outputs();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(loud.child.wait().unwrap().success());
    let path = loud.folder.path().join("loud.yaml");
    let checked = selvedge(&["check", "--config", path.to_str().unwrap()]);
    let broken = format!("{}\nnonsense: true\n", fs::read_to_string(&path).unwrap());
    fs::write(&path, broken).unwrap();
    let refused = selvedge(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!((checked.status.code(), refused.status.code()), (Some(0), Some(3)));
    let more = [checked, refused].map(|output| {
        let both = [output.stdout, output.stderr].concat();
        ("selvedge check".to_owned(), String::from_utf8_lossy(&both).into_owned())
    });
    let errors = fs::read_to_string(loud.folder.path().join("stderr")).unwrap();
    assert!(errors.contains("\"TRACE\""), "it says all that it can");
    for (name, text) in outputs.into_iter().chain(more).chain([("stderr".to_owned(), errors)]) {
        for secret in SECRETS.iter().chain(&GUESSES) {
            let at = text.find(secret).map(|at| text[..at].lines().last().unwrap_or_default().to_owned());
            assert_eq!(at, None, "{secret} is shown in {name}");
        }
    }
}
