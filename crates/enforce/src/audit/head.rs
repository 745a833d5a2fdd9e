//! The head file: the last signed position, beside the log. It shows when the end of the log was cut off.

use std::fs;
use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::error::{AuditError, Broken, Flaw};
use super::key::{PublicKey, SigningKey};
use super::line::Position;
use crate::durable;

/// Its name.
pub(super) const HEAD_FILE: &str = "audit.head";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadShape {
    seq: u64,
    hash: String,
    signature: String,
}

/// Writes a position down, signed.
pub(super) fn write(folder: &Path, position: Position, key: &SigningKey) -> Result<(), AuditError> {
    let shape = HeadShape {
        seq: position.seq,
        hash: position.hash_hex(),
        signature: HEXLOWER.encode(&key.sign(position.statement().as_bytes())),
    };
    let path = folder.join(HEAD_FILE);
    durable::replace(&path, text(&shape).as_bytes()).map_err(|source| AuditError::io(&path, source))
}

/// Reads the signed position; `None` when there is no head file.
pub(super) fn read(folder: &Path, key: &PublicKey) -> Result<Option<Position>, AuditError> {
    let path = folder.join(HEAD_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(AuditError::io(&path, source)),
    };
    match parse(&bytes, key) {
        Some(position) => Ok(Some(position)),
        None => Err(Broken { file: path, line: 1, seq: 0, flaw: Flaw::NotSigned }.into()),
    }
}

fn parse(bytes: &[u8], key: &PublicKey) -> Option<Position> {
    let shape: HeadShape = serde_json::from_slice(bytes).ok()?;
    if text(&shape).as_bytes() != bytes {
        return None;
    }
    let hash = HEXLOWER.decode(shape.hash.as_bytes()).ok()?.try_into().ok()?;
    let signature = HEXLOWER.decode(shape.signature.as_bytes()).ok()?;
    let position = Position { seq: shape.seq, hash };
    key.verifies(position.statement().as_bytes(), &signature).then_some(position)
}

fn text(shape: &HeadShape) -> String {
    format!("{}\n", serde_json::to_string(shape).expect("texts and numbers always become JSON"))
}
