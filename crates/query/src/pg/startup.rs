//! Who may connect.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Sink;
use pgwire::api::auth::noop::NoopStartupHandler;
use pgwire::api::auth::sasl::SASLAuthStartupHandler;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramAuth, gen_salted_password};
use pgwire::api::auth::{AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler};
use pgwire::api::{ClientInfo, ConnectionManager};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use crate::pg::PgUser;

/// The one user, with the password as SCRAM stores it: salted once, when the server starts.
pub(crate) struct User {
    name: String,
    salt: Vec<u8>,
    salted: Vec<u8>,
}

impl User {
    pub(crate) fn new(user: &PgUser) -> Self {
        // The salt is no secret; it has to differ between servers.
        let nonce = pgwire::api::auth::sasl::scram::random_nonce();
        let salt = nonce.into_bytes();
        let salted = gen_salted_password(&user.password, &salt, SCRAM_ITERATIONS);
        Self { name: user.name.clone(), salt, salted }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl AuthSource for User {
    #[expect(elided_lifetimes_in_paths, reason = "async_trait needs the signature as the trait has it")]
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let known = login.user() == Some(self.name.as_str());
        let answer = if known {
            Ok(Password::new(Some(self.salt.clone()), self.salted.clone()))
        } else {
            let message = "password authentication failed".to_owned();
            let info = ErrorInfo::new("FATAL".to_owned(), "28P01".to_owned(), message);
            Err(PgWireError::UserError(Box::new(info)))
        };
        std::future::ready(answer).await
    }
}

/// The beginning of a connection.
pub(crate) struct Startup {
    tls_required: bool,
    proof: Proof,
}

/// SCRAM, or nothing to prove.
enum Proof {
    Scram(Box<SASLAuthStartupHandler<DefaultServerParameterProvider>>),
    Open(Open),
}

/// Lets everybody in.
struct Open(Arc<ConnectionManager>);

impl NoopStartupHandler for Open {
    fn connection_manager(&self) -> Option<Arc<ConnectionManager>> {
        Some(Arc::clone(&self.0))
    }
}

impl Startup {
    pub(crate) fn new(
        user: Option<&Arc<User>>,
        tls_required: bool,
        connections: &Arc<ConnectionManager>,
    ) -> Self {
        let Some(user) = user else {
            return Self { tls_required, proof: Proof::Open(Open(Arc::clone(connections))) };
        };
        let scram = ScramAuth::new(Arc::clone(user) as Arc<dyn AuthSource>);
        let handler = SASLAuthStartupHandler::new(Arc::new(DefaultServerParameterProvider::default()))
            .with_scram(scram)
            .with_connection_manager(Arc::clone(connections));
        Self { tls_required, proof: Proof::Scram(Box::new(handler)) }
    }
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if self.tls_required && !client.is_secure() {
            let message = "this server takes TLS connections only: use sslmode=require".to_owned();
            let info = ErrorInfo::new("FATAL".to_owned(), "28000".to_owned(), message);
            return Err(PgWireError::UserError(Box::new(info)));
        }
        match &self.proof {
            Proof::Scram(handler) => handler.on_startup(client, message).await,
            Proof::Open(handler) => handler.on_startup(client, message).await,
        }
    }
}
