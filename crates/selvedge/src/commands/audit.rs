//! `selvedge audit verify`: is the log what was written?

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use selvedge_enforce::audit::{AuditError, PublicKey, Verified, verify};
use serde_json::json;

use crate::cli::{AuditArgs, AuditCommand, Form};
use crate::exit::{Failure, Outcome};
use crate::output;

/// Where the log lies below `quarantine.folder`.
const SUBFOLDER: &str = "audit";
const HEAD_FILE: &str = "audit.head";

pub(crate) fn run(args: &AuditArgs) -> Outcome {
    let AuditCommand::Verify { folder, key, format } = &args.command;
    let folder = log_folder(folder)?;
    let given = key.as_deref().map(given_key).transpose()?;
    let key = match given {
        Some(key) => key,
        None => key_beside(&folder)?,
    };
    let verified = match verify(&folder, &key) {
        Ok(verified) => verified,
        Err(AuditError::Broken(broken)) => {
            if *format == Form::Json {
                let told = json!({
                    "intact": false, "file": broken.file, "line": broken.line, "seq": broken.seq,
                    "flaw": broken.flaw.to_string(),
                });
                writeln!(output::stdout(), "{told}")?;
            }
            return Err(Failure::expectation(anyhow::anyhow!("the audit log is broken: {broken}")));
        }
        Err(AuditError::NoLog { folder }) => {
            let gone =
                anyhow::anyhow!("the audit log in {} was removed: its head is there", folder.display());
            return Err(Failure::expectation(gone));
        }
        Err(error) => return Err(error.into()),
    };
    match format {
        Form::Json => {
            let told = json!({
                "intact": true, "records": verified.records, "seq": verified.seq, "hash": verified.hash,
                "checkpoints": verified.checkpoints, "signed_seq": verified.signed_seq,
                "head_checked": verified.head_checked, "key": key.to_string(), "key_given": given.is_some(),
            });
            writeln!(output::stdout(), "{told}")?;
        }
        Form::Text => tell(&verified, &folder, &key)?,
    }
    warn(&verified, given.is_some())?;
    Ok(())
}

/// The folder itself, or the one below it that the engine keeps the log in.
fn log_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    [folder.to_owned(), folder.join(SUBFOLDER)].into_iter().find(|folder| traced(folder)).ok_or_else(|| {
        let folder = folder.display();
        anyhow::anyhow!("there is no audit log in {folder}; give the folder that `quarantine.folder` names")
    })
}

/// True when a log is, or was, in a folder.
fn traced(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .any(|name| name == HEAD_FILE || (name.starts_with("audit") && name.ends_with(".log")))
}

fn key_beside(folder: &Path) -> anyhow::Result<PublicKey> {
    PublicKey::beside(folder).map_err(|error| match &error {
        AuditError::Io { path, source } if source.kind() == ErrorKind::NotFound => {
            anyhow::anyhow!("{} is missing: give the public key with --key", path.display())
        }
        _ => error.into(),
    })
}

/// A key as digits, or the file that holds them.
fn given_key(text: &str) -> anyhow::Result<PublicKey> {
    if let Some(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let held = std::fs::read_to_string(text).map_err(|error| {
        anyhow::anyhow!("--key: neither 64 hex digits nor a file that can be read: {error}")
    })?;
    PublicKey::parse(&held).ok_or_else(|| anyhow::anyhow!("--key: {text} holds no key of 64 hex digits"))
}

fn tell(verified: &Verified, folder: &Path, key: &PublicKey) -> std::io::Result<()> {
    let mut out = output::stdout();
    let Verified { records, seq, hash, checkpoints, signed_seq, .. } = verified;
    writeln!(out, "the audit log in {} is intact", folder.display())?;
    writeln!(out, "records      {records}, {checkpoints} of them signed checkpoints")?;
    writeln!(out, "head         record {seq}, {hash}")?;
    writeln!(out, "signed       up to record {signed_seq}")?;
    writeln!(out, "key          {key}")
}

/// What the check is not worth.
fn warn(verified: &Verified, key_given: bool) -> std::io::Result<()> {
    let mut err = output::stderr();
    if !key_given {
        writeln!(
            err,
            "warning: the key was taken from beside the log: whoever could change the log could change both; keep a \
             copy elsewhere and give it with --key"
        )?;
    }
    if verified.records == 0 {
        writeln!(
            err,
            "warning: the log is empty, and an engine that ran has written to it: up to the first checkpoint records can \
             be removed unnoticed"
        )?;
    }
    if !verified.head_checked {
        writeln!(err, "warning: there is no head file: records missing at the end would not be noticed")?;
    }
    let unsigned = verified.seq.saturating_sub(verified.signed_seq);
    if unsigned > 0 {
        writeln!(
            err,
            "note: the last {unsigned} records are chained and not signed yet: whoever can write the file could have \
             written or removed such"
        )?;
    }
    Ok(())
}
