//! One record as one line: its exact bytes, its hash, and the one check that all readers of the chain use.
//!
//! `docs/audit.md` defines the bytes for people who want to check a log without this program.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use selvedge_model::ObservedTime;
use serde::{Deserialize, Serialize};

use super::entry::{AuditEntry, AuditRecord, Texts};
use super::error::Flaw;
use super::key::{PublicKey, SigningKey};

/// Bytes of a line without its end. What is written is always shorter, by the bounds of an entry.
pub(super) const LINE_BYTES_MAX: usize = 256 * 1024;

/// The kind of records that the log adds by itself.
pub(super) const CHECKPOINT: &str = "checkpoint";

const HASH_FIELD: &[u8] = b",\"hash\":\"";
const HASH_DIGITS: usize = 64;
const END: &[u8] = b"\"}";

/// A place in the chain: a record's number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) seq: u64,
    pub(super) hash: [u8; 32],
}

impl Position {
    /// Before the first record.
    pub(super) const START: Self = Self { seq: 0, hash: [0; 32] };

    pub(super) fn hash_hex(&self) -> String {
        HEXLOWER.encode(&self.hash)
    }

    /// What is signed at a checkpoint, and in the head file.
    pub(super) fn statement(&self) -> String {
        format!("selvedge audit checkpoint v1\n{}\n{}\n", self.seq, self.hash_hex())
    }
}

/// The fields of a line, in their order, without the hash.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    seq: u64,
    /// Text, as all 64-bit times in our JSON.
    at_unix_nano: String,
    kind: String,
    subject: String,
    who: String,
    why: String,
    detail: BTreeMap<String, String>,
    previous: String,
}

/// Writes the line of an entry after `previous`, and says where the chain is then.
pub(super) fn write_entry(entry: &AuditEntry, previous: Position, out: &mut Vec<u8>) -> Position {
    let Texts { subject, who, why, detail } = Texts::of(entry);
    let kind = entry.kind.name().to_owned();
    write_body(entry.at, previous, out, |seq, at_unix_nano, previous| Body {
        seq,
        at_unix_nano,
        kind,
        subject,
        who,
        why,
        detail,
        previous,
    })
}

/// Writes a checkpoint: a record that holds the signed position of the record before it.
pub(super) fn write_checkpoint(
    at: ObservedTime,
    previous: Position,
    key: &SigningKey,
    out: &mut Vec<u8>,
) -> Position {
    let detail = BTreeMap::from([
        ("key".to_owned(), key.public().to_string()),
        ("signature".to_owned(), HEXLOWER.encode(&key.sign(previous.statement().as_bytes()))),
    ]);
    write_body(at, previous, out, |seq, at_unix_nano, hash| Body {
        seq,
        at_unix_nano,
        kind: CHECKPOINT.to_owned(),
        subject: (seq - 1).to_string(),
        who: "engine".to_owned(),
        why: String::new(),
        detail,
        previous: hash,
    })
}

fn write_body(
    at: ObservedTime,
    previous: Position,
    out: &mut Vec<u8>,
    body: impl FnOnce(u64, String, String) -> Body,
) -> Position {
    let seq = previous.seq + 1;
    let body = body(seq, at.0.to_string(), previous.hash_hex());
    let begin = out.len();
    serde_json::to_writer(&mut *out, &body).expect("texts and numbers always become JSON");
    let brace = out.pop();
    debug_assert_eq!(brace, Some(b'}'), "an object ends with a brace");
    let hash = sha256(&out[begin..]);
    out.extend_from_slice(HASH_FIELD);
    out.extend_from_slice(HEXLOWER.encode(&hash).as_bytes());
    out.extend_from_slice(END);
    debug_assert!(out.len() - begin <= LINE_BYTES_MAX, "an entry is bounded");
    out.push(b'\n');
    Position { seq, hash }
}

/// Checks one line without its end: that it is a record, that it is the one after `previous`, and, of a
/// checkpoint, that `key` signed it.
pub(super) fn check(
    line: &[u8],
    previous: Position,
    key: &PublicKey,
) -> Result<(AuditRecord, Position), Flaw> {
    let (record, position) = read(line)?;
    if record.seq != previous.seq + 1 {
        return Err(Flaw::OutOfOrder { found: record.seq });
    }
    if record.previous != previous.hash_hex() {
        return Err(Flaw::NotChained);
    }
    if record.kind == CHECKPOINT {
        check_signature(&record, previous, key)?;
    }
    Ok((record, position))
}

/// Checks that a line is a record and has not been changed, wherever it stands.
pub(super) fn read(line: &[u8]) -> Result<(AuditRecord, Position), Flaw> {
    let (body, hex) = split(line).ok_or(Flaw::NotARecord)?;
    let hash = sha256(body);
    if HEXLOWER.encode(&hash).as_bytes() != hex {
        return Err(Flaw::Changed);
    }
    let text = [body, b"}"].concat();
    let fields: Body = serde_json::from_slice(&text).map_err(|_| Flaw::NotARecord)?;
    // One way to write a record: nothing that two programs may read differently, such as a name that stands
    // twice.
    if serde_json::to_vec(&fields).ok().as_ref() != Some(&text) {
        return Err(Flaw::NotARecord);
    }
    let at = fields.at_unix_nano.parse().map_err(|_| Flaw::NotARecord)?;
    let record = AuditRecord {
        seq: fields.seq,
        at: ObservedTime(at),
        kind: fields.kind,
        subject: fields.subject,
        who: fields.who,
        why: fields.why,
        detail: fields.detail,
        previous: fields.previous,
        hash: HEXLOWER.encode(&hash),
    };
    let position = Position { seq: record.seq, hash };
    Ok((record, position))
}

/// The hash that a record says it follows.
pub(super) fn previous_hash(record: &AuditRecord) -> Option<[u8; 32]> {
    HEXLOWER.decode(record.previous.as_bytes()).ok()?.try_into().ok()
}

fn check_signature(record: &AuditRecord, previous: Position, key: &PublicKey) -> Result<(), Flaw> {
    let signature = record.detail.get("signature").map(|hex| HEXLOWER.decode(hex.as_bytes()));
    let Some(Ok(signature)) = signature else { return Err(Flaw::NotSigned) };
    let same = record.subject == previous.seq.to_string()
        && record.detail.get("key").is_some_and(|named| *named == key.to_string());
    if same && key.verifies(previous.statement().as_bytes(), &signature) {
        Ok(())
    } else {
        Err(Flaw::NotSigned)
    }
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(END)?;
    let (rest, hex) = line.split_at_checked(line.len().checked_sub(HASH_DIGITS)?)?;
    Some((rest.strip_suffix(HASH_FIELD)?, hex))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
