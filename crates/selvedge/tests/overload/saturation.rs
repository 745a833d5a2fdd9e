//! Twice what it can take, from senders that never wait.

use std::time::{Duration, Instant};

use crate::live::*;
use crate::load::*;

/// Connections that together have more in flight than the process admits.
const CONNECTIONS: u64 = 128;
/// What it may have in flight: a little more than the largest request twice, as it must.
const IN_FLIGHT_MAX: u64 = (2 << 20) + 1;
/// What is kept for SQL, and what queries may take.
const SQL_MAX: u64 = 64 << 20;
/// All configured limits of memory below, and what a debug build of the program and its threads need beside.
const MEMORY_MAX_KIB: u64 = (2 + 2 * 64 + 2 * 64 + 160) << 10;
/// How soon people have an answer meanwhile: every thread of the machine is taken, often twice.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// How soon it is its old self.
const RECOVERY_MAX: Duration = Duration::from_secs(2);

/// Scenario: senders that never wait, and never send again, for `SELVEDGE_OVERLOAD_SECONDS` (10): more is refused than is taken.
/// Guarantees: whatever is not taken is refused retryably (503) and counted; memory stays below the sum of its limits; what
/// was acknowledged is processed, and nothing else; health and metrics are answered meanwhile; two seconds after the
/// last sender left, nothing waits and a request is taken at once.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long a recovery takes is real time")]
fn twice_saturation_is_refused_retryably_and_costs_no_more_than_the_limits() {
    let seconds = asked("SELVEDGE_OVERLOAD_SECONDS", 10);
    let _machine = alone();
    let place = Place::configured(&format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: \"GRPC\", max_recv_msg_size_mib: 1}}
      http: {{endpoint: \"HTTP\", max_request_body_size: 1048576}}
    bytes_in_flight_max: {IN_FLIGHT_MAX}
serve: {{endpoint: \"API\"}}
sql: {{endpoint: \"WIRE\", bytes_max: {SQL_MAX}, memory_max: {SQL_MAX}}}
engine: {{window: 1s, allowed_lateness: 2s, join_memory_mib: 64}}
detection: {{hot_memory_mib: 64}}
{JOURNAL}
log: {{level: warn}}
"
    ));
    let live = place.start(place.command(&[]));
    let answers = load(&place, (1, CONNECTIONS), Duration::ZERO, |answers| {
        let started = Instant::now();
        while started.elapsed() < seconds {
            let asked = Instant::now();
            assert_eq!(place.get("/readyz").0, 200);
            assert!(place.metric("selvedge_receiver_bytes_in_flight", "") <= IN_FLIGHT_MAX);
            assert!(asked.elapsed() < ANSWER_MAX, "people wait {:?} for an answer", asked.elapsed());
        }
        until("refused more than taken", || answers.refused() > answers.accepted());
    });
    stored(&place);
    let left = Instant::now();
    until("idle", || place.metric("selvedge_receiver_bytes_in_flight", "") == 0);
    let after = load(&place, (2, 1), Duration::ZERO, |answers| {
        until("taken", || answers.accepted() > 0);
    });
    let recovered = left.elapsed();
    assert!(recovered < RECOVERY_MAX, "{recovered:?}");
    assert_eq!(after.refused(), 0);

    let (accepted, refused) = (answers.accepted() + after.accepted(), answers.refused());
    assert_eq!(place.metric("selvedge_receiver_requests_total", "outcome=\"refused\""), refused);
    assert_eq!(place.metric("selvedge_receiver_requests_total", "outcome=\"accepted\""), accepted);
    until("acknowledged = processed", || {
        place.metric("selvedge_signals_total", "traces") == accepted * SPANS
    });
    assert_eq!(place.metric("selvedge_fates", "traces"), accepted * SPANS, "each has one fate");
    let memory = status(live.child.id(), "VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB");
    live.end();
    println!(
        "{} s: {accepted} requests taken, {refused} refused; at most {} MiB; recovered in {recovered:?}",
        seconds.as_secs(),
        memory >> 10
    );
}
