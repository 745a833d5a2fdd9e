//! Sets of texts, and whether one lies within another.
//!
//! A record often knows a path only as a template, so a policy's pattern is compared with all paths of the
//! template: it matches all of them, none, or the record does not say.

use std::collections::{BTreeSet, HashSet};

use crate::template::{Segment, Template};
use crate::traffic::Truth;

/// Pairs of positions visited in one comparison. Past it the answer is [`Truth::Unknown`]: a pattern so tangled
/// is not one that people write.
const PAIRS_MAX: usize = 20_000;

/// Which characters a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// What a path segment may hold (RFC 3986 `pchar`), as Envoy's URI templates understand it.
    Segment,
    /// That, and `/`.
    Path,
    /// Anything but `/`.
    NoSlash,
    /// Anything.
    All,
}

/// One step of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This character.
    Is(char),
    /// One character of a class.
    One(Class),
    /// Any number of characters of a class, none included.
    Many(Class),
}

/// The texts that follow the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Texts(pub(crate) Vec<Step>);

impl Class {
    fn holds(self, character: char) -> bool {
        let segment = || character.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@=*".contains(character);
        match self {
            Self::Segment => segment(),
            Self::Path => character == '/' || segment(),
            Self::NoSlash => character != '/',
            Self::All => true,
        }
    }
}

impl Step {
    fn takes(self, character: char) -> bool {
        match self {
            Self::Is(own) => own == character,
            Self::One(class) | Self::Many(class) => class.holds(character),
        }
    }
}

impl Texts {
    pub(crate) fn exact(text: &str) -> Self {
        Self(text.chars().map(Step::Is).collect())
    }

    pub(crate) fn prefix(text: &str) -> Self {
        Self::exact(text).then(Step::Many(Class::All))
    }

    pub(crate) fn suffix(text: &str) -> Self {
        let many = std::iter::once(Step::Many(Class::All));
        Self(many.chain(text.chars().map(Step::Is)).collect())
    }

    pub(crate) fn containing(text: &str) -> Self {
        Self::suffix(text).then(Step::Many(Class::All))
    }

    /// Every text but the empty one.
    pub(crate) fn present() -> Self {
        Self(vec![Step::One(Class::All), Step::Many(Class::All)])
    }

    /// The paths of a template. A segment that varies is taken to hold what a segment may hold, no more.
    pub(crate) fn of_template(template: &Template) -> Self {
        let mut steps = Vec::new();
        for segment in &template.segments {
            steps.push(Step::Is('/'));
            match segment {
                Segment::Literal(text) => steps.extend(text.chars().map(Step::Is)),
                Segment::One => steps.extend([Step::One(Class::Segment), Step::Many(Class::Segment)]),
                Segment::Rest => steps.push(Step::Many(Class::Path)),
            }
        }
        Self(steps)
    }

    /// An Envoy URI template without names of variables: `*` is a segment, a last `**` the rest.
    pub(crate) fn of_uri_template(template: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("**") {
                steps.push(Step::Many(Class::Path));
                rest = after;
            } else if first == '*' {
                steps.extend([Step::One(Class::Segment), Step::Many(Class::Segment)]);
                rest = &rest[1..];
            } else {
                steps.push(Step::Is(first));
                rest = &rest[first.len_utf8()..];
            }
        }
        Self(steps)
    }

    /// A regular expression of which only literals, `.` and `[^/]` with `*`, `+` or nothing are used; `None`
    /// for others.
    pub(crate) fn of_regex(regex: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = regex.strip_prefix('^').unwrap_or(regex);
        rest = rest.strip_suffix('$').filter(|before| !before.ends_with('\\')).unwrap_or(rest);
        while let Some(first) = rest.chars().next() {
            let (step, after) = if let Some(after) = rest.strip_prefix("[^/]") {
                (Step::One(Class::NoSlash), after)
            } else if let Some(after) = rest.strip_prefix('.') {
                (Step::One(Class::All), after)
            } else if let Some(after) = rest.strip_prefix('\\') {
                let escaped = after.chars().next().filter(char::is_ascii_punctuation)?;
                (Step::Is(escaped), &after[1..])
            } else if "[](){}*+?|^$".contains(first) {
                return None;
            } else {
                (Step::Is(first), &rest[first.len_utf8()..])
            };
            let many = if let Step::One(class) = step { Some(Step::Many(class)) } else { None };
            rest = match (after.chars().next(), many) {
                (Some('*'), Some(many)) => {
                    steps.push(many);
                    &after[1..]
                }
                (Some('+'), Some(many)) => {
                    steps.extend([step, many]);
                    &after[1..]
                }
                _ => {
                    steps.push(step);
                    after
                }
            };
        }
        Some(Self(steps))
    }

    /// The same texts, each with a query behind it.
    pub(crate) fn with_query(&self) -> Self {
        self.clone().then(Step::Is('?')).then(Step::Many(Class::All))
    }

    /// The same texts, each with a port behind it.
    pub(crate) fn with_port(&self) -> Self {
        self.clone().then(Step::Is(':')).then(Step::One(Class::NoSlash)).then(Step::Many(Class::NoSlash))
    }

    fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    /// The same texts in lower case (ASCII, as Envoy does).
    pub(crate) fn lower(&self) -> Self {
        let lower = |step: &Step| match step {
            Step::Is(character) => Step::Is(character.to_ascii_lowercase()),
            other => *other,
        };
        Self(self.0.iter().map(lower).collect())
    }

    /// Whether all of these texts are in `pattern` (yes), none of them is (no), or some are (unknown).
    pub(crate) fn within(&self, pattern: &Self) -> Truth {
        // Most patterns are about quite another path: that is seen without looking further.
        let differs = |(own, theirs): (&Step, &Step)| match (own, theirs) {
            (Step::Is(own), Step::Is(theirs)) => own != theirs,
            _ => false,
        };
        let fixed = |step: &&Step| matches!(step, Step::Is(_));
        if self.0.iter().take_while(fixed).zip(pattern.0.iter().take_while(fixed)).any(differs) {
            return Truth::No;
        }
        let alphabet = alphabet(&self.0, &pattern.0);
        let start = (0, closure(&pattern.0, [0]));
        let mut seen = HashSet::from([start.clone()]);
        let mut next = vec![start];
        let (mut some_in, mut some_out) = (false, false);
        while let Some((own, theirs)) = next.pop() {
            if theirs.is_empty() {
                // No text that goes on from here can be in the pattern, and every one goes on to its end.
                some_out = true;
            } else {
                for at in closure(&self.0, [own]) {
                    if at == self.0.len() {
                        let inside = theirs.contains(&pattern.0.len());
                        some_in |= inside;
                        some_out |= !inside;
                        continue;
                    }
                    for character in alphabet.iter().filter(|character| self.0[at].takes(**character)) {
                        let pair = (after(&self.0, at), advance(&pattern.0, &theirs, *character));
                        if seen.insert(pair.clone()) {
                            next.push(pair);
                        }
                    }
                }
            }
            if (some_in && some_out) || seen.len() > PAIRS_MAX {
                return Truth::Unknown;
            }
        }
        if some_in { Truth::Yes } else { Truth::No }
    }
}

/// Where a step leads when it has taken a character.
fn after(steps: &[Step], at: usize) -> usize {
    if matches!(steps[at], Step::Many(_)) { at } else { at + 1 }
}

/// The positions that are reached without a character.
fn closure(steps: &[Step], from: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    for mut at in from {
        while reached.insert(at) && matches!(steps.get(at), Some(Step::Many(_))) {
            at += 1;
        }
    }
    reached
}

fn advance(steps: &[Step], from: &BTreeSet<usize>, character: char) -> BTreeSet<usize> {
    let taking = from.iter().filter(|at| steps.get(**at).is_some_and(|step| step.takes(character)));
    closure(steps, taking.map(|at| after(steps, *at)))
}

/// Enough characters to tell the two apart: those they name, and one for each kind that they do not name.
fn alphabet(left: &[Step], right: &[Step]) -> BTreeSet<char> {
    let named =
        left.iter().chain(right).filter_map(|step| if let Step::Is(own) = step { Some(*own) } else { None });
    let mut characters: BTreeSet<char> = named.chain(['/']).collect();
    let segment = ('!'..='~').find(|other| Class::Segment.holds(*other) && !characters.contains(other));
    let foreign = ('\u{e000}'..='\u{f8ff}').find(|other| !characters.contains(other));
    characters.extend(segment.into_iter().chain(foreign));
    characters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(route: &str) -> Texts {
        Texts::of_template(&Template::of_calls(route).expect("a path"))
    }

    #[test]
    fn a_template_is_within_a_pattern_outside_or_undecided() {
        use Truth::{No, Unknown, Yes};
        for (template, pattern, expected) in [
            ("/carts/7", Texts::exact("/carts/7"), Yes),
            ("/carts/7", Texts::exact("/carts/8"), No),
            ("/carts/{id}", Texts::exact("/carts/8"), Unknown),
            ("/carts/{id}", Texts::exact("/carts"), No),
            ("/carts/{id}", Texts::prefix("/carts/"), Yes),
            ("/carts/{id}", Texts::prefix("/carts/1"), Unknown),
            ("/carts/{id}", Texts::prefix("/cart"), Yes),
            ("/carts/{id}/items", Texts::suffix("/items"), Yes),
            ("/carts/{id}/items", Texts::suffix("/7/items"), Unknown),
            ("/carts/{id}/items", Texts::suffix("/item"), No),
            ("/carts/{id}", Texts::containing("art"), Yes),
            ("/carts/{id}", Texts::present(), Yes),
            ("/carts/{id}", Texts::of_uri_template("/carts/*"), Yes),
            ("/carts/{id}/items", Texts::of_uri_template("/carts/*"), No),
            ("/carts/{id}/items", Texts::of_uri_template("/carts/**"), Yes),
            ("/carts", Texts::of_uri_template("/carts/**"), No),
            ("/carts/a|b", Texts::of_uri_template("/carts/*"), No),
            ("/carts/*", Texts::of_uri_template("/carts/*"), Unknown),
            ("/carts/*", Texts::prefix("/carts/"), Yes),
            ("/carts/{id}", Texts::of_regex("/carts/[^/]+").expect("simple"), Yes),
            ("/carts/{id}", Texts::of_regex("^/carts/.+$").expect("simple"), Yes),
            ("/carts/{id}", Texts::of_regex(r"/c\.rts/.*").expect("simple"), No),
        ] {
            assert_eq!(route(template).within(&pattern), expected, "{template} {pattern:?}");
        }
        for tangled in ["/a(b)?", "/a{2}", "/[ab]", "/a|/b", r"/\d", "a*"] {
            assert_eq!(Texts::of_regex(tangled), None, "{tangled}");
        }
        assert_eq!(Texts::exact("").within(&Texts::present()), No);
    }

    fn steps() -> impl Strategy<Value = Texts> {
        let step = prop_oneof![
            4 => prop::sample::select(vec!['a', 'b', '/']).prop_map(Step::Is),
            1 => Just(Step::One(Class::NoSlash)),
            1 => Just(Step::Many(Class::NoSlash)),
            1 => Just(Step::Many(Class::All)),
        ];
        prop::collection::vec(step, 0..5).prop_map(Texts)
    }

    /// All texts of up to five characters out of `a`, `b`, `c` and `/`.
    fn short_texts() -> Vec<String> {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..5 {
            let until = all.len();
            for at in from..until {
                for character in ['a', 'b', 'c', '/'] {
                    all.push(format!("{}{character}", all[at]));
                }
            }
            from = until;
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn the_comparison_agrees_with_trying_texts(set in steps(), pattern in steps()) {
            let is_in = |texts: &Texts, text: &String| Texts::exact(text).within(texts) == Truth::Yes;
            let answer = set.within(&pattern);
            let members: Vec<bool> = short_texts()
                .iter()
                .filter(|text| is_in(&set, text))
                .map(|text| is_in(&pattern, text))
                .collect();
            let consistent = match answer {
                Truth::Yes => members.iter().all(|inside| *inside),
                Truth::No => members.iter().all(|inside| !inside),
                Truth::Unknown => true,
            };
            prop_assert!(consistent, "{:?} within {:?}: {:?}", set, pattern, answer);
            let finite = set.0.iter().all(|step| !matches!(step, Step::Many(_)));
            if finite && answer == Truth::Unknown {
                prop_assert!(members.iter().any(|inside| *inside), "{:?} {:?}", set, pattern);
                prop_assert!(members.iter().any(|inside| !inside), "{:?} {:?}", set, pattern);
            }
        }
    }
}
