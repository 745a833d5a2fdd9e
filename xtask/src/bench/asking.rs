//! Somebody who asks a live engine a question a second, while it is under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::http;
use super::results::median;
use super::server::pause;
use crate::steps;

/// Every edge's calls, errors and tail, over all that is in memory.
const QUESTION: &str = "SELECT source_workload, destination_workload, count(*), avg(duration), \
                        percentile(duration, 0.99), sum(CASE WHEN error THEN 1 ELSE 0 END) FROM calls GROUP BY 1, 2";
const INTERVAL: Duration = Duration::from_secs(1);

/// Whom to ask.
pub(super) struct Asking {
    api: SocketAddr,
}

/// Asks until it is stopped.
pub(super) struct Answers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<f64>>>,
}

impl Asking {
    pub(super) fn of(api: SocketAddr) -> Self {
        Self { api }
    }

    pub(super) fn start(&self) -> Answers {
        let stop = Arc::new(AtomicBool::new(false));
        let (api, stopped) = (self.api, Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut seconds = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = steps::now();
                ask(api)?;
                seconds.push(began.elapsed().as_secs_f64());
                pause(INTERVAL.saturating_sub(began.elapsed()));
            }
            Ok(seconds)
        });
        Answers { stop, thread }
    }
}

impl Answers {
    /// How many answers came, and how long they took.
    pub(super) fn stop(self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.thread.join().ok().context("whoever asked has panicked")??;
        let longest = seconds.iter().copied().fold(0.0, f64::max);
        let middle = median(seconds.clone());
        Ok(format!("{} queries answered, {middle:.2} s in the middle, {longest:.2} s at most", seconds.len()))
    }
}

fn ask(api: SocketAddr) -> Result<()> {
    let headers = ["content-type: text/plain", "accept: text/csv"];
    let answer = http::ask(api, "POST /api/v1/sql", &headers, QUESTION)?.context("nobody answers SQL")?;
    ensure!(http::accepted(&answer), "SQL was refused: {answer}");
    Ok(())
}
