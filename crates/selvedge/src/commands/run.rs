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
use selvedge_act::{ActConfig, Dispatcher, ExternalSink};
use selvedge_enforce::Order;
use selvedge_engine::{Engine, EngineConfig, Pipeline, RuleSet};
use selvedge_policy::RenderContext;
use selvedge_receive::Receivers;
use selvedge_serve::{Health, Lifecycle, QuarantineDoor, Server, Sources};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::RunArgs;
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::effects::notify;
use crate::enforcement::{Enforcement, Enforcing};
use crate::exit::Outcome;
use crate::journal::{OpenJournal, RunningJournal, begin, teach};
use crate::kafka::KafkaReader;
use crate::sql_doors::{OpenDoors, SqlDoors};
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
        // It reads what comes over the PostgreSQL wire.
        .thread_stack_size(selvedge_query::STACK_BYTES)
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

async fn live(mut config: Config, args: &RunArgs, control: &Runtime) -> anyhow::Result<()> {
    let clock = Arc::new(SystemClock::start());
    let (submissions, inbox) = tokio::sync::mpsc::channel(SUBMISSIONS_MAX);
    // All ports are ours before the work begins, but nobody can send before the baseline is learned: a sender that is
    // refused comes again, one that is let in and not answered waits, and gives up what it has.
    let retry_after = config.receive.retry_after;
    let receivers = Receivers::reserve(config.receive, clock.clone(), submissions).await?;
    let server = control.spawn(Server::bind(config.serve)).await??;
    let dispatcher = dispatch(config.act, config.kafka.sinks()?, clock.clone(), control).await?;
    let mut kafka = config.kafka.open(control)?;
    config.engine.record = config.sql.as_ref().map(|sql| sql.store.clone());
    let mut engine = new_engine(&config.engine, &config.rules, kafka.as_ref());
    let opened = OpenJournal::open(config.journal, retry_after, &mut engine, &config.engine, clock.clone());
    let mut journal = opened?;
    let resume =
        |journal: &mut OpenJournal| journal.resume(&mut engine, &config.engine, &config.rules, &dispatcher);
    journal.as_mut().map_or(Ok(()), resume)?;
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
        kafka: kafka.as_ref().map(KafkaReader::stats),
        checkpoints: journal.as_ref().map(OpenJournal::checkpoints),
        xds: enforcement.as_ref().map(Enforcement::proxies),
        quarantines: door(&engine, decisions.clone(), config.render),
        runtimes: vec![("data", Handle::current().metrics()), ("control", control.metrics())],
        health: Arc::clone(&health),
        version: env!("CARGO_PKG_VERSION"),
    };
    let (intake, api) = (CancellationToken::new(), CancellationToken::new());
    let endpoint = server.endpoint();
    let served = control.spawn(server.serve(sources, api.clone()));
    teach(&mut engine, journal.as_mut(), &args.learn)?;
    let written = sql.as_ref().map(SqlDoors::written).unwrap_or_default();
    if let Some(journal) = &journal {
        journal.recover(&mut engine, written, &dispatcher, kafka.as_mut())?;
    }
    let (inbox, journal) = begin(journal, &mut engine, inbox, &dispatcher, &intake, control)?;
    let receivers = receivers.listen()?;
    let entrance = receivers.entrance();
    let kafka = kafka.map(|kafka| kafka.begin(entrance, &intake, control));
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
    Behind { enforcing, kafka, dispatcher, journal, sql, api, served }.close(control).await?;
    tracing::info!("stopped: everything received was judged");
    Ok(())
}

/// An engine that knows nothing.
fn new_engine(config: &EngineConfig, rules: &RuleSet, kafka: Option<&KafkaReader>) -> Engine {
    let mut engine = Engine::new(Pipeline::new(config, rules.clone()), config.findings_kept_max);
    if let Some(kafka) = kafka {
        engine.read_behind(kafka.behind());
    }
    engine
}

/// What people may do about quarantines.
fn door(engine: &Engine, enforcer: Option<Sender<Order>>, render: RenderContext) -> QuarantineDoor {
    QuarantineDoor { orders: Some(engine.orders()), enforcer, render }
}

/// Alerts, on the control thread.
async fn dispatch(
    mut alerts: ActConfig,
    external: Vec<ExternalSink>,
    clock: Arc<SystemClock>,
    control: &Runtime,
) -> anyhow::Result<Dispatcher> {
    alerts.colour_unless_configured(std::io::stdout().is_terminal() && logging::colour_allowed());
    Ok(control.spawn(async move { Dispatcher::start(alerts, external, clock) }).await??)
}

/// What goes on until the engine has ended.
struct Behind {
    enforcing: Option<Enforcing>,
    kafka: Option<JoinHandle<anyhow::Result<()>>>,
    dispatcher: Dispatcher,
    journal: Option<RunningJournal>,
    sql: Option<OpenDoors>,
    api: CancellationToken,
    served: JoinHandle<()>,
}

impl Behind {
    async fn close(self, control: &Runtime) -> anyhow::Result<()> {
        // First: what was decided about denials is carried out, whatever else fails to end well.
        let enforced = match self.enforcing {
            Some(enforcing) => enforcing.close(control).await,
            None => Ok(()),
        };
        let given_up = self.journal.as_ref().map_or(0, RunningJournal::given_up);
        self.dispatcher.drain(DRAIN_DEADLINE).await;
        if let Some(journal) = self.journal {
            journal.close(given_up, control).await?;
        }
        if let Some(sql) = self.sql {
            sql.close().await?;
        }
        self.api.cancel();
        ended(self.served).await?;
        if let Some(kafka) = self.kafka {
            kafka.await??;
        }
        enforced
    }
}

/// Waits for the API, but not for a client that holds its connection open: whoever waits for us would kill us.
async fn ended(served: JoinHandle<()>) -> anyhow::Result<()> {
    if let Ok(served) = tokio::time::timeout(API_DEADLINE, served).await {
        return Ok(served?);
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
