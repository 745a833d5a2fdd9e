//! The one schema that SQL sees: recorded tables, small tables, and the views over them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider, MemoryCatalogProviderList,
    SchemaProvider, TableProvider,
};
use datafusion::datasource::ViewTable;
use datafusion::error::Result;
use datafusion::execution::SessionState;

use crate::history::Files;
use crate::scan::RecordedTable;
use crate::session;
use crate::snapshot::Snapshot;
use crate::views::{self, VIEWS};
use crate::watched::SMALL;

/// The catalog's name; what PostgreSQL clients take for the database.
pub(crate) const CATALOG: &str = "selvedge";
/// The schema's name.
pub(crate) const SCHEMA: &str = "public";

/// All catalogs of a session over a snapshot, with one more schema where a client expects it.
pub(crate) fn over(
    sight: &Arc<Sight>,
    state: Option<&SessionState>,
    more: Option<(&str, Arc<dyn SchemaProvider>)>,
) -> Result<Arc<dyn CatalogProviderList>> {
    let catalog = MemoryCatalogProvider::new();
    let tables = Tables { sight: Arc::clone(sight), state: state.cloned() };
    catalog.register_schema(SCHEMA, Arc::new(tables))?;
    if let Some((name, schema)) = more {
        catalog.register_schema(name, schema)?;
    }
    let list = MemoryCatalogProviderList::new();
    list.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(Arc::new(list))
}

/// What one query sees: a snapshot, and the history files beside it. It keeps both.
pub(crate) struct Sight {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) files: Files,
}

/// Tables are made when a query names them. There is no way to register one.
struct Tables {
    sight: Arc<Sight>,
    /// To plan views with; views themselves see no views.
    state: Option<SessionState>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        let recorded = self.sight.snapshot.recorded.iter().map(|view| view.table.name);
        let views = VIEWS.iter().filter(|_| self.state.is_some()).map(|view| view.name);
        recorded.chain(SMALL.into_iter().map(|table| table.name)).chain(views).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let mut recorded = self.sight.snapshot.recorded.iter().zip(&self.sight.files);
        if let Some((view, files)) = recorded.find(|(view, _)| view.table.name == name) {
            return Ok(Some(Arc::new(RecordedTable::new(Arc::clone(view), files.clone()))));
        }
        if let Some(batch) = self.sight.snapshot.watched.batch(name) {
            let batch = batch?;
            return Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)));
        }
        let Some((view, state)) = views::find(name).zip(self.state.as_ref()) else { return Ok(None) };
        let sql = view.sql(&self.sight.snapshot);
        let state = session::with_catalogs(state, over(&self.sight, None, None)?);
        let plan = state.create_logical_plan(&sql).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(sql)))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
