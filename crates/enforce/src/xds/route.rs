//! A route template as matchers of Envoy: exactly its paths, in expressions that every Envoy takes.
//!
//! An Envoy refuses a whole resource for one expression whose RE2 program has more than 100 instructions (the default of
//! `re2.max_program_size.error_level`, measured on 1.40), and an attacker chooses paths. So a long template is said as a
//! conjunction: how many segments there are and which may not be empty; how the path begins and ends; and each literal
//! segment between placeholders at its place. Together they say the same as the one expression.

use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};

/// Segment at which `decode` writes `*` for all that follows, counted from 0.
const DECODED_REST_AT: usize = 16;
/// Segments of a template; `decode` writes 17 at most.
const SEGMENTS_MAX: usize = 17;
/// Bytes of a template; `decode` writes 256 at most.
const BYTES_MAX: usize = 512;
/// Instructions of a program.
const PROGRAM_MAX: usize = 100;
/// At most so many instructions begin and end a program, and are made of one segment that varies, with its slash.
const PROGRAM_FRAME: usize = 8;
const PROGRAM_SEGMENT: usize = 4;

/// One segment of a template.
#[derive(Clone, Copy, PartialEq)]
enum Segment<'t> {
    Literal(&'t str),
    /// One segment that is not empty.
    Any,
    /// All that follows, slashes included.
    Rest,
}

/// Matchers of the path, without query and fragment, that hold together for the paths of a template.
///
/// # Errors
/// Why there are none.
pub(super) fn matchers(template: &str) -> Result<Vec<StringMatcher>, &'static str> {
    let Some(inner) = template.strip_prefix('/') else {
        return if template == "*" { Ok(vec![exact(template)]) } else { Err("the route is no path") };
    };
    let segments = segments(inner);
    if template.len() > BYTES_MAX || segments.len() > SEGMENTS_MAX {
        return Err("the route is too long");
    }
    if segments.iter().all(|segment| matches!(segment, Segment::Literal(_))) {
        return Ok(vec![exact(template)]);
    }
    let (whole, program) = expression(&segments);
    if program <= PROGRAM_MAX { Ok(vec![regex(whole)]) } else { conjunction(&segments) }
}

/// A placeholder is one segment; a last `{*}` is the rest, as [`selvedge_model::Operation`] has it, and so is the last `*`
/// where `decode` stops to look.
fn segments(inner: &str) -> Vec<Segment<'_>> {
    let last = inner.split('/').count() - 1;
    inner.split('/').enumerate().map(|(index, text)| segment(index, text, index == last)).collect()
}

fn segment(index: usize, text: &str, last: bool) -> Segment<'_> {
    let rest = text == "{*}" || text == "*" && index == DECODED_REST_AT;
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        _ if rest && last => Segment::Rest,
        Some(name) if !name.is_empty() => Segment::Any,
        _ => Segment::Literal(text),
    }
}

fn conjunction(segments: &[Segment<'_>]) -> Result<Vec<StringMatcher>, &'static str> {
    let literal = |segment: &Segment<'_>| matches!(segment, Segment::Literal(_));
    let head = segments.iter().take_while(|segment| literal(segment)).count();
    let tail = segments.iter().rev().take_while(|segment| literal(segment)).count();
    let mut all = vec![regex(shape(segments))];
    if head > 0 {
        all.push(with(MatchPattern::Prefix(format!("{}/", path(&segments[..head])))));
    }
    if tail > 0 {
        all.push(with(MatchPattern::Suffix(path(&segments[segments.len() - tail..]))));
    }
    for index in head..segments.len() - tail {
        if let Segment::Literal(text) = segments[index] {
            all.push(regex(placed(text, index, segments.len() - index - 1, segments.last())?));
        }
    }
    Ok(all)
}

/// How many segments there are, and which are not empty.
fn shape(segments: &[Segment<'_>]) -> String {
    let segment = |segment: &Segment<'_>| match segment {
        Segment::Literal(_) => "/[^/]*",
        Segment::Any => "/[^/]+",
        Segment::Rest => "/.*",
    };
    segments.iter().map(segment).collect()
}

/// A literal segment with so many before it and after it, counted from the nearer end.
fn placed(
    text: &str,
    before: usize,
    after: usize,
    last: Option<&Segment<'_>>,
) -> Result<String, &'static str> {
    let countable = last != Some(&Segment::Rest);
    let from_start = before <= after || !countable;
    let others = if from_start { before } else { after };
    // The loop over what is on the other side is one segment more.
    if PROGRAM_FRAME + PROGRAM_SEGMENT * (others + 1) + 1 + text.len() > PROGRAM_MAX {
        return Err("the route has a segment that is too long for an expression of Envoy");
    }
    let others = "/[^/]*".repeat(others);
    let mut quoted = String::new();
    quote(text, &mut quoted);
    Ok(if from_start { format!("{others}/{quoted}/.*") } else { format!("/.*/{quoted}{others}") })
}

/// The template as one expression, and at most how many instructions its program has.
fn expression(segments: &[Segment<'_>]) -> (String, usize) {
    let (mut pattern, mut program) = (String::new(), PROGRAM_FRAME);
    for segment in segments {
        pattern.push('/');
        match segment {
            Segment::Literal(text) => {
                program += 1 + text.len();
                quote(text, &mut pattern);
            }
            Segment::Any => {
                program += PROGRAM_SEGMENT;
                pattern.push_str("[^/]+");
            }
            Segment::Rest => {
                program += PROGRAM_SEGMENT;
                pattern.push_str(".*");
            }
        }
    }
    (pattern, program)
}

fn path(segments: &[Segment<'_>]) -> String {
    let text = |segment: &Segment<'_>| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Any | Segment::Rest => String::new(),
    };
    segments.iter().map(text).collect()
}

/// As RE2's `QuoteMeta` does it.
fn quote(text: &str, pattern: &mut String) {
    for character in text.chars() {
        if character.is_ascii() && !character.is_ascii_alphanumeric() && character != '_' {
            pattern.push('\\');
        }
        pattern.push(character);
    }
}

/// The text itself.
pub(super) fn exact(text: &str) -> StringMatcher {
    with(MatchPattern::Exact(text.to_owned()))
}

/// An expression for the whole text, as Envoy has it.
pub(super) fn regex(regex: String) -> StringMatcher {
    with(MatchPattern::SafeRegex(RegexMatcher { regex, ..RegexMatcher::default() }))
}

fn with(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(template: &str) -> Result<Vec<String>, &'static str> {
        let pattern = |matcher: StringMatcher| match matcher.match_pattern {
            Some(MatchPattern::Exact(text)) => format!("={text}"),
            Some(MatchPattern::Prefix(text)) => format!("{text}..."),
            Some(MatchPattern::Suffix(text)) => format!("...{text}"),
            Some(MatchPattern::SafeRegex(regex)) => regex.regex,
            other => panic!("{other:?}"),
        };
        Ok(matchers(template)?.into_iter().map(pattern).collect())
    }

    #[test]
    fn a_route_without_placeholders_is_itself_and_a_placeholder_is_one_segment() {
        let depth = "/a".repeat(9);
        let deep = "/a".repeat(16);
        let table = [
            ("/", "=/"),
            ("/orders", "=/orders"),
            ("/orders/", "=/orders/"),
            ("*", "=*"),
            ("/orders/{id}", "/orders/[^/]+"),
            ("/v1.2/{id}/items", r"/v1\.2/[^/]+/items"),
            ("/people/{*}", "/people/.*"),
            ("/people/{*}/baskets", "/people/[^/]+/baskets"),
            ("/a+b/{}", "=/a+b/{}"),
            (&format!("{depth}/{{*}}"), &format!("{depth}/.*")),
            (&format!("{deep}/*"), &format!("{deep}/.*")),
            ("/files/*", "=/files/*"),
        ];
        for (template, expected) in table {
            assert_eq!(patterns(template), Ok(vec![expected.to_owned()]), "{template}");
        }
    }

    #[test]
    fn a_long_route_is_said_in_parts_of_which_each_is_short() {
        let (head, middle, tail) = ("h".repeat(60), "m.".repeat(20), "t".repeat(60));
        let template = format!("/{head}/{{id}}/{middle}/{{id}}/{{id}}/{tail}");
        let quoted = middle.replace('.', "\\.");
        let expected = [
            "/[^/]*/[^/]+/[^/]*/[^/]+/[^/]+/[^/]*".to_owned(),
            format!("/{head}/..."),
            format!(".../{tail}"),
            format!("/[^/]*/[^/]*/{quoted}/.*"),
        ];
        assert_eq!(patterns(&template).unwrap(), expected);
        let late = format!("/{{id}}/{{id}}/{{id}}/{{id}}/{{id}}/{}/{{id}}", "m".repeat(70));
        assert_eq!(patterns(&late).unwrap()[1], format!("/.*/{}/[^/]*", "m".repeat(70)));
    }

    #[test]
    fn a_route_that_is_no_path_or_too_long_is_refused() {
        assert!(patterns("{id}").is_err());
        assert!(patterns(&format!("/{}", "a".repeat(BYTES_MAX))).is_err());
        assert!(patterns(&format!("/{{id}}{}", "/a".repeat(SEGMENTS_MAX))).is_err());
        assert!(patterns(&format!("/{{id}}/{}/{{id}}", "a".repeat(PROGRAM_MAX))).is_err());
    }
}
