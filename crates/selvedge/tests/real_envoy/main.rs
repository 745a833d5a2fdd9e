//! A real Envoy takes the snippets that `selvedge doctor` prints for it.
//!
//! `ENVOY=path/to/envoy cargo test -p selvedge --test real_envoy`
//!
//! Not among the tests that `cargo test` finds by itself (`test = false` in the manifest), because it needs a program from
//! elsewhere: `cargo xtask test` installs it and runs this. Without `ENVOY` it fails.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

fn snippet(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/doctor/snippets/envoy");
    let text = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// A listener whose connection manager has these keys beside what it needs.
fn listener(name: &str, port: u16, manager: &[&Value], more: &[&Value]) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "selvedge"}}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    manager.iter().for_each(|part| merge(&mut config, part));
    let mut listener = json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters":
            [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]}],
    });
    more.iter().for_each(|part| merge(&mut listener, part));
    listener
}

fn merge(into: &mut Value, part: &Value) {
    let part = part.as_object().unwrap().clone();
    into.as_object_mut().unwrap().extend(part);
}

fn validated(bootstrap: &Value) -> (bool, String) {
    let envoy = std::env::var_os("ENVOY").expect("ENVOY names the program: `cargo xtask test` installs it");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bootstrap.json");
    std::fs::write(&path, bootstrap.to_string()).unwrap();
    let output =
        Command::new(envoy).args(["--mode", "validate", "-c", path.to_str().unwrap()]).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_real_envoy_takes_every_snippet_for_it() {
    let tracing = snippet("tracing");
    let mut bootstrap = snippet("cluster");
    merge(&mut bootstrap, &snippet("metrics"));
    let inbound = listener(
        "inbound",
        18_080,
        &[&snippet("access_log_inbound"), &tracing],
        &[&snippet("connection_log")],
    );
    let outbound = listener("outbound", 18_081, &[&snippet("access_log_outbound"), &tracing], &[]);
    bootstrap["static_resources"]["listeners"] = json!([inbound, outbound]);
    let (valid, told) = validated(&bootstrap);
    assert!(valid, "{told}");
    assert!(!told.to_lowercase().contains("deprecated"), "{told}");
    // And it would say so if it did not.
    let log = &mut bootstrap["static_resources"]["listeners"][0]["access_log"][0]["typed_config"];
    log["attributes"]["values"][0]["value"]["string_value"] = json!("%NO_SUCH_OPERATOR%");
    assert!(!validated(&bootstrap).0);
}
