//! The join itself: the open records of one group become hops, and hops find their mates.
//!
//! A pure function of the set of records: they are sorted first, so the order of arrival has no say. Groups never
//! mix. Inside a group, span ids link exactly; without them a pair needs the same request id (or two agreeing
//! identities), nested times and the same method, and nobody's identity contradicted.

use std::time::Duration;

use selvedge_model::{EventTime, IdentitySource, Observation, Party, Security, Side, SpanId};

use crate::agreement::{RETRY_SKEW_MAX, exact, nested, pairable, same_reporter};
use crate::hop::{Counted, Hop, Link, Offer, canonical, fill_what};
use crate::slab::{NIL, Slab};
use crate::stub::{Relation, Stub, StubIndex};

/// Candidates looked at for one record or hop: a hostile group costs this factor at worst, and loses pairs.
pub(crate) const SCAN_MAX: usize = 64;

/// Where one record went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The record's slot.
    pub(crate) slot: u32,
    /// Its hop.
    pub(crate) hop: u32,
    /// The hop had this very record already.
    pub(crate) duplicate: bool,
}

/// Working memory of the join, used again for every group.
#[derive(Default)]
pub(crate) struct Assembly {
    slots: Vec<u32>,
    parts: Vec<Part>,
    hops: Vec<Hop>,
    servers: Vec<u32>,
    clients: Vec<u32>,
    stubs: StubIndex,
}

impl Assembly {
    /// Builds and pairs the hops of the records in the list from `head`; first those of calls counted before.
    pub(crate) fn assemble(
        &mut self,
        records: &Slab<Observation>,
        head: u32,
        stubs: &mut Slab<Stub>,
        first_stub: u32,
    ) {
        self.load(records, head);
        self.form_hops(records);
        if first_stub != NIL {
            self.meet_stubs(stubs, first_stub);
        }
        self.link_by_span_id();
        self.absorb();
        self.pair_by_request();
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// The hop that stands for the call which hop `at` belongs to: the callee's, else the caller's.
    pub(crate) fn root_of(&self, at: u32) -> u32 {
        let at = self.keeper_of(at);
        let hop = &self.hops[at as usize];
        if hop.facts.side == Side::Client && hop.mate != NIL { hop.mate } else { at }
    }

    /// When the call of a root hop is complete; one that only one side reported waits `grace` for the other.
    pub(crate) fn due(&self, root: u32, grace: Duration) -> EventTime {
        let hop = &self.hops[root as usize];
        match self.hops.get(hop.mate as usize) {
            Some(mate) => hop.end.max(mate.end),
            None if hop.counted == Counted::Vouched => hop.end,
            None => hop.end.after(grace),
        }
    }

    /// True when nothing better can be learned of the call by waiting: both sides have said their last word, and they
    /// certainly belong together, or as certainly as it ever gets where callees cannot tell who calls them.
    pub(crate) fn whole(&self, root: u32) -> bool {
        let hop = &self.hops[root as usize];
        let mate = self.hops.get(hop.mate as usize);
        let nobody_tells = hop.link == Link::Unconfirmed && !hop.facts.peer.workload.present();
        (hop.link >= Link::Strict || nobody_tells)
            && hop.facts.last_word
            && mate.is_some_and(|mate| mate.facts.last_word)
    }

    fn load(&mut self, records: &Slab<Observation>, head: u32) {
        self.slots.clear();
        let mut at = head;
        while at != NIL {
            self.slots.push(at);
            at = records.next(at);
        }
        self.slots.sort_unstable_by(|left, right| canonical(records.get(*left), records.get(*right)));
    }

    fn form_hops(&mut self, records: &Slab<Observation>) {
        self.parts.clear();
        self.hops.clear();
        let slots = std::mem::take(&mut self.slots);
        for slot in &slots {
            let (hop, duplicate) = self.place(*slot, records);
            self.parts.push(Part { slot: *slot, hop, duplicate });
        }
        self.slots = slots;
    }

    /// The hop of a record, new if no other takes it, and whether it was a duplicate there.
    fn place(&mut self, slot: u32, records: &Slab<Observation>) -> (u32, bool) {
        let record = records.get(slot);
        let named = record.span_id.present();
        for (at, hop) in self.hops.iter_mut().enumerate().rev().take(SCAN_MAX) {
            // Sorted: once the side, or for named records the span id, is another, no hop before can take it.
            if hop.facts.side != record.side || (named && hop.facts.span_id != record.span_id) {
                break;
            }
            let offer = hop.offer(slot, records);
            if offer != Offer::Refused {
                return (number(at), offer == Offer::Duplicate);
            }
        }
        self.hops.push(Hop::new(slot, record));
        (number(self.hops.len() - 1), false)
    }

    /// Hops of calls that were counted before are not counted again.
    fn meet_stubs(&mut self, stubs: &mut Slab<Stub>, first: u32) {
        self.stubs.build(stubs, first);
        for hop in &mut self.hops {
            hop.counted = match self.stubs.find(hop, stubs) {
                Relation::None => Counted::No,
                Relation::Part => Counted::Part,
                Relation::Retry => Counted::Vouched,
            };
        }
    }

    fn link_by_span_id(&mut self) {
        self.servers.clear();
        let linked =
            |hop: &Hop| hop.facts.side == Side::Server && hop.facts.parent_span_id.present() && hop.free();
        self.servers.extend((0..number(self.hops.len())).filter(|at| linked(&self.hops[*at as usize])));
        let hops = &self.hops;
        self.servers.sort_by_key(|at| (hops[*at as usize].facts.start, hops[*at as usize].facts.end));
        let servers = std::mem::take(&mut self.servers);
        // Those whose caller is confirmed come first: an id that was copied by somebody unknown does not take a
        // place from its owner.
        for confirmed in [true, false] {
            for server in &servers {
                if self.hops[*server as usize].free() {
                    self.link_to_parent(*server, confirmed);
                }
            }
        }
        self.servers = servers;
    }

    fn link_to_parent(&mut self, server: u32, confirmed: bool) {
        let facts = &self.hops[server as usize].facts;
        let link = if confirmed { Link::Exact } else { Link::Unconfirmed };
        let mut parent = None;
        for at in self.named(Side::Client, facts.parent_span_id) {
            let client = &self.hops[at as usize];
            match exact(&client.facts, facts) {
                Some(agrees) if agrees || !confirmed => {}
                _ => continue,
            }
            if client.free() {
                self.mate(at, server, link);
                return;
            }
            let retry = client.link == link && nested(facts, &client.facts, RETRY_SKEW_MAX);
            if retry && client.counted == Counted::No {
                // A retry: the caller's one view covers several attempts, each of which is a call. An unknown caller
                // is no retry of a known one.
                let hop = &mut self.hops[server as usize];
                (hop.mate, hop.link) = (at, link);
                return;
            }
            parent = Some(client.facts.reporter);
        }
        if let Some(caller) = parent.filter(|_| !confirmed) {
            self.name_caller(server, caller); // For instance one of several consumers of a message.
        }
    }

    fn mate(&mut self, client: u32, server: u32, link: Link) {
        for (own, other) in [(client, server), (server, client)] {
            let hop = &mut self.hops[own as usize];
            (hop.mate, hop.link) = (other, link);
        }
    }

    /// Spans of one side inside each other, of one workload, are one hop: an application's own span and its proxy's.
    /// The one nearest to the network speaks: the innermost of the caller's, the outermost of the callee's.
    fn absorb(&mut self) {
        for at in 0..number(self.hops.len()) {
            let hop = &self.hops[at as usize];
            if !hop.facts.parent_span_id.present() || !hop.speaks() {
                continue;
            }
            let side = hop.facts.side;
            let Some(parent) = self.named(side, hop.facts.parent_span_id).find(|parent| *parent != at) else {
                continue;
            };
            let outer = &self.hops[parent as usize];
            if !outer.speaks() {
                continue;
            }
            if !same_reporter(&hop.facts, &outer.facts) {
                let caller = outer.facts.reporter;
                self.name_caller(at, caller);
                continue;
            }
            match (hop.mate != NIL, outer.mate != NIL) {
                (true, true) => {}
                (true, false) => self.speak_for(parent, at),
                (false, true) => self.speak_for(at, parent),
                (false, false) if side == Side::Client => self.speak_for(parent, at),
                (false, false) => self.speak_for(at, parent),
            }
        }
        self.flatten();
    }

    /// A callee's span directly under another workload's: nobody reported as its caller, but the parent is known.
    /// Only where the telemetry knows no connections; a proxy would have known its caller, and did not.
    fn name_caller(&mut self, at: u32, caller: Party) {
        let hop = &mut self.hops[at as usize];
        let facts = &hop.facts;
        let unnamed = facts.security == Security::Unknown
            && !facts.peer.workload.present()
            && !facts.peer.principal.present();
        if hop.facts.side == Side::Server && hop.mate == NIL && unnamed {
            hop.facts.peer =
                Party { source: IdentitySource::ParentSpan, principal: hop.facts.peer.principal, ..caller };
        }
    }

    fn speak_for(&mut self, absorbed: u32, keeper: u32) {
        debug_assert!(
            self.hops[keeper as usize].keeper == NIL,
            "both spoke for themselves, so there is no circle"
        );
        self.hops[absorbed as usize].keeper = keeper;
        let facts = self.hops[absorbed as usize].facts;
        fill_what(&mut self.hops[keeper as usize].facts, &facts);
    }

    fn keeper_of(&self, mut at: u32) -> u32 {
        while self.hops[at as usize].keeper != NIL {
            at = self.hops[at as usize].keeper;
        }
        at
    }

    /// Points every absorbed hop straight at the one that speaks for it, so that a long chain is walked once.
    fn flatten(&mut self) {
        for at in 0..number(self.hops.len()) {
            let root = self.keeper_of(at);
            let mut step = at;
            while step != root {
                let next = self.hops[step as usize].keeper;
                self.hops[step as usize].keeper = root;
                step = next;
            }
        }
    }

    fn pair_by_request(&mut self) {
        for (side, list) in [(Side::Client, &mut self.clients), (Side::Server, &mut self.servers)] {
            list.clear();
            let lone = |hop: &Hop| hop.facts.side == side && hop.free();
            list.extend((0..number(self.hops.len())).filter(|at| lone(&self.hops[*at as usize])));
        }
        if self.clients.is_empty() || self.servers.is_empty() {
            return;
        }
        let hops = &self.hops;
        let by_start = |at: &u32| (hops[*at as usize].facts.start, hops[*at as usize].facts.end);
        self.clients.sort_by_key(by_start);
        self.servers.sort_by_key(by_start);
        for strict in [true, false] {
            for at in 0..self.servers.len() {
                let server = self.servers[at];
                if self.hops[server as usize].free() {
                    self.pair(server, strict);
                }
            }
        }
    }

    fn pair(&mut self, server: u32, strict: bool) {
        let facts = &self.hops[server as usize].facts;
        let free = self.clients.iter().filter(|at| self.hops[**at as usize].free()).take(SCAN_MAX);
        let found = free.copied().find(|at| pairable(&self.hops[*at as usize].facts, facts, strict));
        if let Some(client) = found {
            self.mate(client, server, if strict { Link::Strict } else { Link::Loose });
        }
    }

    /// Hops of a side with this span id; hops are in canonical order.
    fn named(&self, side: Side, id: SpanId) -> impl Iterator<Item = u32> + use<> {
        let key = |hop: &Hop| (hop.facts.side, !hop.facts.span_id.present(), hop.facts.span_id);
        let first = self.hops.partition_point(|hop| key(hop) < (side, false, id));
        let same =
            self.hops[first..].iter().take(SCAN_MAX).take_while(|hop| key(hop) == (side, false, id)).count();
        number(first)..number(first + same)
    }
}

/// Positions inside a group: groups are bounded far below `u32`.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NIL)
}
