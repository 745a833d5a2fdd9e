//! `docs/tables.md`, from the same data as the schemas.

use selvedge_model::tables::{TABLES, TableDef};

use crate::views;
use crate::watched::COLUMNS;

/// The page that describes every table.
#[must_use]
pub fn tables() -> String {
    let mut page = String::from(
        "# Tables\n\nWhat `selvedge sql`, `POST /api/v1/sql` and the PostgreSQL wire can read. A query sees one \
         moment of all tables. NULL means that nobody said. Trace and span ids are lower-case hex text; times are \
         nanoseconds UTC, by the senders' clocks.\n\nThis page is generated from the schemas: \
         `UPDATE_GOLDEN=1 cargo test -p selvedge-query` writes it.\n",
    );
    for table in table_definitions() {
        describe(&mut page, table);
    }
    page
}

/// All tables and views, with their columns and what these mean.
pub fn table_definitions() -> impl Iterator<Item = &'static TableDef> {
    TABLES.into_iter().chain([&COLUMNS, &views::NODES, &views::EDGES])
}

fn describe(page: &mut String, table: &TableDef) {
    page.push_str(&format!(
        "\n## {}\n\n{}\n\n| column | type | meaning |\n|---|---|---|\n",
        table.name, table.comment
    ));
    for column in table.columns {
        page.push_str(&format!("| `{}` | {} | {} |\n", column.name, column.kind.sql_name(), column.comment));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_the_schemas_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tables.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, tables()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == tables(),
            "docs/tables.md has drifted: UPDATE_GOLDEN=1 cargo test -p selvedge-query"
        );
    }
}
