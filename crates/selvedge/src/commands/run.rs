//! `selvedge run`: the engine on live input.
//!
//! Receivers and engine share one thread; between them stands the journal, whose thread waits for the disk. Without a
//! journal a batch is acknowledged without a hop between threads. Alerts and the API have a thread of their own: a slow
//! webhook or a large answer never holds up telemetry.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use selvedge_act::{Alert, AlertStatus, Dispatcher};
use selvedge_enforce::Order;
use selvedge_engine::{Effect, Engine, Pipeline};
use selvedge_model::{Action, ActionKind, Incident};
use selvedge_receive::Receivers;
use selvedge_serve::{Health, Lifecycle, QuarantineDoor, ServeError, Server, Sources};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::RunArgs;
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::enforcement::{self, Enforcement};
use crate::exit::Outcome;
use crate::journal::{OpenJournal, RunningJournal, Told};
use crate::sql_doors::SqlDoors;
use crate::{logging, paths};

/// Batches between receivers and engine; bytes are bounded by the receivers' admission.
const SUBMISSIONS_MAX: usize = 1_024;
/// How long a client of the API may take to finish after that.
const API_DEADLINE: Duration = Duration::from_secs(2);
/// How long alerts that are on their way may take after the last batch was judged.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);

pub(crate) fn run(args: &RunArgs) -> Outcome {
    paths::require_files(&args.learn)?;
    let mut config = config::load(args.config.as_deref())?;
    if let Some(shards) = args.shards {
        config.engine.shards = usize::from(shards);
    }
    logging::start(&config.log_level)?;
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control thread")?;
    let data = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    data.block_on(live(config, args, &control))?;
    control.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

async fn live(mut config: Config, args: &RunArgs, control: &tokio::runtime::Runtime) -> anyhow::Result<()> {
    let clock = Arc::new(SystemClock::start());
    let (submissions, inbox) = tokio::sync::mpsc::channel(SUBMISSIONS_MAX);
    // All ports are ours before the work begins, but nobody can send before the baseline is learned: a sender that is
    // refused comes again, one that is let in and not answered waits, and gives up what it has.
    let retry_after = config.receive.retry_after;
    let receivers = Receivers::reserve(config.receive, clock.clone(), submissions).await?;
    let server = control.spawn(Server::bind(config.serve)).await??;
    let (mut alerts, wall_clock) = (config.act, clock.clone());
    alerts.colour_unless_configured(std::io::stdout().is_terminal() && logging::colour_allowed());
    let dispatcher = control.spawn(async move { Dispatcher::start(alerts, wall_clock) }).await??;
    config.engine.record = config.sql.as_ref().map(|sql| sql.store.clone());
    let pipeline = Pipeline::new(&config.engine, config.rules);
    let mut engine = Engine::new(pipeline, config.engine.findings_kept_max);
    let journal = OpenJournal::open(config.journal, retry_after, &mut engine, &config.engine)?;
    let sql = match config.sql {
        Some(settings) => Some(SqlDoors::open(settings, &mut engine, control).await?),
        None => None,
    };
    let enforcement = match config.enforcement {
        Some(settings) => Some(Enforcement::open(settings, &mut engine, clock.clone(), control).await?),
        None => None,
    };
    let decisions = enforcement.as_ref().map(Enforcement::orders);
    let health = Arc::new(Health::default());
    let sources = Sources {
        view: engine.view(),
        deliveries: dispatcher.ledger(),
        received: receivers.stats(),
        sql: sql.as_ref().map(SqlDoors::service),
        journal: journal.as_ref().map(OpenJournal::stats),
        quarantines: QuarantineDoor {
            orders: Some(engine.orders()),
            enforcer: decisions.clone(),
            render: config.render,
        },
        health: Arc::clone(&health),
        version: env!("CARGO_PKG_VERSION"),
    };
    let (intake, api) = (CancellationToken::new(), CancellationToken::new());
    let endpoint = server.endpoint();
    let served = control.spawn(server.serve(sources, api.clone()));
    for path in &args.learn {
        selvedge_replay::teach(engine.pipeline_mut(), path)?;
        tracing::info!(capture = %path.display(), "baseline learned and approved");
    }
    if let Some(journal) = &journal {
        let written = sql.as_ref().map(SqlDoors::written).unwrap_or_default();
        journal.recover(&mut engine, &*clock, written, |effect, told| recovered(&dispatcher, effect, told))?;
    }
    let (inbox, journal) = match journal {
        Some(journal) => {
            let (outlet, stored) = tokio::sync::mpsc::channel(SUBMISSIONS_MAX);
            let deliveries = dispatcher.ledger();
            let running = journal.begin(inbox, outlet, clock.clone(), &intake, deliveries, control)?;
            (stored, Some(running))
        }
        None => (inbox, None),
    };
    let receivers = receivers.listen()?;
    let sql = sql.map(|sql| sql.listen(control)).transpose()?;
    let enforcing = enforcement.map(|enforcement| enforcement.begin(&mut engine, control)).transpose()?;
    let signals = Signals::listen()?;
    control.spawn(signals.watch(intake.clone(), Arc::clone(&health)));
    if let Some(enforcing) = &enforcing {
        enforcing.stop_with(intake.clone(), control);
    }
    announce(&receivers, endpoint);
    health.begin();
    // The receivers end first, their queue runs dry, then the engine completes what is open and ends.
    let ((), ()) = tokio::join!(
        receivers.serve(intake),
        selvedge_engine::run(engine, inbox, clock, |effect| notify(&dispatcher, decisions.as_ref(), effect)),
    );
    // First: what was decided about denials is carried out, whatever else fails to end well.
    let enforced = match enforcing {
        Some(enforcing) => enforcing.close(control).await,
        None => Ok(()),
    };
    let given_up = journal.as_ref().map_or(0, RunningJournal::given_up);
    dispatcher.drain(DRAIN_DEADLINE).await;
    if let Some(journal) = journal {
        journal.close(given_up, control).await?;
    }
    if let Some(sql) = sql {
        sql.close().await?;
    }
    api.cancel();
    ended(served).await?;
    enforced?;
    tracing::info!("stopped: everything received was judged");
    Ok(())
}

/// Waits for the API, but not for a client that holds its connection open: whoever waits for us would kill us.
async fn ended(served: JoinHandle<Result<(), ServeError>>) -> anyhow::Result<()> {
    if let Ok(served) = tokio::time::timeout(API_DEADLINE, served).await {
        return Ok(served??);
    }
    tracing::warn!("the API still had a client; closing it");
    Ok(())
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The first signal stops the intake and lets everything received be judged; the second ends the process.
    async fn watch(mut self, intake: CancellationToken, health: Arc<Health>) {
        self.next().await;
        tracing::info!(
            "stopping: taking nothing new, finishing what was received (signal again to stop at once)"
        );
        health.set(Lifecycle::Draining);
        intake.cancel();
        self.next().await;
        tracing::warn!("stopped at once by a second signal");
        std::process::exit(130);
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn announce(receivers: &Receivers, endpoint: SocketAddr) {
    let addresses = receivers.addresses();
    for (protocol, address) in [("grpc", addresses.grpc), ("http", addresses.http)] {
        if let Some(address) = address {
            tracing::info!(protocol, %address, "receiving OTLP");
        }
    }
    tracing::info!(address = %endpoint, "serving the API, /metrics and /healthz");
}

fn notify(dispatcher: &Dispatcher, decisions: Option<&Sender<Order>>, effect: Effect) {
    match effect {
        Effect::Action(action, incident) => {
            if let Some(alert) = alert(&action, *incident) {
                dispatcher.notify(alert);
            }
        }
        Effect::Containment { event, .. } => {
            if let Some(decisions) = decisions {
                enforcement::decided(decisions, event);
            }
        }
        Effect::Finding(_) | Effect::Incident(..) => {}
    }
}

/// What happened again while the journal was read. There is nothing about quarantines in it: those decisions wait.
fn recovered(dispatcher: &Dispatcher, effect: Effect, told: Told) {
    if let Effect::Action(action, incident) = effect
        && let Some(alert) = alert(&action, *incident)
    {
        match told {
            Told::Before => dispatcher.recall(alert),
            Told::NotYet => dispatcher.notify(alert),
        }
    }
}

fn alert(action: &Action, incident: Incident) -> Option<Alert> {
    let status = match action.kind {
        ActionKind::AlertFiring => AlertStatus::Firing,
        ActionKind::AlertResolved => AlertStatus::Resolved,
        ActionKind::Quarantine(_) => return None,
    };
    Some(Alert { status, incident, at: action.at })
}
