//! Deliveries in paused time: retries, order, bounds, shutdown. The sinks answer by script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use selvedge_model::Severity;
use tokio::time::Instant;

use crate::alert::AlertStatus::{self, Firing, Resolved};
use crate::config::ActConfig;
use crate::delivery::{Dispatcher, WallClock};
use crate::error::{Retry, SendError};
use crate::ledger::DeliveryStatus::{self, Coalesced, Delivered, Failed, GivenUp, Pending, Refused};
use crate::sample;
use crate::sink::{Named, Outgoing, Sending, Sink};
use crate::tests::ManualClock;

/// What the scripted sink does with an attempt.
#[derive(Clone, Copy)]
enum Do {
    Take,
    Refuse(Retry),
    Vanish,
    Hang,
}

#[derive(Default)]
struct Log {
    script: VecDeque<Do>,
    /// Past its script it refuses instead of taking.
    stubborn: bool,
    sent: Vec<(String, AlertStatus, String, Instant)>,
    resent: Vec<Instant>,
}

#[derive(Clone, Default)]
struct Scripted {
    log: Arc<Mutex<Log>>,
    every: Option<Duration>,
}

impl Scripted {
    fn new(script: &[Do]) -> Self {
        let log = Log { script: script.iter().copied().collect(), ..Log::default() };
        Self { log: Arc::new(Mutex::new(log)), every: None }
    }

    fn stubborn() -> Self {
        let scripted = Self::default();
        scripted.log.lock().unwrap().stubborn = true;
        scripted
    }

    fn named(&self, name: &str) -> Named {
        Named { name: name.to_owned(), min_severity: Severity::Medium, sink: Box::new(self.clone()) }
    }

    fn sent(&self) -> Vec<(String, AlertStatus)> {
        self.log.lock().unwrap().sent.iter().map(|(id, status, ..)| (id.clone(), *status)).collect()
    }

    fn delivery_ids(&self) -> Vec<String> {
        self.log.lock().unwrap().sent.iter().map(|(_, _, id, _)| id.clone()).collect()
    }

    /// Time between attempts.
    fn waits(&self) -> Vec<Duration> {
        self.log.lock().unwrap().sent.windows(2).map(|pair| pair[1].3 - pair[0].3).collect()
    }
}

impl Sink for Scripted {
    fn send<'a>(&'a self, outgoing: &'a Outgoing, _now: u64) -> Sending<'a> {
        let mut log = self.log.lock().unwrap();
        let incident = &outgoing.alert.incident.id;
        log.sent.push((incident.clone(), outgoing.alert.status, outgoing.id.clone(), Instant::now()));
        let otherwise = if log.stubborn { Do::Refuse(Retry::Backoff) } else { Do::Take };
        let what = log.script.pop_front().unwrap_or(otherwise);
        Box::pin(async move {
            let to = "http://peer".to_owned();
            match what {
                Do::Take => Ok(()),
                Do::Refuse(retry) => Err(SendError::Refused {
                    to,
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    answer: String::new(),
                    retry,
                }),
                Do::Vanish => Err(SendError::TimedOut { to, after: Duration::from_secs(15) }),
                Do::Hang => std::future::pending().await,
            }
        })
    }

    fn resend_every(&self) -> Option<Duration> {
        self.every
    }

    fn resend(&self, _now: u64) -> Sending<'_> {
        self.log.lock().unwrap().resent.push(Instant::now());
        Box::pin(std::future::ready(Ok(())))
    }
}

fn dispatcher(sinks: Vec<Named>, change: impl FnOnce(&mut ActConfig)) -> Dispatcher {
    let mut config = ActConfig::default();
    change(&mut config);
    let clock: Arc<dyn WallClock> = Arc::new(ManualClock::new());
    Dispatcher::over(sinks, &config, &clock)
}

fn statuses(dispatcher: &Dispatcher) -> Vec<DeliveryStatus> {
    dispatcher.ledger().recent().iter().rev().map(|delivery| delivery.status).collect()
}

/// Lets paused time run until nothing is pending.
async fn settled(dispatcher: &Dispatcher) {
    for _ in 0..1_000_000 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if !statuses(dispatcher).contains(&Pending) {
            return;
        }
    }
    panic!("still pending");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_tried_again_with_growing_waits_under_one_id_until_it_is_taken() {
    let sink = Scripted::new(&[Do::Refuse(Retry::Backoff); 6]);
    let dispatcher = dispatcher(vec![sink.named("webhook")], |_| {});
    dispatcher.notify(sample::alert("a", Firing));
    settled(&dispatcher).await;
    let waits = sink.waits();
    assert_eq!(waits.len(), 6);
    for (attempt, wait) in (1..).zip(&waits) {
        assert!((Duration::from_secs(1)..=Duration::from_secs(1 << attempt)).contains(wait), "{waits:?}");
    }
    let ids = sink.delivery_ids();
    assert!(ids[0].starts_with("msg_") && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let row = dispatcher.ledger().recent().remove(0);
    assert_eq!((row.status, row.attempts, row.sink.as_str()), (Delivered, 7, "webhook"));
    assert_eq!(row.last_error.unwrap(), "http://peer answered 503 Service Unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_asks_for_patience_gets_it_for_everything() {
    let sink = Scripted::new(&[Do::Refuse(Retry::After(Duration::from_secs(90)))]);
    let dispatcher = dispatcher(vec![sink.named("slack")], |_| {});
    dispatcher.notify(sample::alert("a", Firing));
    dispatcher.notify(sample::alert("b", Firing));
    settled(&dispatcher).await;
    assert!(sink.waits()[0] >= Duration::from_secs(90), "{:?}", sink.waits());
    assert_eq!(statuses(&dispatcher), [Delivered, Delivered]);
}

#[tokio::test(start_paused = true)]
async fn one_alert_that_is_refused_again_and_again_does_not_hold_up_the_next() {
    let sink = Scripted::new(&[Do::Refuse(Retry::Backoff), Do::Take, Do::Refuse(Retry::Backoff), Do::Take]);
    let dispatcher = dispatcher(vec![sink.named("webhook")], |_| {});
    dispatcher.notify(sample::alert("a", Firing));
    dispatcher.notify(sample::alert("b", Firing));
    settled(&dispatcher).await;
    let order: Vec<String> = sink.sent().into_iter().map(|(id, _)| id).collect();
    assert_eq!(order, ["a", "b", "a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_was_away_hears_how_things_are_in_order_and_at_once() {
    let sink = Scripted::new(&[Do::Vanish; 12]);
    let dispatcher = dispatcher(vec![sink.named("webhook")], |_| {});
    for incident in ["a", "b", "c"] {
        dispatcher.notify(sample::alert(incident, Firing));
    }
    dispatcher.notify(sample::alert("a", Resolved));
    settled(&dispatcher).await;
    let sent = sink.sent();
    let taken = &sent[12..];
    let place = |incident: &str, status| {
        taken.iter().position(|sent| *sent == (incident.to_owned(), status)).unwrap()
    };
    assert!(place("a", Firing) < place("a", Resolved), "{taken:?}");
    assert_eq!(taken.len(), 4);
    assert!(
        sink.waits()[12..].iter().all(Duration::is_zero),
        "what waited for the sink goes when it is back"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_not_tried_again() {
    let sink = Scripted::new(&[Do::Refuse(Retry::Never)]);
    let dispatcher = dispatcher(vec![sink.named("pagerduty")], |_| {});
    dispatcher.notify(sample::alert("a", Firing));
    dispatcher.notify(sample::alert("b", Firing));
    settled(&dispatcher).await;
    assert_eq!(statuses(&dispatcher), [Failed, Delivered]);
    assert_eq!(sink.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_gone_gets_nothing_more_and_every_alert_for_it_is_counted() {
    let sink = Scripted::new(&[Do::Refuse(Retry::Disable)]);
    let dispatcher = dispatcher(vec![sink.named("webhook")], |_| {});
    dispatcher.notify(sample::alert("a", Firing));
    dispatcher.notify(sample::alert("b", Firing));
    settled(&dispatcher).await;
    dispatcher.notify(sample::alert("c", Firing));
    assert_eq!(statuses(&dispatcher), [Failed, Refused, Refused]);
    assert_eq!(sink.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_given_up_after_its_time() {
    let sink = Scripted::stubborn();
    let dispatcher = dispatcher(vec![sink.named("webhook")], |config| {
        config.retry.max_elapsed_time = Duration::from_mins(30);
    });
    let began = Instant::now();
    dispatcher.notify(sample::alert("a", Firing));
    settled(&dispatcher).await;
    assert_eq!(statuses(&dispatcher), [GivenUp]);
    assert!(
        (Duration::from_mins(24)..=Duration::from_mins(31)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    assert!(sink.waits().iter().all(|wait| *wait <= Duration::from_mins(5)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_sink_holds_up_nobody_and_its_spool_is_bounded() {
    let (slow, quick) = (Scripted::new(&[Do::Hang]), Scripted::default());
    let dispatcher =
        dispatcher(vec![slow.named("slack"), quick.named("webhook")], |config| config.spool_max = 10);
    // The slow one is busy with the first before the others come.
    dispatcher.notify(sample::alert("i-00", Firing));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 1..30 {
        dispatcher.notify(sample::alert(&format!("i-{number:02}"), Firing));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    dispatcher.notify(sample::alert("i-05", Firing));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let counts = dispatcher.ledger().counts();
    let count = |sink: &str, status: DeliveryStatus| {
        counts.get(&(sink.to_owned(), status.name())).copied().unwrap_or(0)
    };
    assert_eq!(count("webhook", Delivered), 31);
    assert_eq!((count("slack", Pending), count("slack", Refused), count("slack", Coalesced)), (11, 19, 1));
}

#[tokio::test(start_paused = true)]
async fn mild_incidents_and_their_ends_do_not_reach_a_sink_for_worse() {
    let sink = Scripted::default();
    let dispatcher = dispatcher(vec![sink.named("pagerduty")], |_| {});
    for status in [Firing, Resolved] {
        let mut alert = sample::alert("mild", status);
        alert.incident.severity = Severity::Low;
        dispatcher.notify(alert);
    }
    dispatcher.notify(sample::alert("bad", Firing));
    settled(&dispatcher).await;
    // Even when it looks milder at its end: who was told of it is told of its end.
    let mut end = sample::alert("bad", Resolved);
    end.incident.severity = Severity::Low;
    dispatcher.notify(end);
    settled(&dispatcher).await;
    assert_eq!(sink.sent(), [("bad".to_owned(), Firing), ("bad".to_owned(), Resolved)]);
}

#[tokio::test(start_paused = true)]
async fn the_same_alert_has_the_same_id_after_a_restart_and_another_in_another_sink() {
    let (first, second) = (Scripted::default(), Scripted::default());
    for sinks in [vec![first.named("webhook"), second.named("slack")], vec![first.named("webhook")]] {
        let dispatcher = dispatcher(sinks, |_| {});
        dispatcher.notify(sample::alert("a", Firing));
        settled(&dispatcher).await;
        dispatcher.notify(sample::alert("a", Resolved));
        dispatcher.drain(Duration::from_secs(1)).await;
    }
    let ids = first.delivery_ids();
    assert_eq!(ids[..2], ids[2..]);
    assert_ne!(ids[0], ids[1]);
    assert_ne!(ids[0], second.delivery_ids()[0]);
}

#[tokio::test(start_paused = true)]
async fn draining_sends_what_waits_once_more_and_gives_up_what_is_refused() {
    let sink = Scripted::stubborn();
    let dispatcher = dispatcher(vec![sink.named("webhook")], |_| {});
    dispatcher.notify(sample::alert("a", Firing));
    tokio::time::sleep(Duration::from_millis(1)).await;
    sink.log.lock().unwrap().stubborn = false;
    dispatcher.notify(sample::alert("b", Firing));
    let (ledger, began) = (dispatcher.ledger(), Instant::now());
    dispatcher.drain(Duration::from_secs(30)).await;
    assert!(began.elapsed() < Duration::from_millis(10), "backoff is not waited for");
    assert!(ledger.recent().iter().all(|delivery| delivery.status == Delivered));
}

#[tokio::test(start_paused = true)]
async fn draining_ends_at_its_deadline_and_says_what_was_lost() {
    let (hanging, quick) = (Scripted::new(&[Do::Hang]), Scripted::default());
    let dispatcher = dispatcher(vec![hanging.named("slack"), quick.named("webhook")], |_| {});
    for incident in ["a", "b", "c"] {
        dispatcher.notify(sample::alert(incident, Firing));
    }
    let (ledger, began) = (dispatcher.ledger(), Instant::now());
    dispatcher.drain(Duration::from_secs(5)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    let counts = ledger.counts();
    assert_eq!(counts[&("slack".to_owned(), "given_up")], 3);
    assert_eq!(counts[&("webhook".to_owned(), "delivered")], 3);
}

#[tokio::test(start_paused = true)]
async fn firing_alerts_are_repeated_at_their_interval_whatever_else_happens() {
    let mut sink = Scripted::stubborn();
    sink.every = Some(Duration::from_mins(1));
    let dispatcher = dispatcher(vec![sink.named("alertmanager")], |_| {});
    let began = Instant::now();
    dispatcher.notify(sample::alert("a", Firing));
    tokio::time::sleep(Duration::from_secs(181)).await;
    let resent: Vec<u64> = sink.log.lock().unwrap().resent.iter().map(|at| (*at - began).as_secs()).collect();
    assert_eq!(resent, [60, 120, 180]);
}

/// Scenario: a process before us delivered that an incident fires; now it ends.
/// Guarantees: nothing is sent for what was recalled, its end is, and nothing is pending meanwhile.
#[tokio::test(start_paused = true)]
async fn of_what_a_process_before_us_delivered_only_the_end_is_sent() {
    let sink = Scripted::default();
    let dispatcher = dispatcher(vec![sink.named("webhook")], |_| {});
    dispatcher.recall(sample::alert("a", Firing));
    assert!(dispatcher.ledger().settled());
    dispatcher.notify(sample::alert("a", Resolved));
    assert!(!dispatcher.ledger().settled(), "its end is on its way");
    settled(&dispatcher).await;
    assert_eq!(sink.sent(), [("a".to_owned(), Resolved)]);
    assert!(dispatcher.ledger().settled());
}
