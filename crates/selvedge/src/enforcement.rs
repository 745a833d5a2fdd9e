//! Enforcement of a live engine: the xDS port, the lease store and the audit log, and the way back to the engine.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use selvedge_enforce::store::Moment;
use selvedge_enforce::xds::{TokenGate, XdsConfig, XdsEvent, XdsServer, XdsTls, XdsView};
use selvedge_enforce::{Enforcer, EnforcerError, Order};
use selvedge_engine::{ContainmentEvent, Engine, Now};
use selvedge_model::Quarantine;
use selvedge_receive::{AuthConfig, Clock, TaskGroup, TlsConfig, TokenCheck};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::quarantine_section::EnforcementSettings;

/// Decisions that wait to be carried out. Guard rails allow a few an hour; refusals are told once each.
const ORDERS_MAX: usize = 4_096;
/// Reports that wait for the engine.
const REPORTS_MAX: usize = 256;
/// How often certificate and token files are looked at.
const FILES_INTERVAL: Duration = Duration::from_secs(30);

/// Everything that enforces, open and not yet served.
pub(crate) struct Enforcement {
    enforcer: Enforcer,
    server: XdsServer,
    events: mpsc::Receiver<XdsEvent>,
    orders: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    reports: mpsc::Receiver<selvedge_engine::PushReport>,
    clock: Arc<dyn Clock>,
    stored: Vec<Quarantine>,
    proxies: XdsView,
}

impl Enforcement {
    /// Opens the store and the log, and takes the port.
    pub(crate) async fn open(
        settings: EnforcementSettings,
        engine: &mut Engine,
        clock: Arc<dyn Clock>,
        control: &Runtime,
    ) -> anyhow::Result<Self> {
        let token = match settings.token {
            Some(token) => Some(token_gate(&token, control).await.context("quarantine.xds")?),
            None => None,
        };
        let tls = match settings.tls {
            Some(tls) => Some(XdsTls {
                server: follow(tls, control).await?,
                clients_verified: settings.clients_verified,
            }),
            None => None,
        };
        let config = XdsConfig {
            address: settings.endpoint,
            tls,
            token,
            insecure: settings.insecure,
            resources: settings.resources,
            ..XdsConfig::default()
        };
        let (server, handle, events) = control.spawn(XdsServer::bind(config)).await?.with_context(|| {
            format!("cannot serve policies on {} (set `quarantine.xds.endpoint`)", settings.endpoint)
        })?;
        let (proxies, (sender, reports)) = (handle.view(), mpsc::channel(REPORTS_MAX));
        let moving = Arc::clone(&clock);
        let moments = Arc::new(move || Moment { wall: moving.now(), steady: moving.steady() });
        let folder = settings.folder;
        let opened = control.spawn_blocking(move || Enforcer::open(&folder, handle, moments, sender)).await?;
        let (mut enforcer, stored) = opened.context("quarantine.folder")?;
        if let Some(yaml) = settings.yaml {
            enforcer.write_yaml(yaml);
        }
        tracing::info!(quarantines = stored.len(), "leases and audit log are open");
        engine.show_audit(enforcer.shown());
        Ok(Self {
            enforcer,
            server,
            events,
            orders: mpsc::channel(ORDERS_MAX),
            reports,
            clock,
            stored,
            proxies,
        })
    }

    /// Where decisions go.
    pub(crate) fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.0.clone()
    }

    /// How the proxies stand.
    pub(crate) fn proxies(&self) -> XdsView {
        self.proxies.clone()
    }

    /// Gives the engine, which has learned by now, what was in force before, lets proxies in and begins to carry out what
    /// is decided. It ends when it is closed.
    pub(crate) fn begin(self, engine: &mut Engine, control: &Runtime) -> anyhow::Result<Enforcing> {
        let Self { enforcer, server, events, orders: (sender, orders), mut reports, clock, stored, .. } =
            self;
        engine.restore(stored, Now { steady: clock.steady(), wall: clock.now() });
        let (group, stop) = (TaskGroup::new("xds"), CancellationToken::new());
        let _control = control.enter();
        tracing::info!(address = %server.address(), "serving quarantines over xDS");
        let stopped = stop.clone();
        group.spawn(async move { server.serve(stopped).await });
        let back = engine.orders();
        group.spawn(async move {
            while let Some(report) = reports.recv().await {
                if !back.report(report).await {
                    tracing::debug!("the engine ended before it heard of a push");
                }
            }
        });
        // It waits for the disk: a thread of its own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = std::thread::Builder::new()
            .name("enforcer".to_owned())
            .spawn(move || runtime.block_on(enforcer.run(orders, events)))
            .context("cannot start the enforcer")?;
        Ok(Enforcing { orders: sender, worker, group, stop })
    }
}

/// Proxies are served.
pub(crate) struct Enforcing {
    orders: mpsc::Sender<Order>,
    worker: std::thread::JoinHandle<Result<(), EnforcerError>>,
    group: TaskGroup,
    stop: CancellationToken,
}

impl Enforcing {
    /// Ends the process in order when the enforcer ends before it: without it leases run out in the books only, and
    /// proxies go on denying.
    pub(crate) fn stop_with(&self, intake: CancellationToken, control: &Runtime) {
        let orders = self.orders.clone();
        control.spawn(async move {
            orders.closed().await;
            if !intake.is_cancelled() {
                tracing::error!(
                    "the enforcer has ended; stopping, so that a restart takes over what is in force"
                );
                intake.cancel();
            }
        });
    }

    /// The engine has ended: what was decided is carried out. Proxies keep what they have.
    pub(crate) async fn close(self, control: &Runtime) -> anyhow::Result<()> {
        let worker = self.worker;
        // Not by dropping all senders: a client of the API may still hold one.
        if self.orders.send(Order::End).await.is_err() {
            tracing::debug!("the enforcer had ended before");
        }
        let ended = control.spawn_blocking(move || worker.join()).await?;
        self.stop.cancel();
        self.group.finished().await;
        ended.map_err(|_| anyhow::anyhow!("the enforcer panicked"))??;
        Ok(())
    }
}

/// Hands a decision over without waiting. There is room for far more than the guard rails allow.
pub(crate) fn decided(orders: &mpsc::Sender<Order>, event: ContainmentEvent) {
    if let Err(error) = orders.try_send(Order::Decided(event)) {
        tracing::error!(%error, "a decision about a quarantine was not carried out");
    }
}

/// The certificate as it is, and as it will be when the files change.
async fn follow(
    tls: TlsConfig,
    control: &Runtime,
) -> anyhow::Result<watch::Receiver<Arc<rustls::ServerConfig>>> {
    let (sender, receiver) = watch::channel(tls.load().await?);
    control.spawn(async move {
        let mut interval = tokio::time::interval(FILES_INTERVAL);
        loop {
            interval.tick().await;
            match tls.load().await {
                Ok(config) => {
                    if sender.send(config).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the certificate of xDS cannot be read; the old one stays")
                }
            }
        }
    });
    Ok(receiver)
}

/// The token as it is, and as it will be when its file changes.
async fn token_gate(token: &AuthConfig, control: &Runtime) -> anyhow::Result<TokenGate> {
    let check = Arc::new(TokenCheck::load(token).await?);
    let followed = Arc::downgrade(&check);
    control.spawn(async move {
        let mut interval = tokio::time::interval(FILES_INTERVAL);
        loop {
            interval.tick().await;
            let Some(check) = followed.upgrade() else { return };
            if let Err(error) = check.reload().await {
                tracing::warn!(%error, "the token of xDS cannot be read; the old one stays");
            }
        }
    });
    Ok(TokenGate::new(move |headers| check.admits(headers)))
}
