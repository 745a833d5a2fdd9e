//! What a fuzzer needs: a stream's protocol without its socket. Not in what is shipped.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use prost::Message;

use super::config::ResourceNames;
use super::node::{NAME_BYTES_MAX, Workload};
use super::protocol::{Delta, Protocol, Request, StateOfTheWorld};
use super::subscription::{Heard, Subscription};
use super::world::{PolicyWorld, View};

/// Names of one subscription.
const NAMES_MAX: usize = 64;

/// One stream, from its first message on.
pub struct Conversation {
    whole: bool,
    subscription: Subscription,
    workload: Option<Workload>,
    world: Arc<PolicyWorld>,
    stuck: bool,
    nonce: String,
}

impl Conversation {
    /// A stream of either protocol, while this is published.
    #[must_use]
    pub fn new(whole: bool, world: Arc<PolicyWorld>) -> Self {
        let subscription = Subscription::new(whole, NAMES_MAX);
        Self { whole, subscription, workload: None, world, stuck: false, nonce: String::new() }
    }

    /// Something else is published.
    pub fn publish(&mut self, world: Arc<PolicyWorld>) {
        self.world = world;
        self.answer_if_due();
    }

    /// The proxy took too long.
    pub fn lose_patience(&mut self) {
        self.stuck = self.subscription.waiting();
        self.answer_if_due();
    }

    /// A message as it comes over the wire. False when it ends the stream.
    pub fn message(&mut self, bytes: &[u8]) -> bool {
        let request = match self.whole {
            true => DiscoveryRequest::decode(bytes).map(StateOfTheWorld::read),
            false => DeltaDiscoveryRequest::decode(bytes).map(Delta::read),
        };
        request.is_ok_and(|request| self.hear(request))
    }

    /// What a proxy says that takes the last answer, or does not, and goes on asking for these names.
    pub fn reply(&mut self, names: &[&str], accepts: bool) -> bool {
        use super::subscription::{Asked, Names};
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let names = match self.whole {
            true => Names::All { names, version: String::new() },
            false => Names::Change { add: names, remove: Vec::new(), versions: Default::default() },
        };
        let error = (!accepts).then(|| "no".to_owned());
        self.hear(Request { node: None, asked: Ok(Asked { nonce: self.nonce.clone(), error, names }) })
    }

    fn hear(&mut self, request: Request) -> bool {
        if self.workload.is_none() {
            // As a session has it: the first message names the node.
            let workload = request.node.as_ref().map_or_else(Workload::default, Workload::of_node);
            for name in [&workload.cluster, &workload.namespace, &workload.workload] {
                assert!(name.len() <= NAME_BYTES_MAX, "names that are kept are bounded");
            }
            self.workload = Some(workload);
        }
        let Ok(asked) = request.asked else { return true };
        let waited = self.subscription.waiting();
        match self.subscription.hear(asked) {
            Heard::TooMany => return false,
            Heard::Acked { .. } | Heard::Nacked { .. } => {
                assert!(waited, "an answer is taken once");
                assert!(!self.subscription.waiting(), "and is then not on its way any more");
                self.stuck = false;
            }
            Heard::Wish | Heard::Stale => {}
        }
        assert!(self.subscription.names().len() <= NAMES_MAX, "names are bounded");
        let view = self.view();
        if self.subscription.recognise(&view) {
            assert_eq!(self.subscription.version_accepted(), self.subscription.version_wanted(&view));
        }
        self.answer_if_due();
        true
    }

    fn view(&self) -> View {
        self.world.view(&self.workload.clone().unwrap_or_default(), &ResourceNames::default())
    }

    fn answer_if_due(&mut self) {
        let view = self.view();
        if !self.subscription.due(&view, self.stuck) {
            return;
        }
        assert!(self.stuck || !self.subscription.waiting(), "one answer is on its way at a time");
        let answer = self.subscription.answer(&view);
        self.stuck = false;
        for name in answer.resources.iter().map(|(name, _, _)| name).chain(&answer.gone) {
            assert!(self.subscription.names().contains(name), "nothing is sent that nobody asked for");
        }
        assert!(!self.whole || answer.gone.is_empty(), "state of the world has no way to say it");
        assert_ne!(answer.nonce, self.nonce, "each answer has its own nonce");
        assert!(!self.subscription.due(&view, false), "who was told is not told again");
        self.nonce = answer.nonce.clone();
        match self.whole {
            true => drop(StateOfTheWorld::write(answer).encode_to_vec()),
            false => drop(Delta::write(answer).encode_to_vec()),
        }
    }
}
