//! Who is connected and what they have: the one place that all streams write and the engine reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::node::Workload;
use super::world::PolicyWorld;

/// What the server shares with its streams.
pub(crate) struct Registry {
    nodes: Mutex<BTreeMap<u64, Entry>>,
    streams: AtomicU64,
    events: mpsc::Sender<XdsEvent>,
    pub(crate) worlds: watch::Sender<Option<Published>>,
    pub(crate) stats: XdsStats,
}

/// A world, and which publication it is, from 1.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) number: u64,
    pub(crate) world: Arc<PolicyWorld>,
}

struct Entry {
    since: Instant,
    state: NodeState,
}

/// One connected proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// `node.id`, by the proxy's own word.
    pub node: String,
    /// Whose proxy it says it is.
    pub workload: Workload,
    /// Where it connected from.
    pub peer: Option<SocketAddr>,
    /// How long ago the stream began.
    pub connected_for: Duration,
    /// Speaks delta; else state of the world.
    pub delta: bool,
    /// Resources it asks for.
    pub names: BTreeSet<String>,
    /// The publication that `wanted` is of, as [`XdsHandle::publish`] numbered it; 0 before the first. Of a proxy that no
    /// publication concerned since, an older one.
    pub world: u64,
    /// Version it should have; `None` before the first publication, or when it asks for nothing of ours.
    pub wanted: Option<String>,
    /// Version it was last sent on this stream.
    pub pushed: Option<String>,
    /// Version it has: the last one it acknowledged, or that it said it had when it came.
    pub acked: Option<String>,
    /// The last version it refused, until it takes one.
    pub nacked: Option<Rejection>,
    /// It has not answered the last push in time.
    pub stuck: bool,
    /// Quarantines in what it should have.
    pub quarantines: BTreeSet<String>,
    /// Quarantines in the version that it was last sent, or had when it came.
    pub sent: BTreeSet<String>,
    /// Quarantines of its workload in resources that it does not ask for: it will never enforce them.
    pub unasked: BTreeSet<String>,
}

impl NodeState {
    /// True when the proxy has taken exactly what it should have.
    #[must_use]
    pub fn in_sync(&self) -> bool {
        self.wanted.is_some() && self.wanted == self.acked
    }
}

/// A version that a proxy refused; it goes on with what it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The version.
    pub version: String,
    /// What the proxy says, cut at 512 bytes. It may quote the resource: not for untrusted eyes.
    pub error: String,
}

/// Something a proxy did, or that was done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdsEvent {
    /// `node.id`.
    pub node: String,
    /// Whose proxy.
    pub workload: Workload,
    /// Quarantines in the version that it was last sent, or had when it came: what was pushed, taken, refused.
    pub quarantines: BTreeSet<String>,
    /// What.
    pub kind: XdsEventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdsEventKind {
    /// Its first message came.
    Connected,
    /// This version was sent.
    Pushed {
        /// The version.
        version: String,
    },
    /// It has taken this version, or had it when it came.
    Acked {
        /// The version.
        version: String,
    },
    /// It refused a version and keeps what it had.
    Nacked(Rejection),
    /// It does not answer.
    Stuck {
        /// The version that it was sent.
        version: String,
    },
    /// Its stream ended. It keeps enforcing what it has.
    Disconnected,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct XdsStats {
    /// Streams and connections refused because there were too many.
    pub refused: AtomicU64,
    /// Streams without the token.
    pub unauthenticated: AtomicU64,
    /// TLS handshakes that failed.
    pub handshakes_failed: AtomicU64,
    /// Requests for types that are not ours.
    pub foreign: AtomicU64,
    /// Events that nobody read in time.
    pub events_lost: AtomicU64,
}

/// Adds one to a count.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Registry {
    pub(crate) fn new(events_max: usize) -> (Arc<Self>, mpsc::Receiver<XdsEvent>) {
        let (events, receiver) = mpsc::channel(events_max.max(1));
        let registry = Self {
            nodes: Mutex::default(),
            streams: AtomicU64::new(0),
            events,
            worlds: watch::Sender::new(None),
            stats: XdsStats::default(),
        };
        (Arc::new(registry), receiver)
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // Entries are replaced whole, so a panic elsewhere leaves none half written.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &NodeState, kind: XdsEventKind) {
        let event = XdsEvent {
            node: state.node.clone(),
            workload: state.workload.clone(),
            quarantines: state.sent.clone(),
            kind,
        };
        if self.events.try_send(event).is_err() {
            count(&self.stats.events_lost);
        }
    }
}

/// A proxy's entry, for as long as its stream lives.
pub(crate) struct Presence {
    registry: Arc<Registry>,
    stream: u64,
    pub(crate) state: NodeState,
}

impl Presence {
    pub(crate) fn new(registry: Arc<Registry>, state: NodeState) -> Self {
        let stream = registry.streams.fetch_add(1, Ordering::Relaxed);
        registry.nodes().insert(stream, Entry { since: Instant::now(), state: state.clone() });
        registry.tell(&state, XdsEventKind::Connected);
        Self { registry, stream, state }
    }

    /// Shows the state as it is now, then tells the event.
    pub(crate) fn show(&self, event: Option<XdsEventKind>) {
        if let Some(entry) = self.registry.nodes().get_mut(&self.stream) {
            entry.state.clone_from(&self.state);
        }
        if let Some(kind) = event {
            self.registry.tell(&self.state, kind);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.registry.nodes().remove(&self.stream);
        self.registry.tell(&self.state, XdsEventKind::Disconnected);
    }
}

/// What may be looked at from outside: how proxies stand, not what they should have.
#[derive(Clone)]
pub struct XdsView {
    registry: Arc<Registry>,
}

impl std::fmt::Debug for XdsView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("XdsView")
    }
}

/// Connected proxies by how they stand, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdsStanding {
    /// They have taken exactly what they should have, or nothing concerns them.
    pub in_sync: u64,
    /// An answer is on its way.
    pub behind: u64,
    /// They have refused what they should have, and go on with what they had.
    pub refusing: u64,
    /// They have left an answer unacknowledged for too long.
    pub stuck: u64,
}

impl XdsView {
    /// How the connected proxies stand.
    #[must_use]
    pub fn standing(&self) -> XdsStanding {
        let mut standing = XdsStanding::default();
        for Entry { state, .. } in self.registry.nodes().values() {
            let count = if state.stuck {
                &mut standing.stuck
            } else if state.nacked.is_some() {
                &mut standing.refusing
            } else if state.wanted.is_none() || state.in_sync() {
                &mut standing.in_sync
            } else {
                &mut standing.behind
            };
            *count += 1;
        }
        standing
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> &XdsStats {
        &self.registry.stats
    }
}

/// The engine's side of the xDS server.
#[derive(Clone)]
pub struct XdsHandle {
    pub(crate) registry: Arc<Registry>,
}

impl XdsHandle {
    /// Makes this what the proxies should have. The streams that it concerns send it; the first call opens them.
    ///
    /// Only to be called with a set that was loaded from the store or written to it: it replaces what is enforced.
    /// The number of the publication is returned; a proxy has it when its state has this number and is in sync.
    pub fn publish(&self, world: Arc<PolicyWorld>) -> u64 {
        let mut number = 1;
        self.registry.worlds.send_modify(|published| {
            number += published.as_ref().map_or(0, |published| published.number);
            *published = Some(Published { number, world });
        });
        number
    }

    /// The connected proxies, one entry per stream, in order of connection. A proxy whose connection broke off without a
    /// word stays until its keepalive fails (40 s).
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeState> {
        let nodes = self.registry.nodes();
        let state = |entry: &Entry| NodeState { connected_for: entry.since.elapsed(), ..entry.state.clone() };
        nodes.values().map(state).collect()
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> &XdsStats {
        &self.registry.stats
    }

    /// For whoever may only look.
    #[must_use]
    pub fn view(&self) -> XdsView {
        XdsView { registry: Arc::clone(&self.registry) }
    }
}

/// At most so many bytes of a text, at a character's boundary.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}
