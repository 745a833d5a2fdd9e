//! Queries as text (the simple protocol), and what both protocols share.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::error::Result;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::{DfSessionService, QueryHook};
use futures::future::{self, Either};
use futures::{FutureExt as _, Sink, Stream, StreamExt, stream};
use pgwire::api::auth::StartupHandler;
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::portal::Format;
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, ConnectionHandle, ConnectionManager, PgWireServerHandlers};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::types::format::FormatOptions;

use crate::error::{Position, SqlError};
use crate::pg::catalog::PgCatalog;
use crate::pg::settings::{self, Kind};
use crate::pg::startup::{Startup, User};
use crate::pg::{PgUser, errors};
use crate::service::{Ask, QueryOptions, SqlService};
use crate::{guard, measure};

/// One for all connections.
pub(crate) struct Handlers {
    session: Arc<PgSession>,
    user: Option<Arc<User>>,
    tls_required: bool,
    connections: Arc<ConnectionManager>,
}

impl Handlers {
    pub(crate) fn new(service: SqlService, user: Option<PgUser>, tls_required: bool) -> Result<Self> {
        Ok(Self {
            session: Arc::new(PgSession::new(service)?),
            user: user.as_ref().map(User::new).map(Arc::new),
            tls_required,
            connections: Arc::new(ConnectionManager::new()),
        })
    }
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.session)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.session)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::new(Startup::new(self.user.as_ref(), self.tls_required, &self.connections))
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(DefaultCancelHandler::new(Arc::clone(&self.connections)))
    }
}

/// Answers statements. Clones share everything.
#[derive(Clone)]
pub(crate) struct PgSession {
    pub(crate) service: SqlService,
    pub(crate) catalog: Arc<PgCatalog>,
    pub(crate) hooks: Vec<Arc<dyn QueryHook>>,
    /// `datafusion-postgres`' own, over tables without rows: for the types of parameters and results.
    pub(crate) prepared: Arc<DfSessionService>,
    parser: Arc<PostgresCompatibilityParser>,
}

impl PgSession {
    fn new(service: SqlService) -> Result<Self> {
        let catalog = Arc::new(service.pg_catalog()?);
        // Not the hook for cursors: it would run queries past our limits.
        let hooks: Vec<Arc<dyn QueryHook>> = vec![Arc::new(SetShowHook), Arc::new(TransactionStatementHook)];
        let prepared = Arc::new(DfSessionService::new_with_hooks(Arc::clone(&catalog.empty), hooks.clone()));
        Ok(Self { service, catalog, hooks, prepared, parser: Arc::new(PostgresCompatibilityParser::new()) })
    }

    /// The statements of a text, rewritten where PostgreSQL's clients ask for what we have under another name.
    pub(crate) fn parse(&self, sql: &str) -> PgWireResult<Vec<ast::Statement>> {
        measure::measure(sql).map_err(|error| errors::wire(&error, sql))?;
        self.parser.parse(sql).map_err(|error| {
            // The parser alone does not tell the place; ours does.
            let ours = guard::parse(sql).err().filter(|ours| ours.code() == "syntax_error");
            let at: Option<Position> = None;
            errors::wire(&ours.unwrap_or(SqlError::Syntax { message: error.to_string(), at }), sql)
        })
    }

    /// Runs a statement that was checked.
    pub(crate) async fn run<C: ClientInfo + ?Sized>(
        &self,
        client: &C,
        (statement, sql): (ast::Statement, &str),
        parameters: Option<ParamValues>,
        format: &Format,
    ) -> PgWireResult<Response> {
        let wire = |error: SqlError| errors::wire(&error, sql);
        guard::check_ast(&statement).map_err(wire)?;
        let options =
            QueryOptions { time_max: settings::statement_timeout(client), ..QueryOptions::default() };
        let statement = Box::new(Statement::Statement(Box::new(statement)));
        let ask = Ask::Statement(statement, parameters, Arc::clone(&self.catalog));
        let result = match self.service.run(ask, options).await {
            Ok(result) => result,
            Err(error) => return Err(wire(self.placed(error, sql).await)),
        };
        let formats = Some(Arc::new(FormatOptions::from_client_metadata(client.metadata())));
        let fields = Arc::new(arrow_schema_to_pg_fields(result.schema().as_ref(), format, formats)?);
        let of_rows = Arc::clone(&fields);
        let rows = result.map(move |batch| match batch {
            Ok(batch) => stream::iter(encode_recordbatch(Arc::clone(&of_rows), batch)).boxed(),
            Err(error) => stream::iter([Err(errors::wire(&error, ""))]).boxed(),
        });
        let connection =
            client.session_extensions().get::<Arc<ConnectionHandle>>().map(|handle| Arc::clone(&*handle));
        Ok(Response::Query(QueryResponse::new(fields, until_cancelled(rows.flatten(), connection))))
    }

    /// The error with its place in the text. The parser of `datafusion-postgres` does not keep places; ours does, so
    /// the text is planned again by it, over tables without rows.
    pub(crate) async fn placed(&self, error: SqlError, sql: &str) -> SqlError {
        if !matches!(error, SqlError::Invalid { at: None, .. }) {
            return error;
        }
        let Ok(statement) = guard::parse(sql) else { return error };
        let again = self.catalog.empty.state().statement_to_plan(statement).await.err();
        let again = again.map(|again| SqlError::planning_of(&again, 0, sql));
        again.filter(|again| again.to_string() == error.to_string()).unwrap_or(error)
    }
}

/// Rows until the client asks for no more. `pgwire` listens until an answer begins, and ours begin before their rows
/// are computed.
fn until_cancelled(
    rows: impl Stream<Item = PgWireResult<DataRow>> + Send + 'static,
    connection: Option<Arc<ConnectionHandle>>,
) -> impl Stream<Item = PgWireResult<DataRow>> + Send {
    let cancelled = async move {
        // Not before a row is wanted: to listen anew ends the listening of `pgwire`. An error is not the client's word
        // but the connection's next query.
        let asked = match connection {
            Some(connection) => connection.start_query().await.await.is_ok(),
            None => false,
        };
        if !asked {
            future::pending::<()>().await;
        }
    };
    stream::unfold(Some((rows.boxed(), cancelled.boxed())), |open| async move {
        let (mut rows, cancelled) = open?;
        match future::select(rows.next(), cancelled).await {
            Either::Left((row, cancelled)) => Some((row?, Some((rows, cancelled)))),
            Either::Right(_) => Some((Err(PgWireError::QueryCanceled), None)),
        }
    })
}

#[async_trait]
impl SimpleQueryHandler for PgSession {
    async fn do_query<C>(&self, client: &mut C, sql: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = self.parse(sql)?;
        if statements.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::with_capacity(statements.len());
        for statement in statements {
            let response = match settings::kind(&statement).map_err(|error| errors::wire(&error, sql))? {
                Kind::Done(word) => Response::Execution(Tag::new(word)),
                Kind::Query => self.run(client, (statement, sql), None, &Format::UnifiedText).await?,
                Kind::Hook => {
                    let mut answer = None;
                    for hook in &self.hooks {
                        if answer.is_none() {
                            answer = hook.handle_simple_query(&statement, &self.catalog.empty, client).await;
                        }
                    }
                    answer.unwrap_or(Ok(Response::Execution(Tag::new("OK"))))?
                }
            };
            responses.push(response);
        }
        Ok(responses)
    }
}
