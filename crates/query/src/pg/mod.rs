//! The PostgreSQL wire: psql, Grafana, BI tools and drivers, through the same door and limits as every other query.
//!
//! Protocol and catalog come from `pgwire` and `datafusion-postgres`; what they would allow beyond reading is refused
//! here before they see it.

mod catalog;
mod errors;
mod extended;
mod handlers;
mod settings;
mod startup;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pgwire::tokio::process_socket;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::service::SqlService;
pub(crate) use catalog::{PG_SCHEMA, PgCatalog};
use handlers::Handlers;

/// How often a connection whose peer has sent something is looked at for the peer being gone.
const GONE_CHECK: Duration = Duration::from_millis(250);

/// The PostgreSQL wire.
#[derive(Clone, Default)]
pub struct PgConfig {
    /// Who may connect, by SCRAM-SHA-256; anybody when `None`, which is for loopback only.
    pub user: Option<PgUser>,
    /// TLS, when clients ask for it.
    pub tls: Option<Arc<ServerConfig>>,
    /// Clients that do not ask for it are refused, before they have sent anything worth reading.
    pub tls_required: bool,
    /// Connections at once; 0 stands for 64. Past it a connection is closed at once.
    pub connections_max: usize,
}

/// A user with a password.
#[derive(Clone)]
pub struct PgUser {
    /// Name.
    pub name: String,
    /// Password.
    pub password: String,
}

/// Connections when nothing else is said.
const CONNECTIONS_MAX: usize = 64;

/// Serves until `stop` resolves; then no connection is taken any more, and those that are open are closed.
///
/// # Errors
/// The catalog of PostgreSQL's own tables could not be set up.
pub async fn serve(
    listener: TcpListener,
    service: SqlService,
    config: PgConfig,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let handlers =
        Arc::new(Handlers::new(service, config.user, config.tls_required).map_err(io::Error::other)?);
    let tls = config.tls.map(TlsAcceptor::from);
    let limit = if config.connections_max == 0 { CONNECTIONS_MAX } else { config.connections_max };
    let places = Arc::new(Semaphore::new(limit));
    // Dropped at the end: aborts what is still open.
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return Ok(()),
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(GONE_CHECK).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, limit, "connection refused: too many");
            continue;
        };
        let (tls, handlers) = (tls.clone(), Arc::clone(&handlers));
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = converse(socket, tls, handlers).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
}

/// One connection. While a query runs nobody reads the socket, so a second handle watches for the peer to go: its
/// query is then dropped, and stops.
async fn converse(socket: TcpStream, tls: Option<TlsAcceptor>, handlers: Arc<Handlers>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket.into_std()?;
    let watch = TcpStream::from_std(socket.try_clone()?)?;
    let socket = TcpStream::from_std(socket)?;
    tokio::select! {
        ended = process_socket(socket, tls, handlers) => ended,
        gone = gone(&watch) => gone,
    }
}

async fn gone(socket: &TcpStream) -> io::Result<()> {
    loop {
        let ready = socket.ready(Interest::READABLE).await?;
        if ready.is_read_closed() {
            return Ok(());
        }
        tokio::time::sleep(GONE_CHECK).await;
    }
}
