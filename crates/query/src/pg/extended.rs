//! Prepared statements with parameters (the extended protocol).
//!
//! A statement is prepared over tables without rows, for its types, and planned again over a fresh snapshot whenever it
//! runs: a client that keeps a statement for days must neither see days-old rows nor keep their memory.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use datafusion_postgres::Parser;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use futures::Sink;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::ExtendedQueryHandler;
use pgwire::api::results::{FieldInfo, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;

use crate::error::SqlError;
use crate::guard;
use crate::pg::errors;
use crate::pg::handlers::PgSession;
use crate::pg::settings::{self, Kind};
use crate::service::unbroken;

/// A prepared statement, in the form that `datafusion-postgres`' hooks know: text, tree, and plan without rows.
type Prepared = (String, Option<(ast::Statement, LogicalPlan)>);

#[async_trait]
impl QueryParser for PgSession {
    type Statement = Prepared;

    async fn parse_sql<C>(
        &self,
        client: &C,
        sql: &str,
        types: &[Option<Type>],
    ) -> PgWireResult<Option<Self::Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = self.parse(sql)?;
        let wire = |error: SqlError| errors::wire(&error, sql);
        if statements.len() > 1 {
            return Err(wire(SqlError::Syntax { message: "one statement at a time".to_owned(), at: None }));
        }
        let Some(statement) = statements.pop() else { return Ok(None) };
        match settings::kind(&statement).map_err(wire)? {
            Kind::Query => guard::check_ast(&statement).map_err(wire)?,
            Kind::Done(_) => return Ok(Some((sql.to_owned(), None))),
            Kind::Hook => {}
        }
        let delegate = self.delegate();
        let parsed =
            unbroken(async { Ok(delegate.parse_sql(client, sql, types).await) }).await.map_err(wire)?;
        match parsed {
            Err(PgWireError::ApiError(error)) => Err(match error.downcast::<DataFusionError>() {
                Ok(error) => wire(self.placed(SqlError::planning(&error, 0), sql).await),
                Err(error) => PgWireError::ApiError(error),
            }),
            parsed => parsed,
        }
    }

    fn get_parameter_types(&self, statement: &Self::Statement) -> PgWireResult<Vec<Type>> {
        self.delegate().get_parameter_types(statement)
    }

    fn get_result_schema(
        &self,
        statement: &Self::Statement,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        self.delegate().get_result_schema(statement, format)
    }
}

impl PgSession {
    fn delegate(&self) -> Arc<Parser> {
        self.prepared.query_parser()
    }

    /// The values of a portal's parameters.
    fn parameters(&self, portal: &Portal<Prepared>, plan: &LogicalPlan) -> PgWireResult<ParamValues> {
        let known = plan.get_parameter_types().map_err(|error| PgWireError::ApiError(Box::new(error)))?;
        let place = |name: &String| name.trim_start_matches('$').parse::<u32>().unwrap_or(u32::MAX);
        let mut known: Vec<(u32, Option<DataType>)> =
            known.into_iter().map(|(name, kind)| (place(&name), kind)).collect();
        known.sort_by_key(|(place, _)| *place);
        let kinds: Vec<Option<&DataType>> = known.iter().map(|(_, kind)| kind.as_ref()).collect();
        let types = self.get_parameter_types(&portal.statement.statement)?;
        let types: Vec<Option<&Type>> = types.iter().map(Some).collect();
        deserialize_parameters_with_server_types(portal, &kinds, &types)
    }
}

#[async_trait]
impl ExtendedQueryHandler for PgSession {
    type Statement = Prepared;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self::QueryParser> {
        Arc::new(self.clone())
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        _: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (sql, prepared) = &portal.statement.statement;
        let Some((statement, plan)) = prepared else {
            let word = if sql.trim().is_empty() { return Ok(Response::EmptyQuery) } else { "OK" };
            return Ok(Response::Execution(Tag::new(word)));
        };
        let parameters = self.parameters(portal, plan)?;
        match settings::kind(statement).map_err(|error| errors::wire(&error, sql))? {
            Kind::Done(word) => Ok(Response::Execution(Tag::new(word))),
            Kind::Query => {
                let parameters = (portal.parameter_len() > 0).then_some(parameters);
                self.run(client, (statement.clone(), sql), parameters, &portal.result_column_format).await
            }
            Kind::Hook => {
                for hook in &self.hooks {
                    let context = &self.catalog.empty;
                    let answer =
                        hook.handle_extended_query(statement, plan, &parameters, context, client).await;
                    if let Some(answer) = answer {
                        return answer;
                    }
                }
                Ok(Response::Execution(Tag::new("OK")))
            }
        }
    }
}
