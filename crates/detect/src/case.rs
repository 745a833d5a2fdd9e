//! What a check looks at: one shape of one edge, with all that is known of both ends.

use std::time::Duration;

use selvedge_learn::{Baselines, DestinationBaseline, EdgeBaseline, MeshBaseline, SourceBaseline};
use selvedge_model::{
    CallShape, EdgeKey, EventTime, FindingKind, Node, ShapeStats, Symbol, SymbolTable, Window,
};

use crate::draft::Draft;
use crate::rules::RuleSet;

/// What judging needs to know beside the traffic.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Names.
    pub symbols: &'a SymbolTable,
    /// What is known; never of the window being judged.
    pub baselines: &'a Baselines,
    /// Event time of the tick that judges.
    pub now: EventTime,
    /// An approved baseline is being taken: nothing is judged.
    pub learning: bool,
}

impl Context<'_> {
    /// What people call it.
    pub(crate) fn node(&self, node: &Node) -> String {
        node.endpoint(Symbol::NONE, self.symbols).label()
    }
}

/// A shape of calls that is new on its edge in its window.
#[derive(Clone, Copy)]
pub struct Sighting<'a> {
    /// Edge.
    pub key: EdgeKey,
    /// Window.
    pub window: Window,
    /// Shape.
    pub shape: &'a CallShape,
    /// Its calls so far.
    pub stats: &'a ShapeStats,
}

/// A sighting with all that is known of its edge and ends.
pub(crate) struct Case<'a> {
    pub(crate) symbols: &'a SymbolTable,
    pub(crate) rules: &'a RuleSet,
    pub(crate) baselines: &'a Baselines,
    pub(crate) key: EdgeKey,
    pub(crate) shape: &'a CallShape,
    pub(crate) stats: &'a ShapeStats,
    pub(crate) edge: Option<&'a EdgeBaseline>,
    pub(crate) destination: Option<&'a DestinationBaseline>,
    pub(crate) source: Option<&'a SourceBaseline>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(cx: &Context<'a>, rules: &'a RuleSet, sighting: &Sighting<'a>) -> Self {
        let key = sighting.key;
        let mesh = cx.baselines.mesh();
        Self {
            symbols: cx.symbols,
            rules,
            baselines: cx.baselines,
            key,
            shape: sighting.shape,
            stats: sighting.stats,
            edge: cx.baselines.edge(&key),
            destination: mesh.destination(&key.destination),
            source: key.source.known().then(|| mesh.source(&key.source)).flatten(),
        }
    }

    pub(crate) fn mesh(&self) -> &'a MeshBaseline {
        self.baselines.mesh()
    }

    /// True when the mesh is known well enough to call something new.
    pub(crate) fn warm(&self) -> bool {
        self.mesh().warm()
    }

    /// A name as text.
    pub(crate) fn text(&self, symbol: Symbol) -> &'a str {
        self.symbols.resolve(symbol)
    }

    /// The caller for people.
    pub(crate) fn caller(&self) -> String {
        self.key.source.endpoint(Symbol::NONE, self.symbols).label()
    }

    /// The callee for people.
    pub(crate) fn callee(&self) -> String {
        match self.key.destination.known() {
            true => self.key.destination.endpoint(Symbol::NONE, self.symbols).label(),
            false => "an unidentified service".to_owned(),
        }
    }

    /// Method and route as one text.
    pub(crate) fn route(&self) -> String {
        format!("{} {}", self.text(self.shape.method), self.text(self.shape.route)).trim().to_owned()
    }

    /// A finding about the shape. With a failed handshake nobody is the source.
    pub(crate) fn draft(&self, kind: FindingKind) -> Draft {
        let failed = self.shape.handshake_failure.present();
        let mut draft = Draft::new(kind, self.stats.first);
        draft.exemplars.clone_from(&self.stats.exemplars);
        draft.destination_principal = self.shape.destination_principal;
        draft.claimed_principal = self.shape.claimed_principal;
        if !failed {
            draft.source_principal = self.shape.source_principal;
            draft.source_identity = self.shape.source_identity;
        }
        draft
    }
}

/// A time span for people: the largest unit that keeps two digits.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..180 => format!("{seconds} s"),
        180..10_800 => format!("{} min", seconds / 60),
        10_800..259_200 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
