//! What one proxy has asked for, been sent and taken: the protocol as a state machine, without a socket or a clock.
//!
//! One answer is on its way at a time. What is published until it is acknowledged is compared when it is, so that a slow
//! proxy gets the latest state and never a queue of old ones. State-of-the-world and delta differ in what a request says
//! (`protocol.rs`) and in what an answer holds: all that was asked for, or what has changed.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::google::protobuf::Any;

use super::world::{Content, View};

/// Versions by resource name. The empty version says that there is no such resource.
pub(crate) type Versions = BTreeMap<String, String>;

/// A request in words that both protocols share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Which answer it is about; empty when about none.
    pub(crate) nonce: String,
    /// Why that answer was not taken.
    pub(crate) error: Option<String>,
    /// What is asked for.
    pub(crate) names: Names,
}

/// The names of a request.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// State of the world: these and no others, with the version the proxy says it has of them together.
    All { names: Vec<String>, version: String },
    /// Delta: these too, and those no longer, with the versions the proxy says it has.
    Change { add: Vec<String>, remove: Vec<String>, versions: Versions },
}

impl Default for Names {
    fn default() -> Self {
        Self::Change { add: Vec::new(), remove: Vec::new(), versions: Versions::new() }
    }
}

/// What a request told us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// What it wants.
    Wish,
    /// It took the answer of this version.
    Acked { version: String },
    /// It did not, and keeps what it had.
    Nacked { version: String, error: String },
    /// About an answer that is not the last: there is a newer request to come.
    Stale,
    /// It asks for more names than are allowed.
    TooMany,
}

/// An answer in words that both protocols share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) nonce: String,
    pub(crate) version: String,
    /// Name, version, content.
    pub(crate) resources: Vec<(String, String, Any)>,
    /// Names that stand for nothing.
    pub(crate) gone: Vec<String>,
}

/// The subscription of one stream.
#[derive(Debug)]
pub(crate) struct Subscription {
    whole: bool,
    names: BTreeSet<String>,
    names_max: usize,
    /// What it was last sent, or says it has.
    held: Versions,
    /// What it has taken, or says it has.
    accepted: Versions,
    /// State of the world: what it says it has, until it can be compared.
    claimed: Option<String>,
    in_flight: Option<String>,
    nonce: u64,
    recognised: bool,
}

impl Subscription {
    /// Of a new stream. `whole` when answers hold everything (state of the world).
    pub(crate) fn new(whole: bool, names_max: usize) -> Self {
        Self {
            whole,
            names: BTreeSet::new(),
            names_max,
            held: Versions::new(),
            accepted: Versions::new(),
            claimed: None,
            in_flight: None,
            nonce: 0,
            recognised: false,
        }
    }

    /// Takes a request in.
    pub(crate) fn hear(&mut self, asked: Asked) -> Heard {
        let heard = self.hear_of_answer(&asked);
        match asked.names {
            // Its names are those of before our newer answer; the request about that one repeats them.
            Names::All { .. } if heard == Heard::Stale => return heard,
            Names::All { names, version } => self.want_all(names, version, asked.nonce.is_empty()),
            Names::Change { add, remove, versions } => self.change(add, &remove, &versions),
        }
        if self.names.len() > self.names_max { Heard::TooMany } else { heard }
    }

    fn hear_of_answer(&mut self, asked: &Asked) -> Heard {
        if asked.nonce.is_empty() || self.nonce == 0 {
            return Heard::Wish;
        }
        if asked.nonce != self.nonce.to_string() {
            return Heard::Stale;
        }
        let Some(version) = self.in_flight.take() else { return Heard::Wish };
        match &asked.error {
            Some(error) => Heard::Nacked { version, error: error.clone() },
            None => {
                self.accepted.clone_from(&self.held);
                Heard::Acked { version }
            }
        }
    }

    fn want_all(&mut self, names: Vec<String>, version: String, first: bool) {
        self.names = names.into_iter().collect();
        self.forget_unwanted();
        if first && !version.is_empty() && self.nonce == 0 {
            self.claimed = Some(version);
        }
    }

    fn change(&mut self, add: Vec<String>, remove: &[String], versions: &Versions) {
        for name in remove {
            self.names.remove(name);
        }
        self.forget_unwanted();
        for name in add {
            // Asked for again: it is sent again, unless the proxy says that it has it.
            self.held.remove(&name);
            self.accepted.remove(&name);
            if let Some(version) = versions.get(&name) {
                self.held.insert(name.clone(), version.clone());
                self.accepted.insert(name.clone(), version.clone());
            }
            self.names.insert(name);
        }
    }

    fn forget_unwanted(&mut self) {
        let Self { names, held, accepted, .. } = self;
        held.retain(|name, _| names.contains(name));
        accepted.retain(|name, _| names.contains(name));
    }

    /// What the proxy should have of what it asks for.
    fn wanted(&self, view: &View) -> Versions {
        let version = |name: &String| match view.resources.get(name) {
            Some(resource) => Some((name.clone(), resource.version.clone())),
            // State of the world has no way to say that a name stands for nothing.
            None => (!self.whole).then(|| (name.clone(), String::new())),
        };
        self.names.iter().filter_map(version).collect()
    }

    /// Compares what a reconnecting proxy says it has with what it should have. True when it need not be sent anything,
    /// and this is news.
    pub(crate) fn recognise(&mut self, view: &View) -> bool {
        let wanted = self.wanted(view);
        if let Some(claimed) = self.claimed.take()
            && claimed == together(&wanted)
        {
            self.held.clone_from(&wanted);
            self.accepted.clone_from(&wanted);
        }
        let news = !self.recognised && self.nonce == 0 && !wanted.is_empty() && wanted == self.accepted;
        self.recognised |= news;
        news
    }

    /// True when the proxy should be sent something now. A stuck one is not waited for.
    pub(crate) fn due(&self, view: &View, stuck: bool) -> bool {
        (self.in_flight.is_none() || stuck) && self.wanted(view) != self.held
    }

    /// True while an answer is on its way.
    pub(crate) fn waiting(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The answer that brings the proxy up to date. It is on its way from now on.
    pub(crate) fn answer(&mut self, view: &View) -> Answer {
        let wanted = self.wanted(view);
        self.nonce += 1;
        let mut answer =
            Answer { nonce: self.nonce.to_string(), version: together(&wanted), ..Answer::default() };
        for (name, version) in &wanted {
            if !self.whole && self.held.get(name) == Some(version) {
                continue;
            }
            match view.resources.get(name) {
                Some(resource) => {
                    answer.resources.push((name.clone(), version.clone(), resource.config.clone()));
                }
                None => answer.gone.push(name.clone()),
            }
        }
        self.held = wanted;
        self.in_flight = Some(answer.version.clone());
        answer
    }

    /// Version of what the proxy should have; `None` when it asks for nothing of ours.
    pub(crate) fn version_wanted(&self, view: &View) -> Option<String> {
        let wanted = self.wanted(view);
        (!wanted.is_empty()).then(|| together(&wanted))
    }

    /// Version of what the proxy has taken.
    pub(crate) fn version_accepted(&self) -> Option<String> {
        (!self.accepted.is_empty()).then(|| together(&self.accepted))
    }

    /// Names it asks for.
    pub(crate) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }
}

/// The version of several resources.
fn together(versions: &Versions) -> String {
    let mut content = Content::new(b"versions");
    for (name, version) in versions {
        content.add(name.as_bytes());
        content.add(version.as_bytes());
    }
    content.hex()
}
