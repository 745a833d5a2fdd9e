//! Views: the service map in the form that Grafana's node graph panel reads.

use selvedge_model::tables::{ColumnDef, ColumnKind, TableDef};

use crate::snapshot::Snapshot;

/// Minutes of event time, up to the newest call, that the service map shows.
const MAP_MINUTES: u64 = 15;

/// A view.
pub(crate) struct View {
    pub(crate) name: &'static str,
    /// Its definition; `{since}` stands for the start of what it shows.
    sql: &'static str,
}

/// All views.
pub(crate) const VIEWS: [View; 2] = [
    View { name: "nodegraph_nodes", sql: include_str!("views/nodegraph_nodes.sql") },
    View { name: "nodegraph_edges", sql: include_str!("views/nodegraph_edges.sql") },
];

/// The view of a name.
pub(crate) fn find(name: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| view.name == name)
}

impl View {
    /// The definition over a snapshot. The time is a literal, so that segments are pruned by it.
    pub(crate) fn sql(&self, snapshot: &Snapshot) -> String {
        let newest = snapshot.newest().0;
        let since = newest.saturating_sub(MAP_MINUTES * 60_000_000_000);
        self.sql
            .replace("{since}", &format!("arrow_cast({since}, 'Timestamp(Nanosecond, Some(\"+00:00\"))')"))
    }
}

macro_rules! columns {
    ($($name:literal: $kind:ident, $comment:literal;)*) => {
        &[$(ColumnDef { name: $name, kind: ColumnKind::$kind, comment: $comment },)*]
    };
}

/// What the columns of the nodes mean, for `docs/tables.md`.
pub(crate) const NODES: TableDef = TableDef {
    name: "nodegraph_nodes",
    comment: "One row per workload of the last 15 minutes, as Grafana's node graph panel reads nodes.",
    columns: columns! {
        "id": Text, "Cluster, namespace and workload.";
        "title": Text, "Workload.";
        "subtitle": Text, "Namespace.";
        "mainstat": Number, "Calls received per second.";
        "secondarystat": Number, "99th percentile of their latency in milliseconds.";
        "arc__failed": Number, "Share of calls received that failed.";
        "arc__plaintext": Number, "Share that did not fail but came without TLS.";
        "arc__ok": Number, "Share of the others.";
        "detail__calls": Integer, "Calls received.";
        "detail__external": Flag, "It is outside the mesh.";
    },
};

/// What the columns of the edges mean, for `docs/tables.md`.
pub(crate) const EDGES: TableDef = TableDef {
    name: "nodegraph_edges",
    comment: "One row per edge of the last 15 minutes, as Grafana's node graph panel reads edges.",
    columns: columns! {
        "id": Text, "The edge's number.";
        "source": Text, "Id of the caller's node.";
        "target": Text, "Id of the callee's node.";
        "mainstat": Number, "Calls per second.";
        "secondarystat": Number, "99th percentile of latency in milliseconds.";
        "thickness": Number, "1 to 6, by the number of calls.";
        "color": Text, "red when calls fail, orange when some come without TLS, else green.";
        "detail__calls": Integer, "Calls.";
        "detail__errors": Integer, "Calls that the callee failed.";
        "detail__plaintext": Integer, "Calls without TLS.";
    },
};
