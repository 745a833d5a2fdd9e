//! One stream: chooses what happens next, and lets `subscription.rs` decide what it means.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::config::ResourceNames;
use super::node::{NAME_BYTES_MAX, Workload};
use super::protocol::{Protocol, Request};
use super::registry::{NodeState, Presence, Published, Registry, Rejection, XdsEventKind, count, cut};
use super::subscription::{Answer, Heard, Subscription};
use super::world::View;

/// Bytes kept of what a proxy says about a version it refuses.
const ERROR_BYTES_MAX: usize = 512;

/// What every stream needs.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) registry: Arc<Registry>,
    pub(crate) resources: ResourceNames,
    pub(crate) names_max: usize,
    pub(crate) stuck_after: Duration,
    /// Streams end.
    pub(crate) closing: CancellationToken,
}

/// One stream of a proxy.
pub(crate) struct Session {
    terms: Terms,
    peer: Option<SocketAddr>,
    delta: bool,
    worlds: watch::Receiver<Option<Published>>,
    subscription: Subscription,
    /// From its first message on.
    presence: Option<Presence>,
    /// What it may ask for, once something was published and it has said who it is.
    view: Option<View>,
    /// Something of it is cut.
    concerned: bool,
    /// When the answer on its way was sent.
    sent: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Session {
    pub(crate) fn new<P: Protocol>(
        terms: Terms,
        peer: Option<SocketAddr>,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        let worlds = terms.registry.worlds.subscribe();
        let subscription = Subscription::new(P::WHOLE, terms.names_max);
        let sent = Instant::now();
        Self {
            terms,
            peer,
            delta: !P::WHOLE,
            worlds,
            subscription,
            presence: None,
            view: None,
            concerned: false,
            sent,
            _slot: slot,
        }
    }

    /// Serves the stream until the proxy ends it, breaks a rule, or the server closes.
    pub(crate) async fn run<P: Protocol>(
        mut self,
        mut requests: Streaming<P::Request>,
        answers: mpsc::Sender<Result<P::Response, Status>>,
    ) {
        let end = self.converse::<P>(&mut requests, &answers).await;
        if let Err(status) = end
            && answers.try_send(Err(status)).is_err()
        {
            tracing::debug!("a proxy that reads nothing is not told why its stream ends");
        }
    }

    async fn converse<P: Protocol>(
        &mut self,
        requests: &mut Streaming<P::Request>,
        answers: &mpsc::Sender<Result<P::Response, Status>>,
    ) -> Result<(), Status> {
        let closing = self.terms.closing.clone();
        loop {
            let patience = self.sent + self.terms.stuck_after;
            tokio::select! {
                biased;
                () = closing.cancelled() => return Err(Status::unavailable("the control plane is shutting down")),
                changed = self.worlds.changed() => {
                    changed.map_err(|_| Status::unavailable("the control plane is gone"))?;
                    self.look();
                }
                request = requests.message() => match request {
                    Ok(Some(request)) => self.hear(P::read(request))?,
                    Ok(None) => return Ok(()),
                    // Gone, or what it sent is too large or no such message.
                    Err(status) => return Err(status),
                },
                // Room for one answer: it is made when it can be sent, from what is the latest then.
                room = answers.reserve(), if self.due() => match room {
                    Ok(room) => room.send(Ok(P::write(self.answer()))),
                    Err(_) => return Ok(()),
                },
                () = sleep_until(patience), if self.waits() => self.lose_patience(),
            }
        }
    }

    fn hear(&mut self, request: Request) -> Result<(), Status> {
        if self.presence.is_none() {
            let node =
                request.node.ok_or_else(|| Status::invalid_argument("the first request names no node"))?;
            let workload = Workload::of_node(&node);
            if workload.workload.is_empty() {
                tracing::warn!(node = %node.id, "proxy names no workload and gets empty filters");
            }
            let state = NodeState {
                node: cut(&node.id, NAME_BYTES_MAX),
                workload,
                peer: self.peer,
                delta: self.delta,
                ..NodeState::default()
            };
            self.presence = Some(Presence::new(Arc::clone(&self.terms.registry), state));
            self.look();
        }
        let asked = match request.asked {
            Ok(asked) => asked,
            Err(type_url) => {
                count(&self.terms.registry.stats.foreign);
                tracing::debug!(type_url = %cut(&type_url, NAME_BYTES_MAX), "proxy asks for a type that is not ours");
                return Ok(());
            }
        };
        match self.subscription.hear(asked) {
            Heard::TooMany => {
                let max = self.terms.names_max;
                return Err(Status::resource_exhausted(format!("a subscription has at most {max} names")));
            }
            Heard::Acked { version } => {
                self.change(|state| (state.nacked, state.stuck) = (None, false));
                self.show(Some(XdsEventKind::Acked { version }));
            }
            Heard::Nacked { version, error } => {
                let rejection = Rejection { version, error: cut(&error, ERROR_BYTES_MAX) };
                self.change(|state| {
                    (state.nacked, state.stuck) = (Some(rejection.clone()), false);
                });
                self.show(Some(XdsEventKind::Nacked(rejection)));
            }
            Heard::Wish | Heard::Stale => self.show(None),
        }
        self.recognise();
        Ok(())
    }

    /// Takes over what is published, as far as it concerns this proxy.
    fn look(&mut self) {
        let Some(presence) = &self.presence else { return };
        let Some(Published { number, world }) = self.worlds.borrow_and_update().clone() else { return };
        let concerned = world.concerns(&presence.state.workload);
        if self.view.is_some() && !concerned && !self.concerned {
            return;
        }
        self.concerned = concerned;
        self.view = Some(world.view(&presence.state.workload, &self.terms.resources));
        self.change(|state| state.world = number);
        self.show(None);
        self.recognise();
    }

    /// A proxy that comes back with what it should have is left alone.
    fn recognise(&mut self) {
        let Some(view) = &self.view else { return };
        if self.subscription.recognise(view) {
            let version = self.subscription.version_accepted().unwrap_or_default();
            self.change(|state| state.sent.clone_from(&state.quarantines));
            self.show(Some(XdsEventKind::Acked { version }));
        }
    }

    fn due(&self) -> bool {
        let stuck = self.presence.as_ref().is_some_and(|presence| presence.state.stuck);
        self.view.as_ref().is_some_and(|view| self.subscription.due(view, stuck))
    }

    fn answer(&mut self) -> Answer {
        let view = self.view.as_ref().expect("an answer is due only when there is something to say");
        let answer = self.subscription.answer(view);
        self.sent = Instant::now();
        let version = answer.version.clone();
        self.change(|state| {
            (state.pushed, state.stuck) = (Some(version.clone()), false);
            state.sent.clone_from(&state.quarantines);
        });
        self.show(Some(XdsEventKind::Pushed { version }));
        answer
    }

    fn waits(&self) -> bool {
        self.subscription.waiting() && self.presence.as_ref().is_some_and(|presence| !presence.state.stuck)
    }

    fn lose_patience(&mut self) {
        self.change(|state| state.stuck = true);
        let version = self.presence.as_ref().and_then(|presence| presence.state.pushed.clone());
        self.show(Some(XdsEventKind::Stuck { version: version.unwrap_or_default() }));
    }

    fn change(&mut self, change: impl FnOnce(&mut NodeState)) {
        if let Some(presence) = &mut self.presence {
            change(&mut presence.state);
        }
    }

    /// Brings the entry in the registry up to date, then tells the event.
    fn show(&mut self, event: Option<XdsEventKind>) {
        let Some(presence) = &mut self.presence else { return };
        let (state, names) = (&mut presence.state, self.subscription.names());
        state.names.clone_from(names);
        state.acked = self.subscription.version_accepted();
        if let Some(view) = &self.view {
            state.wanted = self.subscription.version_wanted(view);
            let ids = |asked: bool| {
                let resources = view.resources.iter().filter(|(name, _)| names.contains(*name) == asked);
                resources.flat_map(|(_, resource)| resource.quarantines.iter().cloned()).collect()
            };
            (state.quarantines, state.unasked) = (ids(true), ids(false));
        }
        presence.show(event);
    }
}
