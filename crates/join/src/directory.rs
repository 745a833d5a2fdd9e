//! Who a principal is: certificates name service accounts, proxies name workloads; learned from what proxies say of
//! themselves, so that a caller known only by its certificate gets the same name as when its own proxy reports.
//!
//! Nobody vouches for a proxy's own word, so it counts only where nobody contradicts it: the first workload that claims
//! a principal has it. A second one has to be borne out by calls ([`Contest`]): it says "that was me, with this
//! principal", and another workload, the other end, says "whoever that was showed this principal". Then the principal
//! is shared, or, when the first was never borne out, the second's. One liar can say the first of these and not the
//! second; for a call of the true owner it is contradicted by the owner's own record. What nothing in the telemetry
//! tells apart is a sender that invents calls with both their ends: who may send at all is for the receivers' TLS.

use std::collections::VecDeque;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{IdentitySource, Node, Observation, Party, Symbol};
use serde::{Deserialize, Serialize};

use crate::config::JoinConfig;
use crate::contest::Contest;

/// Contests at once; past it the oldest ends as if nobody had been borne out (policy `oldest_contest_first`).
const CONTESTS_MAX: usize = 1_024;

/// Workload by principal.
#[derive(Serialize, Deserialize)]
pub struct Directory {
    #[serde(with = "selvedge_model::hash::listed")]
    entries: FixedMap<Symbol, Entry>,
    entries_max: usize,
    #[serde(with = "selvedge_model::hash::listed")]
    contests: FixedMap<Symbol, Contest>,
    contest_order: VecDeque<Symbol>,
    refused: u64,
    contests_ended: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Entry {
    One(Holder),
    Shared,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Holder {
    node: Node,
    /// Other ends of its calls bore it out.
    proven: bool,
    /// Another workload claims the principal too.
    contested: bool,
}

impl Directory {
    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: &JoinConfig) {
        self.entries_max = config.directory_max;
    }

    /// Nobody known.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self {
            entries: FixedMap::with_hasher(fixed_state()),
            entries_max: config.directory_max,
            contests: FixedMap::with_hasher(fixed_state()),
            contest_order: VecDeque::new(),
            refused: 0,
            contests_ended: 0,
        }
    }

    /// Learns from a record of the request `key` who its reporter is, and names its other end after the verified
    /// principal, when one workload has that. Where the name comes from stays as it was: the certificate proves the
    /// principal, and the principal's owner told us its name.
    pub fn meet(&mut self, observation: &mut Observation, key: Option<u128>) {
        let reporter = observation.reporter;
        self.claim(&reporter, key);
        let verified = observation.peer.source == IdentitySource::MtlsCertificate
            && !observation.handshake_failure.present();
        let peer = &mut observation.peer;
        if peer.external || !peer.principal.present() {
            return;
        }
        let Some(Entry::One(holder)) = self.entries.get(&peer.principal) else { return };
        let contested = holder.contested;
        peer.cluster = holder.node.cluster;
        peer.namespace = holder.node.namespace;
        peer.workload = holder.node.workload;
        if contested
            && verified
            && let Some(key) = key
        {
            let principal = peer.principal;
            let witness = Node::of(&reporter);
            let contest = self.contests.get_mut(&principal);
            if let Some(node) = contest.and_then(|contest| contest.witness(key, witness)) {
                self.settle(principal, node);
            }
        }
    }

    /// `reporter` says that its principal is its own. Only a proxy's metadata counts, and only a full name.
    fn claim(&mut self, reporter: &Party, key: Option<u128>) {
        let principal = reporter.principal;
        let named = reporter.workload.present() && reporter.workload != Symbol::OVERFLOW;
        if !principal.present()
            || principal == Symbol::OVERFLOW
            || !named
            || reporter.source != IdentitySource::ProxyMetadata
        {
            return;
        }
        let node = Node::of(reporter);
        let room = self.entries.len() < self.entries_max;
        match self.entries.get_mut(&principal) {
            Some(Entry::Shared) => {}
            Some(Entry::One(holder)) if holder.node == node && !holder.contested => {}
            Some(Entry::One(holder)) => {
                let open = std::mem::replace(&mut holder.contested, true);
                if !open {
                    self.open_contest(principal);
                }
                let contest = self.contests.get_mut(&principal);
                let borne_out = key.and_then(|key| contest?.claim(key, node));
                if let Some(node) = borne_out {
                    self.settle(principal, node);
                }
            }
            None if room => {
                let holder = Holder { node, proven: false, contested: false };
                self.entries.insert(principal, Entry::One(holder));
            }
            None => self.refused += 1,
        }
    }

    fn open_contest(&mut self, principal: Symbol) {
        while self.contests.len() >= CONTESTS_MAX
            && let Some(oldest) = self.contest_order.pop_front()
        {
            if self.contests.remove(&oldest).is_some() {
                self.contests_ended += 1;
            }
            if let Some(Entry::One(holder)) = self.entries.get_mut(&oldest) {
                holder.contested = false;
            }
        }
        self.contests.insert(principal, Contest::default());
        self.contest_order.push_back(principal);
    }

    /// Enough calls bear out that the contested `principal` is `node`'s.
    fn settle(&mut self, principal: Symbol, node: Node) {
        let Some(entry) = self.entries.get_mut(&principal) else { return };
        let Entry::One(holder) = entry else { return };
        if holder.node == node {
            holder.proven = true;
            return;
        }
        *entry = if holder.proven {
            Entry::Shared
        } else {
            Entry::One(Holder { node, proven: true, contested: false })
        };
        self.contests.remove(&principal);
        self.contest_order.retain(|other| *other != principal);
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

    /// Contests that ended undecided to make room for others.
    #[must_use]
    pub fn contests_ended(&self) -> u64 {
        self.contests_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Symbol = Symbol(50);
    const OTHER: u32 = 30;

    fn proxy(workload: u32) -> Party {
        Party {
            cluster: Symbol(7),
            namespace: Symbol(8),
            workload: Symbol(workload),
            principal: ACCOUNT,
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

    /// `workload` says that it has the account, on the call `key`.
    fn claim(directory: &mut Directory, workload: u32, key: u128) {
        let mut record = Observation { reporter: proxy(workload), ..Observation::default() };
        directory.meet(&mut record, Some(key));
    }

    /// Another workload says that its peer showed the account's certificate, on the call `key`; the name it gets.
    fn verify(directory: &mut Directory, workload: u32, key: u128) -> Party {
        let reporter = Party { principal: Symbol(60), ..proxy(workload) };
        let mut record = Observation { reporter, peer: certified(), ..Observation::default() };
        directory.meet(&mut record, Some(key));
        record.peer
    }

    fn name(directory: &mut Directory) -> u32 {
        let mut record = Observation { peer: certified(), ..Observation::default() };
        directory.meet(&mut record, None);
        record.peer.workload.0
    }

    #[test]
    fn a_certificates_owner_gets_its_workloads_name_and_keeps_its_proof() {
        let mut directory = Directory::new(&JoinConfig::default());
        claim(&mut directory, 20, 1);
        let party = verify(&mut directory, OTHER, 1);
        assert_eq!(Node::of(&party), Node::of(&proxy(20)));
        assert_eq!((party.source, party.principal), (IdentitySource::MtlsCertificate, ACCOUNT));
    }

    #[test]
    fn a_principal_that_two_workloads_use_stays_as_the_certificate_names_it() {
        let mut directory = Directory::new(&JoinConfig::default());
        for key in 0..100 {
            claim(&mut directory, 20 + (key % 2) as u32, key);
            verify(&mut directory, OTHER, key);
        }
        assert_eq!(name(&mut directory), 99);
    }

    /// Scenario: a liar claims a principal that its owner uses: on calls of its own invention, on calls of the owner
    /// (which it has served, so that it knows their ids), before and after the owner's own record of them.
    /// Guarantees: the owner keeps its name.
    #[test]
    fn one_liar_makes_no_principal_ambiguous() {
        let mut directory = Directory::new(&JoinConfig::default());
        let liar = 21;
        claim(&mut directory, 20, 1);
        for key in 2..500 {
            claim(&mut directory, liar, 1_000 + key);
            if key % 2 == 0 {
                claim(&mut directory, liar, key);
            }
            verify(&mut directory, liar, key);
            verify(&mut directory, OTHER, key);
            claim(&mut directory, 20, key);
            claim(&mut directory, liar, key);
            assert_eq!(name(&mut directory), 20);
        }
    }

    #[test]
    fn a_liar_that_comes_first_loses_the_name_to_the_workload_that_calls() {
        let mut directory = Directory::new(&JoinConfig::default());
        claim(&mut directory, 21, 1);
        for key in 2..50 {
            claim(&mut directory, 20, key);
            verify(&mut directory, OTHER, key);
        }
        assert_eq!(name(&mut directory), 20);
    }

    #[test]
    fn only_a_proxys_own_word_is_learned() {
        let mut directory = Directory::new(&JoinConfig::default());
        for reporter in [
            Party { source: IdentitySource::Header, ..proxy(20) },
            Party { principal: Symbol::NONE, ..proxy(20) },
            proxy(0),
        ] {
            directory.meet(&mut Observation { reporter, ..Observation::default() }, Some(1));
        }
        assert!(directory.is_empty());
    }

    #[test]
    fn a_full_directory_keeps_the_first_and_counts_the_rest() {
        let mut directory = Directory::new(&JoinConfig { directory_max: 2, ..JoinConfig::default() });
        for principal in 100..110 {
            let reporter = Party { principal: Symbol(principal), ..proxy(principal) };
            directory.meet(&mut Observation { reporter, ..Observation::default() }, None);
        }
        assert_eq!((directory.len(), directory.refused()), (2, 8));
    }

    #[test]
    fn a_flood_of_contests_ends_the_oldest_and_counts_them() {
        let mut directory = Directory::new(&JoinConfig::default());
        let contests = u32::try_from(CONTESTS_MAX).unwrap() + 10;
        for principal in 0..contests {
            for workload in [20, 21] {
                let reporter = Party { principal: Symbol(1_000 + principal), ..proxy(workload) };
                directory.meet(&mut Observation { reporter, ..Observation::default() }, Some(1));
            }
        }
        assert_eq!((directory.contests.len(), directory.contest_order.len()), (CONTESTS_MAX, CONTESTS_MAX));
        assert_eq!(directory.contests_ended(), 10);
    }
}
