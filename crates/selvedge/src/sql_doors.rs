//! SQL of a live engine: the service, the PostgreSQL wire, and the history.

use anyhow::Context as _;
use selvedge_engine::Engine;
use selvedge_query::pg::{self, PgConfig};
use selvedge_query::{History, HistoryEnds, SqlService};
use selvedge_receive::TaskGroup;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::sql_section::SqlSettings;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// What a live engine has for SQL.
pub(crate) struct SqlDoors {
    service: SqlService,
    wire: PgConfig,
    socket: TcpSocket,
    writer: Option<JoinHandle<()>>,
    written: HistoryEnds,
    group: TaskGroup,
    stop: CancellationToken,
}

impl SqlDoors {
    /// Opens the history and takes the port, without letting anybody in yet.
    pub(crate) async fn open(
        settings: SqlSettings,
        engine: &mut Engine,
        control: &Runtime,
    ) -> anyhow::Result<Self> {
        let endpoint = settings.endpoint;
        let socket = if endpoint.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(endpoint).with_context(|| {
            format!("cannot listen on {endpoint} for SQL (another selvedge? set `sql.endpoint`)")
        })?;
        let tls = match &settings.tls {
            Some(tls) => Some(tls.load().await?),
            None => None,
        };
        let wire = PgConfig {
            user: settings.user.as_ref().map(crate::sql_section::User::load).transpose()?,
            tls,
            tls_required: settings.tls_required,
            connections_max: settings.connections_max,
        };
        let history = settings.history.map(History::open).transpose()?;
        let written = history.as_ref().map(History::ends).unwrap_or_default();
        let writer = history.clone().map(|history| {
            let writer = engine.keep_history(history);
            control.spawn_blocking(move || writer.run())
        });
        let service = SqlService::with_history(engine.snapshots(), history, settings.queries)
            .context("cannot start the threads of SQL")?;
        let (group, stop) = (TaskGroup::new("sql"), CancellationToken::new());
        Ok(Self { service, wire, socket, writer, written, group, stop })
    }

    /// Up to where the history had rows at the start.
    pub(crate) fn written(&self) -> HistoryEnds {
        self.written
    }

    /// What answers.
    pub(crate) fn service(&self) -> SqlService {
        self.service.clone()
    }

    /// Lets clients of the PostgreSQL wire in.
    pub(crate) fn listen(self, control: &Runtime) -> anyhow::Result<OpenDoors> {
        let Self { service, wire, socket, writer, group, stop, .. } = self;
        let _control = control.enter();
        let listener = socket.listen(BACKLOG).context("cannot listen for SQL")?;
        let address = listener.local_addr()?;
        tracing::info!(%address, "answering SQL over the PostgreSQL wire");
        let stopped = stop.clone().cancelled_owned();
        group.spawn(async move {
            if let Err(error) = pg::serve(listener, service, wire, stopped).await {
                tracing::error!(%error, "the PostgreSQL wire could not be served");
            }
        });
        Ok(OpenDoors { writer, group, stop })
    }
}

/// Clients are let in.
pub(crate) struct OpenDoors {
    writer: Option<JoinHandle<()>>,
    group: TaskGroup,
    stop: CancellationToken,
}

impl OpenDoors {
    /// The engine has ended: what it handed over is written, then nobody is answered any more.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        if let Some(writer) = self.writer {
            writer.await.context("the history's writer failed")?;
        }
        self.stop.cancel();
        self.group.finished().await;
        Ok(())
    }
}
