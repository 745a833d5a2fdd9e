//! Istio's `AuthorizationPolicy` (`security.istio.io/v1`) as a value that can be asked.
//!
//! The meaning is that of the API's documentation and of what istiod compiles: fields of a source or operation
//! are anded, values of a field are ored, negated values exclude; DENY comes before ALLOW; a workload with an
//! ALLOW policy denies what none of its ALLOW policies matches; an absent list of rules matches nothing, an
//! empty rule everything.

use super::facts::{Facts, Missing, all, any, host_matched, not, yes};
use super::text_match::TextMatch;
use crate::traffic::Truth;

/// What a policy does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Deny,
    /// Decides nothing.
    Audit,
    /// Asks a service outside the mesh, which may deny.
    Custom,
}

/// One policy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    /// `namespace/name`.
    pub(crate) name: String,
    pub(crate) scope: Scope,
    pub(crate) action: Action,
    pub(crate) rules: Vec<Rule>,
}

/// Which workloads a policy is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scope {
    /// The namespace; `None` in the root namespace, which means all.
    pub(crate) namespace: Option<String>,
    /// Labels that must be there, and whether the label is the workload's name.
    pub(crate) labels: Vec<Label>,
    /// What the policy is attached to, when it is not selected by labels.
    pub(crate) targets: Vec<Target>,
}

/// A label of a selector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Label {
    pub(crate) value: String,
    /// The label holds the workload's name; what others hold is not recorded.
    pub(crate) is_workload: bool,
}

/// What a policy is attached to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// A service, taken to be named as its workload.
    Service(String),
    /// A gateway or anything else through which not all calls go.
    Other,
}

/// A rule: at least one source, at least one operation, all conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rule {
    pub(crate) from: Vec<Vec<Clause>>,
    pub(crate) to: Vec<Vec<Clause>>,
    pub(crate) when: Vec<Clause>,
}

/// A field with what it must and must not be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    pub(crate) field: Field,
    pub(crate) values: Vec<TextMatch>,
    pub(crate) not_values: Vec<TextMatch>,
}

/// What a clause asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// The principal, without `spiffe://`.
    Principal,
    /// The principal as it is.
    Identity,
    Method,
    Path,
    Host,
    Port,
    /// What no record has; the words are for people.
    NotRecorded(&'static str),
}

impl Policy {
    /// Whether it is for the workload that was called.
    pub(crate) fn selects(&self, facts: &Facts<'_>, missing: &mut Missing) -> Truth {
        let destination = &facts.row.destination;
        if facts.row.external {
            // Outside the mesh there is no proxy of the callee.
            return Truth::No;
        }
        let mut truths = Vec::new();
        if let Some(namespace) = &self.scope.namespace {
            let unnamed = destination.namespace.is_empty();
            let truth = if unnamed { Truth::Unknown } else { yes(*namespace == destination.namespace) };
            truths.push(missing.note("the namespace of the callee", truth));
        }
        for label in &self.scope.labels {
            let recorded = label.is_workload && !destination.workload.is_empty();
            let truth = if recorded { yes(label.value == destination.workload) } else { Truth::Unknown };
            truths.push(truth);
        }
        if !self.scope.targets.is_empty() {
            truths.push(any(self.scope.targets.iter().map(|target| match target {
                Target::Service(name) if !destination.workload.is_empty() => {
                    yes(*name == destination.workload)
                }
                _ => Truth::Unknown,
            })));
        }
        let selected = all(truths);
        missing.note("which labels and gateways the callee has", selected)
    }

    /// Whether one of its rules matches.
    pub(crate) fn matches(&self, facts: &Facts<'_>, missing: &mut Missing) -> Truth {
        any(self.rules.iter().map(|rule| rule.matches(facts, missing)))
    }
}

impl Rule {
    fn matches(&self, facts: &Facts<'_>, missing: &mut Missing) -> Truth {
        let mut one_of = |alternatives: &Vec<Vec<Clause>>| {
            if alternatives.is_empty() {
                return Truth::Yes;
            }
            any(alternatives.iter().map(|clauses| all_of(clauses, facts, missing)))
        };
        let asked = all([&self.from, &self.to].into_iter().map(&mut one_of));
        if asked == Truth::No { Truth::No } else { asked.min(all_of(&self.when, facts, missing)) }
    }
}

fn all_of(clauses: &[Clause], facts: &Facts<'_>, missing: &mut Missing) -> Truth {
    // A clause that does not hold decides; what the others would need is then not missing.
    let mut unheard = Missing::default();
    let truth = all(clauses.iter().map(|clause| clause.holds(facts, &mut unheard)));
    if truth == Truth::Unknown {
        missing.take(unheard);
    }
    truth
}

impl Clause {
    fn holds(&self, facts: &Facts<'_>, missing: &mut Missing) -> Truth {
        let one =
            |matchers: &[TextMatch]| any(matchers.iter().map(|matcher| self.field.matched(facts, matcher)));
        let wanted = if self.values.is_empty() { Truth::Yes } else { one(&self.values) };
        let excluded = one(&self.not_values);
        missing.note(self.field.words(), all([wanted, not(excluded)]))
    }
}

impl Field {
    fn matched(self, facts: &Facts<'_>, matcher: &TextMatch) -> Truth {
        match self {
            Self::Principal => facts.peer.matched(matcher, true),
            Self::Identity => facts.peer.matched(matcher, false),
            Self::Method => facts.method.map_or(Truth::Unknown, |method| yes(matcher.matches(method))),
            Self::Path => facts.path.matched(matcher),
            Self::Host => host_matched(facts.host, matcher),
            Self::Port => facts.port.map_or(Truth::Unknown, |port| yes(matcher.matches(&port.to_string()))),
            Self::NotRecorded(_) => Truth::Unknown,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Principal | Self::Identity => "the caller's principal",
            Self::Method => "the method",
            Self::Path => "the whole path",
            Self::Host => "the host",
            Self::Port => "the port",
            Self::NotRecorded(words) => words,
        }
    }
}
