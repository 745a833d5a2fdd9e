//! Who a principal is: certificates name service accounts, proxies name workloads; learned from what proxies say of
//! themselves, so that a caller known only by its certificate gets the same name as when its own proxy reports.

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{IdentitySource, Node, Party, Symbol};

use crate::config::JoinConfig;

/// Workload by principal. An entry is never silently replaced: a second workload of the same principal makes it
/// shared for good, so that a proxy that claims somebody else's principal cannot take the name over.
pub struct Directory {
    entries: FixedMap<Symbol, Entry>,
    entries_max: usize,
    refused: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    One(Node),
    Shared,
}

impl Directory {
    /// Nobody known.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self { entries: FixedMap::with_hasher(fixed_state()), entries_max: config.directory_max, refused: 0 }
    }

    /// `party` reports and says that `principal` is its own. Only a proxy's metadata counts, and only a full name.
    pub fn learn(&mut self, principal: Symbol, party: &Party) {
        let named = party.workload.present() && party.workload != Symbol::OVERFLOW;
        if !principal.present()
            || principal == Symbol::OVERFLOW
            || !named
            || party.source != IdentitySource::ProxyMetadata
        {
            return;
        }
        let node = Node::of(party);
        if let Some(entry) = self.entries.get_mut(&principal) {
            if *entry != Entry::One(node) {
                *entry = Entry::Shared;
            }
        } else if self.entries.len() < self.entries_max {
            self.entries.insert(principal, Entry::One(node));
        } else {
            self.refused += 1;
        }
    }

    /// Names a party after its verified principal, when exactly one workload has that. Where the name comes from
    /// stays as it was: the certificate proves the principal, and the principal's owner told us its name.
    pub fn refine(&self, party: &mut Party) {
        if party.external || !party.principal.present() {
            return;
        }
        if let Some(Entry::One(node)) = self.entries.get(&party.principal) {
            party.cluster = node.cluster;
            party.namespace = node.namespace;
            party.workload = node.workload;
        }
    }

    /// Principals known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Times that a principal found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Symbol = Symbol(50);

    fn proxy(workload: u32) -> Party {
        Party {
            cluster: Symbol(7),
            namespace: Symbol(8),
            workload: Symbol(workload),
            source: IdentitySource::ProxyMetadata,
            ..Party::default()
        }
    }

    fn certified() -> Party {
        Party {
            workload: Symbol(99),
            principal: ACCOUNT,
            source: IdentitySource::MtlsCertificate,
            ..Party::default()
        }
    }

    #[test]
    fn a_certificates_owner_gets_its_workloads_name_and_keeps_its_proof() {
        let mut directory = Directory::new(&JoinConfig::default());
        directory.learn(ACCOUNT, &proxy(20));
        let mut party = certified();
        directory.refine(&mut party);
        assert_eq!(Node::of(&party), Node::of(&proxy(20)));
        assert_eq!(party.source, IdentitySource::MtlsCertificate);
        assert_eq!(party.principal, ACCOUNT);
    }

    #[test]
    fn a_shared_principal_stays_as_the_certificate_names_it() {
        let mut directory = Directory::new(&JoinConfig::default());
        for workload in [20, 21, 20, 20] {
            directory.learn(ACCOUNT, &proxy(workload));
        }
        let mut party = certified();
        directory.refine(&mut party);
        assert_eq!(party, certified());
    }

    #[test]
    fn only_a_proxys_own_word_is_learned() {
        let mut directory = Directory::new(&JoinConfig::default());
        directory.learn(ACCOUNT, &Party { source: IdentitySource::Header, ..proxy(20) });
        directory.learn(Symbol::NONE, &proxy(20));
        directory.learn(ACCOUNT, &proxy(0));
        assert!(directory.is_empty());
    }

    #[test]
    fn a_full_directory_keeps_the_first_and_counts_the_rest() {
        let mut directory = Directory::new(&JoinConfig { directory_max: 2, ..JoinConfig::default() });
        for principal in 100..110 {
            directory.learn(Symbol(principal), &proxy(principal));
        }
        assert_eq!((directory.len(), directory.refused()), (2, 8));
    }
}
