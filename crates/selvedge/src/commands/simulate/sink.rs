//! Where the telemetry goes, and how fast.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use selvedge_act::{AskError, Asker, Secret};
use selvedge_model::{EventTime, SignalKind};
use selvedge_replay::capture::CaptureWriter;
use selvedge_simulate::otlp::Frame;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::cli::{SimulateArgs, SimulationSpeed};

/// A request that the endpoint cannot take now is sent again so often, after a pause that doubles up to the longest.
const TRIES_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Bytes of a refusal that are shown.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Takes the requests of sidecars.
pub(super) enum Sink {
    Capture { path: PathBuf, writer: Option<CaptureWriter<BufWriter<File>>> },
    Endpoint { url: String, asker: Box<Asker> },
}

impl Sink {
    pub(super) fn open(args: &SimulateArgs) -> anyhow::Result<Self> {
        match (&args.out, &args.endpoint) {
            (Some(path), _) => {
                Ok(Self::Capture { writer: Some(CaptureWriter::create(path)?), path: path.clone() })
            }
            (None, Some(url)) => {
                let token = crate::logging::token(args.token.as_deref()).map(Secret::new);
                Ok(Self::Endpoint {
                    asker: Box::new(Asker::new(url, "/v1", token.as_ref())?),
                    url: url.clone(),
                })
            }
            (None, None) => anyhow::bail!("give --out or --endpoint"),
        }
    }

    pub(super) fn send(&mut self, frame: Frame, runtime: &Runtime) -> anyhow::Result<()> {
        match self {
            Self::Capture { path, writer: Some(writer) } => writer
                .write(frame.signal, frame.observed, &frame.payload)
                .with_context(|| format!("cannot write to {}", path.display())),
            Self::Capture { .. } => anyhow::bail!("the capture is finished"),
            Self::Endpoint { url, asker } => runtime.block_on(post(asker, url, &frame)),
        }
    }

    /// Everything is on its way when this returns.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        if let Self::Capture { path, writer } = self
            && let Some(writer) = writer.take()
        {
            writer.finish().with_context(|| format!("cannot write to {}", path.display()))?;
        }
        Ok(())
    }
}

async fn post(asker: &Asker, url: &str, frame: &Frame) -> anyhow::Result<()> {
    let path = match frame.signal {
        SignalKind::Traces => "/traces",
        SignalKind::Metrics => "/metrics",
        SignalKind::Logs => "/logs",
    };
    let mut pause = PAUSE;
    for _ in 0..TRIES_MAX {
        let answer = match asker.post_protobuf(path, frame.payload.clone()).await {
            Err(error @ AskError::Unreachable { .. }) => return Err(error).context(hint(url)),
            answer => answer?,
        };
        match answer.status() {
            200 => {
                answer.whole(REFUSAL_BYTES_MAX).await?;
                return Ok(());
            }
            // What OTLP over HTTP calls retryable.
            429 | 502 | 503 | 504 => tokio::time::sleep(pause).await,
            status => {
                let said = answer.whole(REFUSAL_BYTES_MAX).await?;
                let said = selvedge_act::visible(&String::from_utf8_lossy(&said));
                anyhow::bail!("{url}/v1{path} answered {status}: {said}");
            }
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    anyhow::bail!("{url}/v1{path} took nothing after {TRIES_MAX} tries")
}

fn hint(url: &str) -> &'static str {
    if url.trim_end_matches('/').ends_with(":4317") {
        "4317 is for OTLP over gRPC; simulate speaks OTLP over HTTP, mostly at port 4318"
    } else {
        "is `selvedge run` running? It takes OTLP over HTTP at http://127.0.0.1:4318 unless configured otherwise"
    }
}

/// Lets the mesh's time go by at its speed.
pub(super) struct Pacer {
    runtime: Runtime,
    speed: SimulationSpeed,
    /// When the first telemetry left.
    started: Option<Instant>,
    from: EventTime,
}

impl Pacer {
    /// The clock starts with the first telemetry, which is of `from`.
    pub(super) fn new(speed: SimulationSpeed, from: EventTime) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, speed, started: None, from })
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Until something of this time is due.
    pub(super) fn wait(&mut self, at: EventTime) {
        let SimulationSpeed::Times(times) = self.speed else { return };
        let after = Duration::try_from_secs_f64(at.since(self.from).as_secs_f64() / times).ok();
        let started = &mut self.started;
        self.runtime.block_on(async {
            let started = *started.get_or_insert_with(Instant::now);
            if let Some(due) = after.and_then(|after| started.checked_add(after)) {
                tokio::time::sleep_until(due).await;
            }
        });
    }
}
