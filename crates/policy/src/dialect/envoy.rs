//! Envoy's RBAC (`envoy.config.rbac.v3.RBAC`) as a value: what is read from people's files, asked of records,
//! and written for proxies. The same tree for all three, so that what is tested is what is pushed.

use std::collections::BTreeMap;

use super::facts::{Facts, Missing, all, any, host_matched, not, yes};
use super::text_match::TextMatch;
use crate::traffic::Truth;

/// What an RBAC filter does with what its policies match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RbacAction {
    /// Refuses everything that no policy matches.
    #[default]
    Allow,
    /// Refuses everything that a policy matches.
    Deny,
    /// Refuses nothing.
    Log,
}

/// An action and its policies, by name. Without policies DENY lets everything pass, and ALLOW nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rbac {
    /// What is done with what is matched.
    pub action: RbacAction,
    /// Tried in the order of their names; the first that matches is named in telemetry.
    pub policies: BTreeMap<String, RbacPolicy>,
}

/// Matches when one of its permissions and one of its principals does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RbacPolicy {
    /// What is asked for; never empty.
    pub permissions: Vec<Permission>,
    /// Who asks; never empty.
    pub principals: Vec<Principal>,
}

/// A comparison of a header. A header that is not there matches nothing but [`HeaderMatch::Absent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderMatch {
    /// Its value.
    Value(TextMatch),
    /// It is there.
    Present,
    /// It is not there.
    Absent,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Anything.
    Any,
    /// All of them.
    And(Vec<Permission>),
    /// One of them.
    Or(Vec<Permission>),
    /// Not this.
    Not(Box<Permission>),
    /// A header by its lower-case name, `:method` and `:authority` among them.
    Header(String, HeaderMatch),
    /// The path without its query.
    UrlPath(TextMatch),
    /// The port the connection was made to.
    DestinationPort(u16),
    /// Something that no record has, by the name of its field. Only read, never written.
    NotRecorded(&'static str),
}

/// Who asks. Also what is asked for: Envoy allows both in principals, which lets one policy say which caller is
/// refused what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Anyone.
    Any,
    /// All of them.
    And(Vec<Principal>),
    /// One of them.
    Or(Vec<Principal>),
    /// Not this.
    Not(Box<Principal>),
    /// A peer over TLS: whoever it is, or one whose certificate says so.
    Authenticated(Option<TextMatch>),
    /// A header, as in permissions.
    Header(String, HeaderMatch),
    /// The path without its query.
    UrlPath(TextMatch),
    /// Something that no record has, by the name of its field. Only read, never written.
    NotRecorded(&'static str),
}

impl Rbac {
    /// Which policy matches: its name, and whether it does.
    pub(crate) fn matched(&self, facts: &Facts<'_>, missing: &mut Missing) -> (Truth, &str) {
        let mut undecided = None;
        for (name, policy) in &self.policies {
            match policy.matches(facts, missing) {
                Truth::Yes => return (Truth::Yes, name),
                Truth::Unknown => undecided = undecided.or(Some(name.as_str())),
                Truth::No => {}
            }
        }
        undecided.map_or((Truth::No, ""), |name| (Truth::Unknown, name))
    }
}

impl RbacPolicy {
    fn matches(&self, facts: &Facts<'_>, missing: &mut Missing) -> Truth {
        let mut unheard = Missing::default();
        let who = any(self.principals.iter().map(|principal| principal.holds(facts, &mut unheard)));
        if who == Truth::No {
            return Truth::No;
        }
        let asked = any(self.permissions.iter().map(|permission| permission.holds(facts, &mut unheard)));
        let truth = who.min(asked);
        if truth == Truth::Unknown {
            missing.take(unheard);
        }
        truth
    }
}

impl Permission {
    fn holds(&self, facts: &Facts<'_>, missing: &mut Missing) -> Truth {
        match self {
            Self::Any => Truth::Yes,
            Self::And(inner) => all(inner.iter().map(|one| one.holds(facts, missing))),
            Self::Or(inner) => any(inner.iter().map(|one| one.holds(facts, missing))),
            Self::Not(inner) => not(inner.holds(facts, missing)),
            Self::Header(name, wanted) => header(name, wanted, facts, missing),
            Self::UrlPath(matcher) => missing.note("the whole path", facts.path.matched(matcher)),
            Self::DestinationPort(port) => {
                let truth = facts.port.map_or(Truth::Unknown, |known| yes(known == *port));
                missing.note("the port", truth)
            }
            Self::NotRecorded(field) => missing.note(field, Truth::Unknown),
        }
    }
}

impl Principal {
    fn holds(&self, facts: &Facts<'_>, missing: &mut Missing) -> Truth {
        match self {
            Self::Any => Truth::Yes,
            Self::And(inner) => all(inner.iter().map(|one| one.holds(facts, missing))),
            Self::Or(inner) => any(inner.iter().map(|one| one.holds(facts, missing))),
            Self::Not(inner) => not(inner.holds(facts, missing)),
            Self::Authenticated(Some(matcher)) => {
                missing.note("the caller's principal", facts.peer.matched(matcher, false))
            }
            Self::Authenticated(None) => missing.note("whether there was TLS", over_tls(facts)),
            Self::Header(name, wanted) => header(name, wanted, facts, missing),
            Self::UrlPath(matcher) => missing.note("the whole path", facts.path.matched(matcher)),
            Self::NotRecorded(field) => missing.note(field, Truth::Unknown),
        }
    }
}

/// Envoy takes any TLS connection for authenticated here, with or without a client certificate.
fn over_tls(facts: &Facts<'_>) -> Truth {
    use super::facts::Peer;
    match facts.peer {
        Peer::Proven("") | Peer::Unknown => Truth::Unknown,
        Peer::Proven(_) | Peer::Somebody => Truth::Yes,
    }
}

fn header(name: &str, wanted: &HeaderMatch, facts: &Facts<'_>, missing: &mut Missing) -> Truth {
    let value = match wanted {
        HeaderMatch::Value(matcher) => Some(matcher),
        HeaderMatch::Present | HeaderMatch::Absent => None,
    };
    let (words, truth) = match (name, value) {
        // Every HTTP request has these, and a record with a method is one of an HTTP request.
        (":method" | ":path" | ":authority", None) => {
            let here = if facts.row.method.is_empty() { Truth::Unknown } else { Truth::Yes };
            ("whether it was HTTP", if *wanted == HeaderMatch::Absent { not(here) } else { here })
        }
        (":method", Some(matcher)) => {
            ("the method", facts.method.map_or(Truth::Unknown, |method| yes(matcher.matches(method))))
        }
        (":path", Some(matcher)) => ("the path with its query", facts.path.matched_with_query(matcher)),
        (":authority" | "host", Some(matcher)) => ("the host", host_matched(facts.host, matcher)),
        _ => ("request headers", Truth::Unknown),
    };
    missing.note(words, truth)
}
