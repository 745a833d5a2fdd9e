//! What a record says of a request, in the terms in which policies ask.

use std::collections::BTreeSet;

use super::text_match::TextMatch;
use crate::pattern::Texts;
use crate::template::Template;
use crate::traffic::{TrafficRow, Truth};

/// What semantic conventions write for a method that they have no name for.
pub(crate) const OTHER_METHOD: &str = "_OTHER";

/// What the callee's proxy could prove of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer<'r> {
    /// This principal; the empty one when it proved none.
    Proven(&'r str),
    /// Some principal, which the record does not have.
    Somebody,
    /// The record does not say.
    Unknown,
}

/// The path of a request, without its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// This one.
    Is(String),
    /// One of these.
    OneOf(Texts),
    /// The record does not say.
    Unknown,
}

/// A request as far as it is known.
pub(crate) struct Facts<'r> {
    pub(crate) row: &'r TrafficRow,
    pub(crate) peer: Peer<'r>,
    pub(crate) path: Path,
    /// The HTTP method, when it is one that telemetry has a name for.
    pub(crate) method: Option<&'r str>,
    /// The port that the connection was made to. Telemetry does not keep it; a test case may give it.
    pub(crate) port: Option<u16>,
    /// The host that was asked for, without a port.
    pub(crate) host: Option<&'r str>,
}

impl<'r> Facts<'r> {
    /// What a row of recorded calls says.
    pub(crate) fn of(row: &'r TrafficRow) -> Self {
        let path = match Template::of_calls(&row.route) {
            Some(template) if template.concrete() => Path::Is(row.route.clone()),
            Some(template) => Path::OneOf(Texts::of_template(&template)),
            None if row.route == "*" => Path::Is(row.route.clone()),
            None => Path::Unknown,
        };
        // An external destination is known by the host that was asked for; one in the mesh by its workload.
        let host =
            (row.external && !row.destination.workload.is_empty()).then_some(&*row.destination.workload);
        let method = (!matches!(row.method.as_str(), "" | OTHER_METHOD)).then_some(&*row.method);
        Self { row, peer: peer(row), path, method, port: None, host }
    }
}

/// A principal that the record has was proven, whichever side told of it; the callee's "none was proven" counts
/// more.
fn peer(row: &TrafficRow) -> Peer<'_> {
    match (row.authenticated, row.source.principal.as_str()) {
        (Some(false), _) => Peer::Proven(""),
        (Some(true), "") => Peer::Somebody,
        (None, "") => Peer::Unknown,
        (_, principal) => Peer::Proven(principal),
    }
}

/// What was asked that the records do not have.
#[derive(Debug, Default)]
pub(crate) struct Missing(BTreeSet<&'static str>);

impl Missing {
    /// Passes an answer on, and remembers what it was about when there was none.
    pub(crate) fn note(&mut self, what: &'static str, truth: Truth) -> Truth {
        if truth == Truth::Unknown {
            self.0.insert(what);
        }
        truth
    }

    /// Adds what another question missed.
    pub(crate) fn take(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// In words, comma between them.
    pub(crate) fn words(&self) -> String {
        self.0.iter().copied().collect::<Vec<_>>().join(", ")
    }
}

impl Peer<'_> {
    /// Whether the principal is matched. `spiffe` is taken off first, for dialects that write identities
    /// without it.
    pub(crate) fn matched(self, matcher: &TextMatch, without_scheme: bool) -> Truth {
        match self {
            Self::Proven(principal) => {
                let bare = principal.strip_prefix("spiffe://").filter(|_| without_scheme);
                yes(matcher.matches(bare.unwrap_or(principal)))
            }
            Self::Somebody => somebody(matcher),
            Self::Unknown => Truth::Unknown,
        }
    }
}

/// Whether every principal that is not empty is matched.
fn somebody(matcher: &TextMatch) -> Truth {
    if matcher.matches_all(&Texts::present()) == Truth::Yes { Truth::Yes } else { Truth::Unknown }
}

impl Path {
    /// Whether the path is matched.
    pub(crate) fn matched(&self, matcher: &TextMatch) -> Truth {
        match self {
            Self::Is(path) => yes(matcher.matches(path)),
            Self::OneOf(texts) => matcher.matches_all(texts),
            Self::Unknown => Truth::Unknown,
        }
    }

    /// Whether the path with a query that nobody recorded is matched.
    pub(crate) fn matched_with_query(&self, matcher: &TextMatch) -> Truth {
        let texts = match self {
            Self::Is(path) => Texts::exact(path),
            Self::OneOf(texts) => texts.clone(),
            Self::Unknown => return Truth::Unknown,
        };
        let without = self.matched(matcher);
        let with = matcher.matches_all(&texts.with_query());
        if without == with { without } else { Truth::Unknown }
    }
}

/// Whether a host is matched that was recorded without its port. A pattern that names a port asks for more than
/// that.
pub(crate) fn host_matched(host: Option<&str>, matcher: &TextMatch) -> Truth {
    let Some(host) = host else { return Truth::Unknown };
    if matcher.matches(host) {
        return Truth::Yes;
    }
    let with_port = matcher.matches_all(&Texts::exact(host).with_port());
    if with_port == Truth::No { Truth::No } else { Truth::Unknown }
}

/// A certain answer.
pub(crate) fn yes(holds: bool) -> Truth {
    if holds { Truth::Yes } else { Truth::No }
}

/// Kleene's not.
pub(crate) fn not(truth: Truth) -> Truth {
    match truth {
        Truth::No => Truth::Yes,
        Truth::Unknown => Truth::Unknown,
        Truth::Yes => Truth::No,
    }
}

/// Kleene's and: yes when there is nothing to hold. Asks no further than it must.
pub(crate) fn all(truths: impl IntoIterator<Item = Truth>) -> Truth {
    let mut weakest = Truth::Yes;
    for truth in truths {
        weakest = weakest.min(truth);
        if weakest == Truth::No {
            break;
        }
    }
    weakest
}

/// Kleene's or: no when there is nothing that could hold.
pub(crate) fn any(truths: impl IntoIterator<Item = Truth>) -> Truth {
    not(all(truths.into_iter().map(not)))
}
