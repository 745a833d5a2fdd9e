//! Who calls whom: as symbols inside, as text where people look.

use crate::observation::Party;
use crate::symbol::{Symbol, SymbolTable};
use serde::{Deserialize, Serialize};

/// One end of an edge: a workload, without the identity it happens to present. Ordered by the numbers of names, which
/// follow the order of arrival: only which node finds room may depend on it, never what is put out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    /// Cluster name.
    pub cluster: Symbol,
    /// Namespace.
    pub namespace: Symbol,
    /// Workload, or the host name of an external destination; absent when nobody could be identified.
    pub workload: Symbol,
}

/// The key of an edge. The principal is deliberately not part of it: the same workload with another certificate is
/// the same edge with a new principal, which is a finding, and not a new edge. Ordered as nodes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeKey {
    /// Caller.
    pub source: Node,
    /// Callee.
    pub destination: Node,
    /// The callee is not in the mesh.
    pub external: bool,
}

/// One end of an edge in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Cluster name.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Workload or external host; empty when nobody could be identified.
    pub workload: String,
    /// Verified identity; empty when there is none.
    pub principal: String,
}

/// An edge in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// Caller.
    pub source: Endpoint,
    /// Callee.
    pub destination: Endpoint,
}

impl Node {
    /// The workload of a party.
    #[must_use]
    pub fn of(party: &Party) -> Self {
        Self { cluster: party.cluster, namespace: party.namespace, workload: party.workload }
    }

    /// True when the workload is known.
    #[must_use]
    pub fn known(self) -> bool {
        self.workload.present()
    }

    /// In words, with the principal that goes with it.
    #[must_use]
    pub fn endpoint(self, principal: Symbol, symbols: &SymbolTable) -> Endpoint {
        Endpoint {
            cluster: symbols.resolve(self.cluster).to_owned(),
            namespace: symbols.resolve(self.namespace).to_owned(),
            workload: symbols.resolve(self.workload).to_owned(),
            principal: symbols.resolve(principal).to_owned(),
        }
    }
}

impl EdgeKey {
    /// What edges without room are counted as together.
    #[must_use]
    pub fn pooled(self) -> Self {
        let overflow = Node { workload: Symbol::OVERFLOW, ..Node::default() };
        Self { source: overflow, destination: overflow, external: self.external }
    }

    /// The key's text fields in a fixed order: what sorting and stable hashes use, never the symbols' numbers.
    #[must_use]
    pub fn names<'a>(&self, symbols: &'a SymbolTable) -> [&'a str; 6] {
        self.symbols().map(|symbol| symbols.resolve(symbol))
    }

    /// The symbols of [`EdgeKey::names`], in the same order.
    #[must_use]
    pub fn symbols(&self) -> [Symbol; 6] {
        let Self { source, destination, .. } = self;
        [
            source.cluster,
            source.namespace,
            source.workload,
            destination.cluster,
            destination.namespace,
            destination.workload,
        ]
    }

    /// In words, with the principals seen.
    #[must_use]
    pub fn edge(
        &self,
        source_principal: Symbol,
        destination_principal: Symbol,
        symbols: &SymbolTable,
    ) -> Edge {
        Edge {
            source: self.source.endpoint(source_principal, symbols),
            destination: self.destination.endpoint(destination_principal, symbols),
        }
    }
}

impl Endpoint {
    /// Short name for people: `namespace/workload`, the bare host, or `unknown`.
    #[must_use]
    pub fn label(&self) -> String {
        match (self.namespace.as_str(), self.workload.as_str()) {
            (_, "") => "an unidentified client".to_owned(),
            ("", workload) => workload.to_owned(),
            (namespace, workload) => format!("{namespace}/{workload}"),
        }
    }
}

impl Edge {
    /// `source -> destination` for people.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} -> {}", self.source.label(), self.destination.label())
    }
}
