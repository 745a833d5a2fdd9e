//! Services that say which version they run, or do not.

use selvedge_learn::Baselines;
use selvedge_learn::versions::Versions;
use selvedge_model::{EventTime, Node, SymbolTable};

/// What was heard of the versions of a mesh.
#[derive(Clone)]
pub(crate) struct Said {
    versions: Versions,
    symbols: SymbolTable,
    running: Vec<u32>,
}

impl Said {
    /// Nothing yet; nothing ever without `said`.
    pub(crate) fn new(said: bool) -> Option<Self> {
        let symbols = SymbolTable::new(1 << 22);
        said.then(|| Self { versions: Versions::default(), symbols, running: Vec::new() })
    }

    /// Each service was deployed so often by now. A version is heard when it is new: between that it says nothing.
    pub(crate) fn hear(&mut self, at: EventTime, running: &[u32], nodes: &[Node], baselines: &mut Baselines) {
        for (service, version) in running.iter().enumerate() {
            if self.running.get(service) == Some(version) {
                continue;
            }
            let version = self.symbols.intern(&format!("service.version=1.{version}.0"));
            let heard = self.versions.hear(nodes[service], version, at, &self.symbols);
            if let Some(deployment) = heard.filter(|deployment| deployment.excuses) {
                baselines.norms_mut().deploy(&deployment.node, deployment.at);
            }
        }
        running.clone_into(&mut self.running);
    }
}
