//! What goes into the audit log, and what comes out: kinds, entries, records, and how values are bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use selvedge_model::ObservedTime;

/// Bytes of `subject` and `who` that are kept.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of `why` and of each value of `detail` that are kept.
const VALUE_BYTES_MAX: usize = 1_024;
/// Values of `detail` that are kept, in the order of their names; how many were not is said in [`MORE`].
const DETAIL_MAX: usize = 32;
/// The name in `detail` of the number of values that found no room.
const MORE: &str = "more";
/// What stands at the end of a text that was cut.
const CUT_MARK: &str = "...[cut]";
/// What stands in the place of a credential.
const SECRET_MARK: &str = "[secret]";
/// A word shorter than this is not a credential.
const SECRET_BYTES_MIN: usize = 16;

/// What a record is about. The log itself adds `checkpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuditKind {
    /// The engine began to run.
    Start,
    /// The configuration in force, or a change of it.
    Config,
    /// A quarantine was proposed, shadowed or enforced.
    Decision,
    /// A guard rail said no.
    Refusal,
    /// A person approved.
    Approve,
    /// A policy is about to be sent to enforcement points. Written before it is sent.
    Push,
    /// An enforcement point took it.
    Ack,
    /// An enforcement point refused it.
    Nack,
    /// What telemetry says of it: effective, ineffective, harmful.
    Proof,
    /// A lease was renewed.
    Renew,
    /// A quarantine was taken back.
    Lift,
    /// A lease ran out.
    Expire,
    /// Something was found broken and put right; of the log: a torn last line was cut.
    Recovered,
}

impl AuditKind {
    /// All.
    pub const ALL: [Self; 13] = [
        Self::Start,
        Self::Config,
        Self::Decision,
        Self::Refusal,
        Self::Approve,
        Self::Push,
        Self::Ack,
        Self::Nack,
        Self::Proof,
        Self::Renew,
        Self::Lift,
        Self::Expire,
        Self::Recovered,
    ];

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Config => "config",
            Self::Decision => "decision",
            Self::Refusal => "refusal",
            Self::Approve => "approve",
            Self::Push => "push",
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::Proof => "proof",
            Self::Renew => "renew",
            Self::Lift => "lift",
            Self::Expire => "expire",
            Self::Recovered => "recovered",
        }
    }
}

/// Something to be written down. Texts are cut where they are too long, and what looks like a credential is not
/// written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, by our wall clock.
    pub at: ObservedTime,
    /// What it is about.
    pub kind: AuditKind,
    /// Of what: the id of a quarantine, an incident, a node.
    pub subject: String,
    /// Who: `engine`, or a person's name. Never a token.
    pub who: String,
    /// Why, in a sentence.
    pub why: String,
    /// What else is known, by name.
    pub detail: BTreeMap<&'static str, String>,
}

/// One record of the log, as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number, from 1 without a gap.
    pub seq: u64,
    /// When, by our wall clock.
    pub at: ObservedTime,
    /// The name of an [`AuditKind`], or `checkpoint`.
    pub kind: String,
    /// Of what.
    pub subject: String,
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
    /// What else is known.
    pub detail: BTreeMap<String, String>,
    /// The `hash` of the record before, 64 hex digits; zeros before the first.
    pub previous: String,
    /// The hash of this record, 64 hex digits.
    pub hash: String,
}

/// The texts of an entry as they are written.
pub(super) struct Texts {
    pub(super) subject: String,
    pub(super) who: String,
    pub(super) why: String,
    pub(super) detail: BTreeMap<String, String>,
}

impl Texts {
    pub(super) fn of(entry: &AuditEntry) -> Self {
        let mut detail: BTreeMap<String, String> = entry
            .detail
            .iter()
            .take(DETAIL_MAX)
            .map(|(name, value)| (cut(name, NAME_BYTES_MAX), clean(value, VALUE_BYTES_MAX)))
            .collect();
        if let Some(more) = entry.detail.len().checked_sub(DETAIL_MAX).filter(|more| 0 < *more) {
            detail.insert(MORE.to_owned(), more.to_string());
        }
        Self {
            subject: clean(&entry.subject, NAME_BYTES_MAX),
            who: clean(&entry.who, NAME_BYTES_MAX),
            why: clean(&entry.why, VALUE_BYTES_MAX),
            detail,
        }
    }
}

/// A text without credentials, of at most `bytes_max` bytes.
fn clean(text: &str, bytes_max: usize) -> String {
    // Cut generously first: looking for credentials shall not cost more than a bounded time.
    let text = &text[..text.floor_char_boundary(bytes_max.saturating_mul(2))];
    cut(&without_secrets(text), bytes_max)
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let kept = text.floor_char_boundary(bytes_max.saturating_sub(CUT_MARK.len()));
    format!("{}{CUT_MARK}", &text[..kept])
}

/// Replaces what looks like a credential: the word after `Bearer` or `Basic`, and JSON web tokens. A safety
/// net: names and reasons come from telemetry, and paths in telemetry carry anything.
fn without_secrets(text: &str) -> Cow<'_, str> {
    let separator =
        |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '=' | ':' | ',' | ';' | '/' | '?' | '&');
    let mut clean = String::new();
    let mut announced = false;
    let mut found = false;
    for piece in text.split_inclusive(separator) {
        let word = piece.trim_end_matches(separator);
        let token = word.starts_with("eyJ") && word.matches('.').count() == 2;
        if SECRET_BYTES_MIN <= word.len() && (announced || token) {
            found = true;
            clean.push_str(SECRET_MARK);
            clean.push_str(&piece[word.len()..]);
        } else {
            clean.push_str(piece);
        }
        if !word.is_empty() {
            announced = ["bearer", "basic"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
        }
    }
    if found { Cow::Owned(clean) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("short", 12), "short");
        assert_eq!(cut("twelve bytes", 12), "twelve bytes");
        assert_eq!(cut("thirteen byte", 12), "thir...[cut]");
        assert_eq!(cut("\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}", 12), "\u{20ac}...[cut]");
    }

    #[test]
    fn what_looks_like_a_credential_is_not_written() {
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYXJ0In0.c2lnbmF0dXJl";
        let text = format!(
            "GET /login?next={token}&x=1 Authorization: Bearer 0123456789abcdef0123 \u{2019}ok\u{2019}"
        );
        assert_eq!(
            without_secrets(&text),
            "GET /login?next=[secret]&x=1 Authorization: Bearer [secret] \u{2019}ok\u{2019}"
        );
        assert_eq!(without_secrets("the bearer of a basic idea"), "the bearer of a basic idea");
    }

    #[test]
    fn too_many_details_are_counted() {
        const NAMES: [&str; 40] = [
            "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3", "b4", "b5",
            "b6", "b7", "b8", "b9", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "d0", "d1",
            "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9",
        ];
        let entry = AuditEntry {
            at: ObservedTime(1),
            kind: AuditKind::Decision,
            subject: String::new(),
            who: String::new(),
            why: "y".repeat(1_000_000),
            detail: NAMES.iter().map(|name| (*name, "x".repeat(5_000))).collect(),
        };
        let texts = Texts::of(&entry);
        assert_eq!(texts.detail.len(), DETAIL_MAX + 1);
        assert_eq!(texts.detail[MORE], "8");
        assert!(texts.detail["a0"].len() <= VALUE_BYTES_MAX && texts.why.len() <= VALUE_BYTES_MAX);
    }
}
