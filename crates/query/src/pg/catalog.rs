//! PostgreSQL's own tables and functions, as clients expect them (`\d` reads them).

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::SchemaProvider;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::setup_pg_catalog;

use crate::catalog::{self, CATALOG, Sight};
use crate::session;

/// Name of the schema of PostgreSQL's own tables.
pub(crate) const PG_SCHEMA: &str = "pg_catalog";

/// A state with PostgreSQL's functions, and its schema: one for all statements, because clients ask for a table's
/// number in one statement and for its columns in the next.
#[derive(Clone)]
pub(crate) struct PgCatalog {
    pub(crate) template: SessionState,
    pub(crate) schema: Arc<dyn SchemaProvider>,
    /// Over tables without rows: what a statement is prepared against, so that it keeps no snapshot.
    pub(crate) empty: Arc<SessionContext>,
}

impl PgCatalog {
    pub(crate) fn new(template: &SessionState, empty: &Arc<Sight>) -> Result<Self> {
        let catalogs = catalog::over(empty, Some(template), None)?;
        let context = SessionContext::new_with_state(session::with_catalogs(template, catalogs));
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        let mut state = context.state();
        state.register_udf(Arc::new(ScalarUDF::from(Version::new())))?;
        let missing = || DataFusionError::Internal("no pg_catalog".to_owned());
        let schema =
            context.catalog(CATALOG).and_then(|catalog| catalog.schema(PG_SCHEMA)).ok_or_else(missing)?;
        let empty = Arc::new(SessionContext::new_with_state(state.clone()));
        Ok(Self { template: state, schema, empty })
    }
}

/// `version()`: tools look for PostgreSQL's name in it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Version {
    signature: Signature,
}

impl Version {
    fn new() -> Self {
        Self { signature: Signature::exact(Vec::new(), Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Version {
    fn name(&self) -> &str {
        "version"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = concat!("PostgreSQL 16.6 (Selvedge ", env!("CARGO_PKG_VERSION"), ")");
        Ok(ColumnarValue::Scalar(ScalarValue::from(text)))
    }
}
