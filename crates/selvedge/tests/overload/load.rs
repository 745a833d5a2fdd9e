//! Senders of any speed, and what a process looks like from outside.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::live::*;

/// Calls of one request; both sides report each.
const CALLS: u64 = 50;
/// Signals of one request.
pub(crate) const SPANS: u64 = 2 * CALLS;
const SERVICES: u64 = 8;
/// What stands for a trace id, and for a time, in the text of a request until it is sent.
const TRACE: &str = "7ace7ace7ace7ace7ace7ace7ace7ace";
const TIME: &str = "1111111111111111111";

/// Little is kept, and that little soon given back: a test needs no more of a disk than `bytes_max`.
pub(crate) const JOURNAL: &str = "journal: {path: journal, replay: 0s, segment_bytes: 4194304, bytes_max: 268435456, checkpoint_interval: 2s}";

/// Each test of load has the machine for itself: beside one that takes all, half is not half.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk that refuses would look like a process that does: nothing was refused because it could not be stored.
pub(crate) fn stored(place: &Place) {
    let refusals = place.metric("selvedge_journal_refusals_total", "");
    assert_eq!(refusals, 0, "the disk of this machine failed the test: {}", place.errors());
}

/// A request of OTLP/JSON, made once: sending it again means other trace ids and the time of the day.
struct Template {
    bytes: Vec<u8>,
    traces: Vec<usize>,
    times: Vec<usize>,
}

impl Template {
    fn new() -> Self {
        let span = |call: u64, kind: u64, id: u64, parent: u64| {
            serde_json::json!({
                "traceId": TRACE, "spanId": format!("{id:016x}"), "parentSpanId": format!("{parent:016x}"),
                "name": "GET", "kind": kind, "startTimeUnixNano": TIME, "endTimeUnixNano": TIME,
                "attributes": [
                    {"key": "http.request.method", "value": {"stringValue": "GET"}},
                    {"key": "http.route", "value": {"stringValue": format!("/shelves/{}", call % 5)}},
                    {"key": "http.response.status_code", "value": {"intValue": "200"}},
                ],
            })
        };
        let of = |service: u64, spans: Vec<serde_json::Value>| {
            let name = serde_json::json!({"key": "service.name", "value": {"stringValue": format!("shelf-{service}")}});
            serde_json::json!({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": spans}]})
        };
        let resources: Vec<_> = (0..SERVICES)
            .flat_map(|service| {
                let calls = || (0..CALLS).filter(move |call| call % SERVICES == service);
                let caller = calls().map(|call| span(call, 3, 2 * call + 1, 0)).collect();
                let callee = calls().map(|call| span(call, 2, 2 * call + 2, 2 * call + 1)).collect();
                [of(service, caller), of((service + 1) % SERVICES, callee)]
            })
            .collect();
        let bytes = serde_json::json!({ "resourceSpans": resources }).to_string().into_bytes();
        let places = |word: &str| {
            let found = bytes.windows(word.len()).enumerate();
            found.filter(|(_, part)| *part == word.as_bytes()).map(|(at, _)| at).collect()
        };
        let (traces, times) = (places(TRACE), places(TIME));
        Self { bytes, traces, times }
    }

    /// The request with this number. Both spans of a call have one trace.
    fn fill(&mut self, number: u64) -> &[u8] {
        // All calls of a request may be one trace: their span ids differ.
        let (now, trace) = (UNIX_EPOCH.elapsed().unwrap().as_nanos(), number + 1);
        for (places, text) in [(&self.times, format!("{now:019}")), (&self.traces, format!("{trace:032x}"))] {
            for at in places {
                self.bytes[*at..*at + text.len()].copy_from_slice(text.as_bytes());
            }
        }
        &self.bytes
    }
}

/// What became of requests.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Answers {
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Says when it is enough; whoever waits for something else until then wakes at once.
#[derive(Default)]
pub(crate) struct Stop {
    said: Mutex<bool>,
    heard: Condvar,
}

impl Stop {
    pub(crate) fn say(&self) {
        *self.said.lock().unwrap() = true;
        self.heard.notify_all();
    }

    /// Waits until it is said, this long at most; true when it was.
    pub(crate) fn within(&self, time: Duration) -> bool {
        *self.heard.wait_timeout_while(self.said.lock().unwrap(), time, |said| !*said).unwrap().0
    }
}

/// One connection that sends a request `every` so long, or as fast as it is answered; whatever is refused is not sent
/// again, and nobody waits before the next. `prefix` makes its traces its own.
#[expect(clippy::disallowed_methods, reason = "a pace is real time")]
pub(crate) fn send(http: SocketAddr, prefix: u64, every: Duration, answers: &Answers, stop: &Stop) {
    let (mut sender, mut template) = (Sender::connect(http).unwrap(), Template::new());
    let started = Instant::now();
    for number in 0_u32.. {
        if stop.within((every * number).saturating_sub(started.elapsed())) {
            return;
        }
        let body = template.fill(prefix << 40 | u64::from(number));
        match sender.send("traces", "application/json", body) {
            Some(200) => answers.accepted.fetch_add(1, Ordering::Relaxed),
            Some(503) => answers.refused.fetch_add(1, Ordering::Relaxed),
            other => panic!("{other:?}"),
        };
    }
}

/// So many connections for so long; what became of what they sent.
pub(crate) fn load(
    place: &Place,
    (prefix, connections): (u64, u64),
    every: Duration,
    meanwhile: impl FnOnce(&Answers),
) -> Answers {
    let (answers, stop) = (Answers::default(), Stop::default());
    std::thread::scope(|scope| {
        for number in 0..connections {
            let (answers, stop) = (&answers, &stop);
            scope.spawn(move || send(place.http, prefix << 16 | number, every, answers, stop));
        }
        // Whatever is found wrong meanwhile, the senders end.
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| meanwhile(&answers)));
        stop.say();
        found
    })
    .unwrap_or_else(|wrong| std::panic::resume_unwind(wrong));
    answers
}

/// A number of `/proc/PID/status`.
pub(crate) fn status(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A test is told by its caller how long to go on.
#[expect(clippy::disallowed_methods, reason = "a test is told by its caller how long to go on")]
pub(crate) fn asked(name: &str, default: u64) -> Duration {
    Duration::from_secs(std::env::var(name).map_or(default, |text| text.parse().unwrap()))
}
