//! Route templates: which paths a route of the telemetry, or of a cut, stands for.

/// Segments that `learn` tells apart; its `{*}` at this place is all that follows.
const LEARNED_SEGMENTS: usize = 10;

/// Bytes of a template from which on `decode` may have cut it off inside a segment (it cuts at 256, between characters).
pub(crate) const CUT_OFF_BYTES: usize = 250;

/// One step of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This text.
    Literal(String),
    /// Any one segment that is not empty.
    One,
    /// Whatever follows, nothing included. Always the last.
    Rest,
}

/// A path with places that vary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
}

impl Template {
    /// The paths of observed calls: `{...}` is one segment (also `{*}`, which `learn` writes for one that it
    /// found to vary), and a last `*` or a long text is what `decode` cut off a deep path. `None` for what is no path (`*` of
    /// OPTIONS, the host of CONNECT, nothing at all).
    pub(crate) fn of_calls(route: &str) -> Option<Self> {
        Self::read(route, |number, last, segment| match segment {
            _ if last && route.len() >= CUT_OFF_BYTES => Segment::Rest,
            "*" if last => Segment::Rest,
            "{*}" if last && number + 1 >= LEARNED_SEGMENTS => Segment::Rest,
            other if varies(other) => Segment::One,
            other => Segment::Literal(other.to_owned()),
        })
    }

    /// The paths that an operation of a cut names: as of calls, but a last `{*}` is the rest
    /// ([`selvedge_model::Operation`]).
    pub(crate) fn of_cut(route: &str) -> Option<Self> {
        Self::read(route, |_, last, segment| match segment {
            "*" | "{*}" if last => Segment::Rest,
            other if varies(other) => Segment::One,
            other => Segment::Literal(other.to_owned()),
        })
    }

    fn read(path: &str, segment: impl Fn(usize, bool, &str) -> Segment) -> Option<Self> {
        let inner = path.strip_prefix('/')?;
        let last = inner.matches('/').count();
        let segments =
            inner.split('/').enumerate().map(|(number, text)| segment(number, number == last, text));
        Some(Self { segments: segments.collect() })
    }

    /// True when it stands for one path only.
    pub(crate) fn concrete(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// The text with `one` and `rest` in the place of what varies.
    pub(crate) fn write(&self, literal: impl Fn(&str) -> String, one: &str, rest: &str) -> String {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.push_str(&literal(text)),
                Segment::One => path.push_str(one),
                Segment::Rest => path.push_str(rest),
            }
        }
        path
    }

    /// As a regular expression (RE2) that matches exactly these paths.
    pub(crate) fn regex(&self) -> String {
        self.write(regex::escape, "[^/]+", ".*")
    }
}

fn varies(segment: &str) -> bool {
    segment.len() > 2 && segment.starts_with('{') && segment.ends_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_one_segment_and_a_last_star_is_the_rest() {
        let template = Template::of_calls("/carts/{id}/items/{*}").expect("a path");
        assert_eq!(template.regex(), "/carts/[^/]+/items/[^/]+");
        assert_eq!(Template::of_cut("/carts/{*}").expect("a path").regex(), "/carts/.*");
        assert_eq!(Template::of_cut("/carts/{*}/items").expect("a path").regex(), "/carts/[^/]+/items");
        assert_eq!(Template::of_calls("/a/*").expect("a path").regex(), "/a/.*");
        assert_eq!(Template::of_calls("/a.b/x{id}").expect("a path").regex(), r"/a\.b/x\{id\}");
        let deep = format!("/a{}", "/{*}".repeat(LEARNED_SEGMENTS - 1));
        assert!(Template::of_calls(&deep).expect("a path").regex().ends_with("/[^/]+/.*"));
        let long = format!("/a/{}", "b".repeat(CUT_OFF_BYTES));
        assert_eq!(Template::of_calls(&long).expect("a path").regex(), "/a/.*");
        for none in ["", "*", "{id}"] {
            assert_eq!(Template::of_calls(none), None, "{none}");
        }
        assert!(Template::of_calls("/").expect("the root").concrete());
    }
}
