//! Texts of single attributes: XFCC, traceparent, hosts, paths, clusters, principals, TLS failures, access-log lines.
//!
//! The first byte says which signal it is, and whether the resource has the same attributes, too: that is where who spoke
//! is often said. Each line of the rest is one attribute, its first byte says which; a line that begins with `=` is the
//! name of the span, or the body of the log record. So a fuzzer need not get protobuf right to get at the parsers.

use selvedge_decode::{Encoding, route_template};
use selvedge_model::SignalKind;
use selvedge_testkit::field;

use crate::otlp::forgetful;

/// Names whose values are parsed, or decide what others mean.
const NAMES: [&str; 40] = [
    "http.method",
    "http.path",
    "http.url",
    "http.route",
    "url.path",
    "http.user_agent",
    "http.authority",
    "http.xfcc",
    "http.raw_xfcc",
    "http.status_code",
    "http.protocol",
    "upstream.cluster",
    "upstream_cluster.name",
    "upstream.host",
    "source.principal",
    "destination.principal",
    "source.workload",
    "destination.workload",
    "upstream.peer.principal",
    "upstream.local.principal",
    "tls.version",
    "tls.failure",
    "upstream.tls.failure",
    "tls.peer.not_after",
    "tls.peer.serial",
    "response.code",
    "response.code_details",
    "response.flags",
    "response_size",
    "duration_ms",
    "start_time",
    "traceparent",
    "node_id",
    "downstream_peer",
    "upstream_peer",
    "grpc.status",
    "rpc.method",
    "component",
    "event.name",
    "k8s.namespace.name",
];
/// Attributes of one record; more are many short lines, which say nothing new.
const ATTRIBUTES_MAX: usize = 24;

/// One record: a span, a log record or a metric point.
pub fn records(input: &[u8]) {
    let Some((first, lines)) = input.split_first() else { return };
    let (mut attributes, mut text) = (Vec::new(), &b""[..]);
    for line in lines.split(|byte| *byte == b'\n').take(ATTRIBUTES_MAX) {
        match line.split_first() {
            Some((b'=', rest)) => text = rest,
            Some((which, value)) => {
                attributes.push(attribute(NAMES[usize::from(*which) % NAMES.len()], value))
            }
            None => {}
        }
    }
    let list = |number| attributes.iter().flat_map(|one| field(number, one)).collect::<Vec<u8>>();
    let start = crate::otlp::NOW.0 - 5_000_000;
    let fixed = |number: u8| [&[number << 3 | 1][..], &start.to_le_bytes()].concat();
    let signal = SignalKind::ALL[usize::from(first & 3) % SignalKind::ALL.len()];
    let record = match signal {
        SignalKind::Traces => {
            [field(5, text), vec![6 << 3, first >> 3 & 7], fixed(7), fixed(8), list(9)].concat()
        }
        SignalKind::Logs => [fixed(1), field(5, &field(1, text)), list(6), fixed(11)].concat(),
        SignalKind::Metrics => {
            let point = [list(7), fixed(3), vec![6 << 3 | 1], 7_u64.to_le_bytes().to_vec()].concat();
            [field(1, text), field(5, &field(1, &point))].concat()
        }
    };
    let resource = if first & 4 == 0 { Vec::new() } else { field(1, &list(1)) };
    let scope = field(2, &field(2, &record));
    forgetful(signal, Encoding::Protobuf, &field(1, &[resource, scope].concat()));
    if let Ok(path) = std::str::from_utf8(text) {
        assert!(route_template(path).len() <= 256, "a route is bounded");
    }
}

/// A `KeyValue` whose value is these bytes as a string, UTF-8 or not.
fn attribute(name: &str, value: &[u8]) -> Vec<u8> {
    [field(1, name.as_bytes()), field(2, &field(1, value))].concat()
}
