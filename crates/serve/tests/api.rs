//! The API from outside: what each route answers, and what a wrong question gets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use selvedge_engine::Snapshot;
use selvedge_serve::{Health, Lifecycle, ServeConfig, ServeSection};
use serde_json::Value;
use support::{exchange, get, seen, serving};

/// Serves an engine without SQL while `ask` runs on a thread of its own.
fn asked(ask: impl FnOnce(SocketAddr) + Send + 'static) {
    asked_of(seen().0, ask);
}

fn asked_of(view: Snapshot, ask: impl FnOnce(SocketAddr) + Send + 'static) {
    serving(view, None, &Arc::new(Health::default()), ask);
}

#[test]
fn health_says_where_the_process_is_in_its_life() {
    let health = Arc::new(Health::default());
    let asked = Arc::clone(&health);
    serving(seen().0, None, &health, move |address| {
        assert_eq!(get(address, "/healthz").status, 200);
        for (state, status) in
            [(Lifecycle::Starting, 503), (Lifecycle::Ready, 200), (Lifecycle::Draining, 503)]
        {
            asked.set(state);
            assert_eq!(get(address, "/readyz").status, status, "{state:?}");
        }
    });
}

#[test]
fn incidents_findings_and_edges_are_listed_filtered_and_found_by_id() {
    asked(|address| {
        let list = |path: &str| -> Value { serde_json::from_slice(&get(address, path).body).unwrap() };
        let incidents = list("/api/v1/incidents?status=open");
        let id = incidents["incidents"][0]["id"].as_str().unwrap();
        assert_eq!(list(&format!("/api/v1/incidents/{id}"))["id"], id);
        assert_eq!(list("/api/v1/incidents?status=resolved")["total"], 0);
        assert!(list("/api/v1/findings?kind=handshake_rejected")["total"].as_u64().unwrap() > 0);
        let edge = &list("/api/v1/edges")["edges"][0];
        assert_eq!(
            (&edge["source"]["workload"], &edge["destination"]["workload"]),
            (&"web".into(), &"ledger".into())
        );
        assert_eq!((&edge["reported"]["both"], &edge["known_by"]), (&40.into(), &"calls".into()));
        let reporters = list("/api/v1/reporters");
        assert_eq!((&reporters["total"], &reporters["uncounted"]), (&2.into(), &0.into()), "{reporters}");
        let callee = &reporters["reporters"][0];
        assert_eq!(
            (&callee["workload"]["workload"], &callee["connection_logs"]),
            (&"ledger".into(), &1.into())
        );
        assert_eq!(callee["access_logs"]["server"]["peer_principal"], 40);
        assert_eq!(callee["calls_answered"]["both"], 40);
        assert_eq!(list("/api/v1/deliveries")["total"], 0);
    });
}

/// Guarantees: whoever follows `next_offset` sees every row of every list once, also past what one answer may hold.
#[test]
fn a_list_is_read_page_by_page_to_its_end() {
    let mut view = seen().0;
    let edge = view.edges[0].clone();
    view.edges = Arc::new(vec![edge; 10_500]);
    view.uncounted = 7;
    asked_of(view, |address| {
        let list = |path: &str| -> Value { serde_json::from_slice(&get(address, path).body).unwrap() };
        assert_eq!(list("/api/v1/reporters?limit=1")["uncounted"], 7);
        for (name, limit, pages) in [("edges", 20_000, 2), ("findings", 1, 1), ("incidents", 1, 1)] {
            let (mut offset, mut seen, mut asked) = (Some(0), 0, 0);
            while let Some(from) = offset {
                let page = list(&format!("/api/v1/{name}?limit={limit}&offset={from}"));
                seen += page[name].as_array().unwrap().len();
                asked += 1;
                assert!(page[name].as_array().unwrap().len() <= 10_000);
                offset = page["next_offset"].as_u64();
                assert!(offset.is_some() || page["total"] == seen);
            }
            assert!(asked >= pages, "{name}: {asked} pages");
        }
        let past = list("/api/v1/edges?offset=18446744073709551615");
        assert_eq!((past["edges"].as_array().unwrap().len(), past.get("next_offset")), (0, None));
        assert_eq!(list("/api/v1/deliveries?offset=3")["total"], 0);
        assert_eq!(get(address, "/api/v1/edges?offset=-1").status, 400);
    });
}

#[test]
fn a_wrong_question_gets_an_answer_that_says_so() {
    asked(|address| {
        let refused = |method: &str, path: &str| {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let answer = exchange(address, &head, &[]);
            assert_eq!(
                answer.header("content-type"),
                "application/problem+json",
                "{path}: {}",
                answer.text()
            );
            let document: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(document["status"], answer.status);
            (answer, document)
        };
        for (method, path, status, code) in [
            ("GET", "/api/v1/nothing", 404, "not_found"),
            ("GET", "/api/v1/incidents/feedbeef", 404, "unknown_incident"),
            ("GET", "/api/v1/incidents/%ff", 400, "unusable_path"),
            ("GET", "/api/v1/quarantines/%ff", 400, "unusable_path"),
            ("GET", "/api/v1/incidents?sverity=high", 400, "unusable_parameters"),
            ("GET", "/api/v1/findings?limit=many", 400, "unusable_parameters"),
            ("GET", "/api/v1/edges?offset=-1", 400, "unusable_parameters"),
            ("GET", "/api/v1/quarantines?sate=shadow", 400, "unusable_parameters"),
            ("GET", "/api/v1/quarantines/q/preview?taget=istio", 400, "unusable_parameters"),
            ("GET", "/api/v1/sql", 405, "method_not_allowed"),
            ("DELETE", "/api/v1/quarantines/q/lift", 405, "method_not_allowed"),
        ] {
            let (answer, document) = refused(method, path);
            assert_eq!((answer.status, &document["code"]), (status, &code.into()), "{path}");
        }
        let (_, misspelt) = refused("GET", "/api/v1/incidents?sverity=high");
        assert!(misspelt["detail"].as_str().unwrap().contains("sverity"), "{misspelt}");
        assert_eq!(refused("GET", "/api/v1/sql").0.header("allow"), "POST");
    });
}

/// Guarantees: a page whose name was made to resolve to a loopback address reads nothing; a proxy that is known does.
#[test]
fn under_a_name_that_a_stranger_can_own_nothing_is_answered() {
    asked(|address| {
        let as_host = |line: &str, path: &str| {
            exchange(address, &format!("GET {path} HTTP/1.1\r\n{line}connection: close\r\n\r\n"), &[])
        };
        for host in
            ["rebound.example", "rebound.example:4319", "localhost.rebound.example", "10.0.0.7", "", "@", "é"]
        {
            for path in ["/", "/metrics", "/api/v1/edges", "/api/v1/sql", "/nothing"] {
                let answer = as_host(&format!("host: {host}\r\n"), path);
                assert_eq!(
                    (answer.status, answer.header("content-type")),
                    (421, "application/problem+json"),
                    "{host}"
                );
                assert!(answer.text().contains("unknown_host"), "{}", answer.text());
            }
        }
        for host in [
            "localhost",
            "LOCALHOST:4319",
            "127.0.0.1:4319",
            "127.1.2.3",
            "[::1]:4319",
            "watch.example",
            "Watch.Example:80",
        ] {
            assert_eq!(as_host(&format!("host: {host}\r\n"), "/api/v1/edges").status, 200, "{host}");
        }
        let proxied =
            "GET http://rebound.example/metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        assert_eq!(exchange(address, proxied, &[]).status, 421);
        assert_eq!(exchange(address, "GET /healthz HTTP/1.0\r\n\r\n", &[]).status, 200);
    });
    for wrong in ["", "https://watch.example", "watch.example:443", "watch.example/path", "a b"] {
        let section = ServeSection { hosts: vec![wrong.to_owned()], ..ServeSection::default() };
        assert!(ServeConfig::try_from(section).is_err(), "{wrong}");
    }
}

#[test]
fn the_fates_in_the_metrics_add_up_to_the_signals() {
    asked(|address| {
        let text = get(address, "/metrics").text();
        let sum = |prefix: &str| -> u64 {
            let samples =
                text.lines().filter(|line| line.starts_with(prefix) && line.contains("signal=\"logs\""));
            samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        assert!(sum("selvedge_signals_total{") > 0);
        assert_eq!(sum("selvedge_signals_total{"), sum("selvedge_fates{"));
        assert!(text.trim_end().ends_with("# EOF"));
    });
}

/// Guarantees: every limit whose counter the engine or a receiver keeps can be watched, also before it strikes.
#[test]
fn every_limit_is_in_the_metrics_with_its_policy() {
    asked(|address| {
        let text = get(address, "/metrics").text();
        let limits = [
            ("symbols", "pool"),
            ("record_patterns", "keep_known"),
            ("origins", "untracked"),
            ("clock_ahead", "moves_nothing"),
            ("request_ids", "forget_older_half"),
            ("directory", "keep_first"),
            ("directory_contests", "oldest_contest_first"),
            ("reporters", "await_log"),
            ("reporters_counted", "keep_known"),
            ("versioned_workloads", "keep_known"),
            ("route_templates", "keep_known"),
            ("measured_edges", "keep_known"),
            ("measured_intervals", "count_only"),
            ("gauges", "keep_known"),
            ("counted_edges", "keep_known"),
            ("hot_edges", "stay_cold"),
            ("normal_windows", "skip_older"),
            ("pages_budget", "warn_instead"),
            ("pages_repeated", "warn_instead"),
            ("pages_storm", "tell_mesh_once"),
            ("pages_broken_calibration", "tell_mesh_once"),
            ("tick_edges", "pool_newest"),
            ("window_edges", "pool_newest"),
            ("window_shapes", "count_only"),
            ("call_paths", "keep_known"),
            ("baseline_edges", "keep_known"),
            ("baseline_routes", "keep_known"),
            ("baseline_identities_and_nodes", "keep_known"),
            ("findings_per_window", "count_only"),
            ("detector_windows", "oldest_window_first"),
            ("frozen_edges", "stay_frozen"),
            ("followed_callers", "keep_known"),
            ("incidents", "oldest"),
            ("sql_rows", "oldest_segment_first"),
            ("sql_history_waiting", "oldest_segment_first"),
            ("recent_traffic", "oldest_minute"),
            ("recent_traffic_rows", "keep_known"),
            ("log_templates", "pool"),
            ("log_workloads", "keep_known"),
            ("log_traces", "oldest_trace_first"),
            ("log_routes", "keep_known"),
            ("log_statements", "keep_known"),
        ];
        for (limit, policy) in limits {
            let row = format!("selvedge_overloads_total{{limit=\"{limit}\",policy=\"{policy}\"}} 0");
            assert!(text.contains(&row), "{row} is missing in\n{text}");
        }
        assert_eq!(text.matches("selvedge_overloads_total{").count(), limits.len(), "list the new one here");
        for row in [
            "selvedge_receiver_connections_total{outcome=\"refused\"}",
            "selvedge_receiver_connections_total{outcome=\"handshake_failed\"}",
            "selvedge_receiver_strangers_total{reason=\"unauthenticated\"}",
            "selvedge_receiver_reloads_total{outcome=\"broken\"}",
            "selvedge_receiver_requests_total{transport=\"http\",signal=\"logs\",outcome=\"refused\"}",
        ] {
            assert!(text.contains(row), "{row} is missing in\n{text}");
        }
    });
}

/// Guarantees: a browser is told of every answer, also of errors, that it is data of this site alone.
#[test]
fn every_answer_is_strict_with_browsers() {
    asked(|address| {
        for path in
            ["/", "/metrics", "/healthz", "/api/v1/incidents", "/nowhere", "/api/v1/incidents?nonsense=1"]
        {
            let answer = get(address, path);
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(
                answer.header("content-security-policy"),
                "default-src 'none'; frame-ancestors 'none'"
            );
            assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let foreign =
            exchange(address, "GET / HTTP/1.1\r\nhost: elsewhere.example\r\nconnection: close\r\n\r\n", &[]);
        assert_eq!((foreign.status, foreign.header("x-frame-options")), (421, "DENY"));
    });
}

/// Guarantees: a head without end is refused before it has cost anything.
#[test]
fn a_head_without_end_is_refused() {
    use std::io::Write as _;
    asked(|address| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n").unwrap();
        let line = format!("x-flood: {}\r\n", "a".repeat(1_000));
        let sent = (0..100_000).take_while(|_| stream.write_all(line.as_bytes()).is_ok()).count();
        assert!(sent < 50_000, "{sent} kilobytes of a head were taken");
        assert_eq!(get(address, "/healthz").status, 200);
    });
}
