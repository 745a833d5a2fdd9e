//! Secrets stay secret: not in `Debug`, not in errors, not in the ledger, not in the log.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::alert::AlertStatus;
use crate::delivery::{Dispatcher, WallClock};
use crate::sample;
use crate::tests::peer::{Answer, Peer, status};
use crate::tests::{ManualClock, config, section};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HIDDEN: [&str; 4] = ["MfKQ9r8GKYq", "swordfish", "rosebud", "xanadu"];

fn yaml([webhook, pagerduty, slack]: [&str; 3]) -> String {
    format!(
        "{{terminal: {{enabled: false}}, \
          webhook: {{url: '{webhook}/rosebud?key=rosebud', secret: {SECRET}, bearer_token: swordfish}}, \
          pagerduty: {{routing_key: swordfish, url: '{pagerduty}/pd'}}, \
          slack: {{url: '{slack}/services/xanadu'}}}}"
    )
}

fn check_hides(text: &str) {
    for hidden in HIDDEN {
        assert!(!text.contains(hidden), "{hidden} shows in: {text}");
    }
}

#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<u8>>>);

impl Write for Journal {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn debug_shows_no_secret() {
    let yaml = yaml(["http://peer"; 3]);
    check_hides(&format!("{:?}", section(&yaml)));
    check_hides(&format!("{:?}", config(&yaml)));
}

/// Scenario: every sink is refused, by peers that repeat our own secrets in their answers.
/// Guarantees: neither log nor ledger shows one.
#[tokio::test]
async fn a_peer_that_repeats_our_secrets_does_not_get_them_into_the_log() {
    let journal = Journal::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(journal.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let echo = |body: &str| [Answer { body: body.to_owned(), ..status(400) }];
    let webhook = Peer::start(echo(&format!("/rosebud?key=rosebud {SECRET} swordfish"))).await;
    let pagerduty = Peer::start(echo("no such routing_key: swordfish")).await;
    let slack = Peer::start(echo("no such path: /services/xanadu")).await;
    let urls = [webhook.url(), pagerduty.url(), slack.url()];
    let yaml = yaml([0, 1, 2].map(|peer| urls[peer].as_str()));
    let clock: Arc<dyn WallClock> = Arc::new(ManualClock::new());
    let dispatcher = Dispatcher::start(config(&yaml), Vec::new(), clock).unwrap();
    let ledger = dispatcher.ledger();
    dispatcher.notify(sample::alert("i-1", AlertStatus::Firing));
    dispatcher.drain(Duration::from_secs(30)).await;
    let log = String::from_utf8(journal.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("refused for good").count(), 3, "{log}");
    check_hides(&log);
    check_hides(&format!("{:?}", ledger.recent()));
    assert!(format!("{:?}", ledger.recent()).contains("no such routing_key: (secret)"));
}
