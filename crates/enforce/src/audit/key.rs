//! The Ed25519 key that signs checkpoints: made at first use, kept beside the log, readable by its owner alone.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::error::AuditError;
use crate::durable;

/// The private key, PKCS#8 version 2 (with the public key in it) in DER.
pub(super) const KEY_FILE: &str = "audit.key";
/// The public key, 64 hex digits.
pub(super) const PUBLIC_FILE: &str = "audit.pub";

/// What checkpoints are checked with. Keep a copy away from the machine that writes the log: a key that lies
/// beside the log proves only that whoever changed the log had no other key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From 64 lower-case hex digits, as printed and as in `audit.pub`; spaces around them do not matter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.trim().as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// The key that lies beside the log in `folder`.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn beside(folder: &Path) -> Result<Self, AuditError> {
        let path = folder.join(PUBLIC_FILE);
        let text = fs::read_to_string(&path).map_err(|source| AuditError::io(&path, source))?;
        Self::parse(&text).ok_or(AuditError::NotAKey { path })
    }

    pub(super) fn verifies(&self, statement: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(statement, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The private key. Its `Debug` shows the public part only.
#[derive(Debug)]
pub(super) struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads the key of `folder`; makes one when there is none and `may_make` says that nothing was signed yet.
    pub(super) fn open(folder: &Path, may_make: bool) -> Result<Self, AuditError> {
        let path = folder.join(KEY_FILE);
        let key = match fs::read(&path) {
            Ok(bytes) => {
                keep_private(&path)?;
                Self::parse(&bytes, &path)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
                let bytes = made.map_err(|_| AuditError::NoRandomness)?;
                durable::replace(&path, bytes.as_ref()).map_err(|source| AuditError::io(&path, source))?;
                Self::parse(bytes.as_ref(), &path)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(AuditError::KeyMissing { path });
            }
            Err(source) => return Err(AuditError::io(&path, source)),
        };
        let public = folder.join(PUBLIC_FILE);
        let text = format!("{}\n", key.public());
        if fs::read(&public).ok().as_deref() != Some(text.as_bytes()) {
            durable::replace(&public, text.as_bytes()).map_err(|source| AuditError::io(&public, source))?;
        }
        Ok(key)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, AuditError> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes);
        pair.map(Self).map_err(|_| AuditError::NotAKey { path: path.to_owned() })
    }

    pub(super) fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    pub(super) fn sign(&self, statement: &[u8]) -> Vec<u8> {
        self.0.sign(statement).as_ref().to_vec()
    }
}

/// Takes the key back from group and others: mounting a volume may have opened it to them.
fn keep_private(path: &Path) -> Result<(), AuditError> {
    let io = |source| AuditError::io(path, source);
    let mode = fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(durable::PRIVATE)).map_err(io)?;
    }
    Ok(())
}
