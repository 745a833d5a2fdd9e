//! Raw paths into route templates: what varies per request must never become a name.
//!
//! `join`'s learner refines templates later; this is the bounded first cut that every path passes.

use super::reading::cut;

/// Segments of a template; deeper paths end in `/*`.
const SEGMENTS_MAX: usize = 16;
/// Bytes of a template.
const TEMPLATE_MAX: usize = 256;
/// A longer segment is data, not a name.
const SEGMENT_MAX: usize = 64;
/// Hex digits from here on are an id; shorter words (`feed`, `cafe2`) may be names.
const HEX_MIN: usize = 8;
/// Mixed-case letters with digits from here on are an encoded id; shorter ones may be names (`getUserV2`).
const ENCODED_MIN: usize = 22;
/// What stands for a segment that varies.
const PLACEHOLDER: &str = "{id}";

/// Writes the template of a path into `template`. Query and fragment are cut; percent-escapes stay as they are.
pub(crate) fn write_template(path: &str, template: &mut String) {
    template.clear();
    // Bytes, not characters: what is looked for is ASCII, and every path of every call comes by here.
    let end = path.bytes().position(|byte| byte == b'?' || byte == b'#').unwrap_or(path.len());
    let path = &path[..end];
    let Some(inner) = path.strip_prefix('/') else {
        // `*` of OPTIONS, or the host and port of CONNECT: a word at most.
        template.push_str(if path == "*" || path.is_empty() { path } else { PLACEHOLDER });
        return;
    };
    for (count, segment) in segments(inner).enumerate() {
        template.push('/');
        if count == SEGMENTS_MAX {
            template.push('*');
            break;
        }
        template.push_str(if varies(segment) { PLACEHOLDER } else { segment });
        if template.len() > TEMPLATE_MAX {
            break;
        }
    }
    let length = cut(template, TEMPLATE_MAX).len();
    template.truncate(length);
}

/// The template of a path, as calls have it.
#[must_use]
pub fn route_template(path: &str) -> String {
    let mut template = String::new();
    write_template(path_of_url(path), &mut template);
    template
}

/// The text between slashes.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let path = rest?;
        let end = path.bytes().position(|byte| byte == b'/');
        rest = end.map(|end| &path[end + 1..]);
        Some(&path[..end.unwrap_or(path.len())])
    })
}

/// The path of a URL: what follows the authority, `/` when nothing does. A path alone is itself.
pub(crate) fn path_of_url(url: &str) -> &str {
    if url.starts_with('/') {
        return url;
    }
    // A scan of three bytes at a time: a searcher for so short a text costs more to set up than to run.
    let Some(at) = url.as_bytes().windows(3).position(|bytes| bytes == b"://") else { return url };
    let rest = &url[at + 3..];
    let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    end.map_or("/", |at| if rest.as_bytes()[at] == b'/' { &rest[at..] } else { "/" })
}

/// True for segments that name one thing out of many: numbers, ids, dates, addresses, tokens.
fn varies(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    if bytes.len() > SEGMENT_MAX {
        return true;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return is_email(segment);
    }
    digits == bytes.len()
        || is_signed_number(bytes)
        || is_hex(bytes)
        || is_uuid(bytes)
        || is_date(bytes)
        || is_email(segment)
        || is_encoded(bytes, digits)
}

fn is_signed_number(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"-").is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.len() >= HEX_MIN && bytes.iter().all(u8::is_ascii_hexdigit)
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `2026-11-24`, alone or at the start of a time.
fn is_date(bytes: &[u8]) -> bool {
    bytes.len() >= 10
        && bytes[..10].iter().enumerate().all(|(position, byte)| match position {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
        && bytes[10..].iter().all(|byte| byte.is_ascii_digit() || b"TZ:.+-% ".contains(byte))
}

fn is_email(segment: &str) -> bool {
    if !segment.bytes().any(|byte| byte == b'@' || byte == b'%') {
        return false;
    }
    let domain = segment.split_once('@').or_else(|| segment.split_once("%40")).map(|(_, domain)| domain);
    domain.is_some_and(|domain| domain.contains('.'))
}

/// Base64, base58, ULIDs, tokens: long, of the alphabets' letters only, and too irregular for a word.
fn is_encoded(bytes: &[u8], digits: usize) -> bool {
    bytes.len() >= ENCODED_MIN
        && digits >= 2
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_=.~+".contains(byte))
        && bytes.iter().any(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_becomes_a_placeholder_and_what_names_stays() {
        let cases = [
            ("/", "/"),
            ("/carts/17?full=1", "/carts/{id}"),
            ("/carts/17/items#top", "/carts/{id}/items"),
            ("/v2/ledger/-5", "/v2/ledger/{id}"),
            ("/u/7a391762-31bf-9d00-95df-c3e9671236ff/x", "/u/{id}/x"),
            ("/blob/deadbeef1", "/blob/{id}"),
            ("/blob/deadbeef", "/blob/deadbeef"),
            ("/day/2026-11-24", "/day/{id}"),
            ("/day/2026-11-24T20:31:16Z", "/day/{id}"),
            ("/mail/ada@web.example", "/mail/{id}"),
            ("/mail/ada%40web.example", "/mail/{id}"),
            ("/t/01JDKX3W9S7V5T3R1QBCDEFGHJ", "/t/{id}"),
            ("/t/eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "/t/{id}"),
            ("/api/getUserV2", "/api/getUserV2"),
            ("/ledger.v1.Ledger/AddEntry", "/ledger.v1.Ledger/AddEntry"),
            ("/a%20b/c", "/a%20b/c"),
            ("//.env", "//.env"),
            ("*", "*"),
            ("web.example:443", "{id}"),
        ];
        let mut template = String::new();
        for (path, expected) in cases {
            write_template(path, &mut template);
            assert_eq!(template, expected, "{path}");
        }
    }

    #[test]
    fn a_template_is_bounded_whatever_the_path() {
        let mut template = String::new();
        write_template(&"/a".repeat(9_000), &mut template);
        assert_eq!(template, format!("{}/*", "/a".repeat(SEGMENTS_MAX)));
        write_template(&format!("/{}", "x".repeat(65)), &mut template);
        assert_eq!(template, "/{id}");
        write_template(&format!("/{}", "é".repeat(30)).repeat(16), &mut template);
        assert!(template.len() <= TEMPLATE_MAX);
    }

    #[test]
    fn the_path_of_a_url_starts_after_its_authority() {
        assert_eq!(path_of_url("http://web.example/a/b?c"), "/a/b?c");
        assert_eq!(path_of_url("http://web.example"), "/");
        assert_eq!(path_of_url("http://web.example?x=/y"), "/");
        assert_eq!(path_of_url("/a"), "/a");
    }
}
