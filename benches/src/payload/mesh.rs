//! The mesh that all payloads tell of: who calls whom, and what both sidecars of a call know of it.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{BASE_UNIX_NANO, SPREAD_NANOS, Shape};

const PATHS: [&str; 10] = [
    "/api/v1/basket",
    "/api/v1/checkout",
    "/api/v1/items/",
    "/api/v1/people/",
    "/healthz",
    "/api/v2/suggestions",
    "/shop.BasketService/AddItem",
    "/shop.ItemService/ListItems",
    "/api/v1/invoices",
    "/static/app.js",
];

/// One call as both of its sidecars see it.
pub(super) struct MeshCall {
    pub(super) caller: usize,
    pub(super) callee: usize,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) request_id: String,
    pub(super) status: &'static str,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
}

impl MeshCall {
    fn draw(caller: usize, callee: usize, random: &mut Random) -> Self {
        let mut path = PATHS[random.below(PATHS.len())].to_owned();
        if path.ends_with('/') {
            path += &random.below(100_000).to_string();
        }
        let (high, low) = (random.next(), random.next());
        Self {
            caller,
            callee,
            method: if random.below(4) == 0 { "POST" } else { "GET" },
            path,
            request_id: format!(
                "{:08x}-{:04x}-4{:03x}-9{:03x}-{:012x}",
                high >> 32,
                (high >> 16) & 0xffff,
                high & 0xfff,
                low >> 52,
                low & 0xffff_ffff_ffff
            ),
            status: if random.below(100) == 0 { "503" } else { "200" },
            request_bytes: random.next() % 4_096,
            response_bytes: random.next() % 65_536,
        }
    }
}

/// One sidecar's side of a call.
pub(super) struct Side<'a> {
    /// Place of the sidecar's workload among those of the request.
    pub(super) owner: usize,
    /// True at the caller.
    pub(super) outbound: bool,
    pub(super) call: &'a MeshCall,
    pub(super) trace_id: &'a [u8],
    pub(super) span_id: Vec<u8>,
    pub(super) parent: Vec<u8>,
    pub(super) start_unix_nano: u64,
    pub(super) nanos: u64,
}

/// The workloads that report in one request, a path through the mesh.
pub(super) fn workloads(shape: &Shape, random: &mut Random) -> Vec<usize> {
    let stride = 1 + random.below(shape.fan_out);
    let first = random.below(shape.workloads);
    (0..shape.hops).map(|hop| (first + hop * stride) % shape.workloads).collect()
}

/// Tells of traces that pass through the workloads, each hop reported by both of its sidecars, `count` sides in all.
pub(super) fn sides(workloads: &[usize], count: usize, random: &mut Random, mut tell: impl FnMut(&Side<'_>)) {
    let mut left = count;
    while left > 0 {
        left = trace(workloads, left, random, &mut tell);
    }
}

/// Tells of one trace, at most `left` sides of it; returns how many are still wanted.
fn trace(
    workloads: &[usize],
    mut left: usize,
    random: &mut Random,
    tell: &mut impl FnMut(&Side<'_>),
) -> usize {
    let trace_id = [random.next().to_be_bytes(), random.next().to_be_bytes()].concat();
    let mut parent = Vec::new();
    let mut start = BASE_UNIX_NANO + random.next() % (SPREAD_NANOS / 2);
    let mut nanos = 2_000_000 + random.next() % 60_000_000;
    for hop in 1..workloads.len() {
        let call = MeshCall::draw(workloads[hop - 1], workloads[hop], random);
        for (outbound, owner) in [(true, hop - 1), (false, hop)] {
            if left == 0 {
                return 0;
            }
            left -= 1;
            let span_id = random.next().to_be_bytes().to_vec();
            tell(&Side {
                owner,
                outbound,
                call: &call,
                trace_id: &trace_id,
                span_id: span_id.clone(),
                parent: std::mem::replace(&mut parent, span_id),
                start_unix_nano: start,
                nanos,
            });
            start += 100_000;
            nanos -= nanos / 8;
        }
    }
    left
}

pub(super) fn workload_name(workload: usize) -> String {
    const NAMES: [&str; 10] =
        ["web", "basket", "checkout", "ledger", "depot", "items", "banner", "people", "invoices", "finder"];
    format!("{}-{}", NAMES[workload % NAMES.len()], workload / NAMES.len())
}

pub(super) fn pod_name(workload: usize) -> String {
    format!("{}-7c9d8b6f5d-{:05x}", workload_name(workload), workload * 7_919 % 0xf_ffff)
}

/// What a sidecar's tracer and stats sink say of themselves.
pub(super) fn resource(workload: usize) -> Resource {
    Resource {
        attributes: vec![
            text("k8s.pod.name", pod_name(workload)),
            text("k8s.node.name", format!("ip-10-0-{}-17.eu-west-1.compute.internal", workload % 16)),
            text("service.name", workload_name(workload)),
            text("service.namespace", "shop"),
            text("k8s.namespace.name", "shop"),
            text("telemetry.sdk.language", "cpp"),
            text("telemetry.sdk.name", "envoy"),
            text("telemetry.sdk.version", "1.40.0"),
        ],
        ..Default::default()
    }
}

pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

/// Splitmix64: small, seeded, the same on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a count fits in 64 bits");
        usize::try_from(self.next() % limit).expect("smaller than a usize")
    }
}
