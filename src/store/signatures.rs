//! Signed manifests: a payload in a blob, and beside its revision the signatures on it.
//!
//! That is how the registry of 2015 kept them, and its later versions read them. Later ones keep
//! the payload alone and sign it anew each time it is asked for; so does this for a payload without
//! signatures, with a key of the store's own. What is read is a document that verifies, either way.

use crate::model::{
    Algorithm, Digest, Error, MANIFEST_BYTES_MAX, Manifest, Result, SIGNATURE_BYTES_MAX,
    SignedManifest, SigningKey,
};
use crate::registry::{Cursor as _, Layer as _};
use crate::store::{
    Store,
    attributes::Carried,
    blobs,
    directory::Listing,
    folder::Folder,
    gate::Passage,
    layout, links,
    repository::{LocalRepository, live_digests},
};
use parking_lot::Mutex;
use rustix::fs::{Mode, Stat, fchmod};
use std::{io::Write as _, sync::Arc, time::SystemTime};

/// How many signatures of a manifest are read, good and bad.
const SIGNATURES_MAX: usize = 256;
/// How much of a manifest is read to see whether it begins with its version.
const HEAD_BYTES: usize = 128;
/// More than any key has.
const KEY_BYTES_MAX: u64 = 4096;
/// The key is the store's owner's.
const KEY_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The key that signs payloads without signatures, once it was needed. Its lock is held while the
/// key is read or made, which happens once.
#[derive(Default)]
pub(super) struct StoreKey(Mutex<Option<Arc<SigningKey>>>);

impl Store {
    /// The store's key, made if it is new. Who cannot keep one has another each time.
    fn signing_key(&self) -> Result<Arc<SigningKey>> {
        let mut kept = self.signing_key.0.lock();
        if let Some(key) = &*kept {
            return Ok(Arc::clone(key));
        }
        let key = match self.read_signing_key().and_then(|key| match key {
            Some(key) => Ok(key),
            None => self.make_signing_key(),
        }) {
            Ok(key) => key,
            // It is another user's, or the disk is full: reading a manifest must not fail for that.
            Err(Error::Io { source, path, .. }) => {
                log::warn!("signing with a passing key, because of {}: {source}", path.display());
                SigningKey::random()?
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::clone(kept.insert(Arc::new(key))))
    }

    fn read_signing_key(&self) -> Result<Option<SigningKey>> {
        let text = self.root.read(layout::SIGNING_KEY, KEY_BYTES_MAX)?;
        text.map(|text| SigningKey::from_jwk(&text)).transpose()
    }

    fn make_signing_key(&self) -> Result<SigningKey> {
        let key = SigningKey::random()?;
        let Some(scratch) = &self.scratch else { return Ok(key) };
        let draft = scratch.draft()?;
        let path = draft.path();
        fchmod(draft.file(), KEY_MODE).map_err(Error::io("make", &path))?;
        draft.file().write_all(&key.to_jwk()).map_err(Error::io("write", &path))?;
        draft.sync()?;
        // Another process may have made one a moment ago; then that is the store's.
        if draft.publish_new(self.root.place(layout::SIGNING_KEY))?.is_none() {
            return Ok(key);
        }
        Ok(self.read_signing_key()?.unwrap_or(key))
    }

    /// Whether the manifest `digest` may be of schema 1. Nearly all others say at their beginning that they
    /// are not: a stat of many tags has no time to read, hash and parse them all.
    fn may_be_schema_1(&self, digest: &Digest) -> Result<bool> {
        let Some(blob) = self.open_blob(digest)? else { return Ok(false) };
        if blob.length() > MANIFEST_BYTES_MAX {
            return Ok(false);
        }
        let mut head = [0; HEAD_BYTES];
        let count = blob.read_at(&mut head, 0)?;
        if begins_with_two(&head[..count]) {
            return Ok(false);
        }
        let mut bytes = vec![0; usize::try_from(blob.length()).unwrap_or(HEAD_BYTES)];
        let count = blob.read_at(&mut bytes, 0)?;
        Ok(says_one(&bytes[..count]))
    }

    fn sign(&self, payload: &[u8], digest: &Digest) -> Result<SignedManifest> {
        let stored = self.stat_blob(digest)?.as_ref().map(blobs::created_at);
        let at = stored.unwrap_or(SystemTime::UNIX_EPOCH);
        SignedManifest::sign(payload, &*self.signing_key()?, at)
    }
}

impl LocalRepository {
    /// Keeps the signatures that `signed` adds to those on the manifest `digest`. Errors: those of
    /// [`SignedManifest::added`].
    pub(super) fn keep_signatures(
        &self, folder: &Folder, digest: &Digest, signed: &SignedManifest, passage: &Passage,
    ) -> Result<()> {
        let added = match self.signed(folder, digest, signed.payload())? {
            Some(kept) => kept.added(signed)?,
            None => Some(signed.clone()),
        };
        for signature in added.iter().flat_map(SignedManifest::signatures) {
            let name = Digest::sha256(&signature);
            self.store.write_blob(&name, &signature, passage)?;
            let at = layout::signature_link(digest, &name);
            if links::read(folder, &at).ok().flatten().is_none() {
                let scratch = self.store.scratch()?;
                links::write(scratch, folder.place(&at), &name, &Carried::default())?;
            }
        }
        Ok(())
    }

    /// The payload of the manifest `digest` with those of the signatures kept on it that hold.
    fn signed(
        &self, folder: &Folder, digest: &Digest, payload: &[u8],
    ) -> Result<Option<SignedManifest>> {
        let mut signed: Option<SignedManifest> = None;
        // One by one: what is wrong with one says nothing about the others.
        for signature in self.kept_signatures(folder, digest)? {
            let one = SignedManifest::assemble(payload, [signature.as_slice()]);
            match (one.map(SignedManifest::verified), &mut signed) {
                (Ok(Some(one)), Some(signed)) => signed.merge(&one),
                (Ok(Some(one)), none) => *none = Some(one),
                (Ok(None), _) => log::warn!("a signature kept of {digest} does not hold"),
                (Err(error), _) => log::warn!("a signature kept of {digest} is left out: {error}"),
            }
        }
        Ok(signed)
    }

    /// What is read of the manifest `digest`: its blob, or the document of a payload and its
    /// signatures. Errors: `ManifestTooLarge`, `Damaged`.
    pub(super) fn document(&self, folder: &Folder, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.store.read_manifest(digest)? else { return Ok(None) };
        if !is_payload(&bytes) {
            return Ok(Some(bytes));
        }
        let signed = self.signed(folder, digest, &bytes)?;
        let document = match signed.map_or_else(|| self.store.sign(&bytes, digest), Ok) {
            Ok(signed) => signed.document(),
            // Nothing that can be signed: whoever reads it is told.
            Err(Error::ManifestInvalid(_)) => bytes,
            Err(error) => return Err(error),
        };
        self.store.document_lengths.was_read(digest, document.len() as u64);
        Ok(Some(document))
    }

    /// The length of [`LocalRepository::document`] of `digest`, which has this `blob`, when it is
    /// another than the blob's.
    pub(super) fn document_length(
        &self, folder: &Folder, digest: &Digest, blob: &Stat,
    ) -> Result<Option<u64>> {
        let lengths = &self.store.document_lengths;
        let look = || folder.stat(layout::signatures(digest, Algorithm::Sha256));
        if let Some(length) = lengths.get(digest, blob, look)? {
            return Ok(length);
        }
        let signatures = look()?;
        let length = match self.store.may_be_schema_1(digest)? {
            true => match self.document(folder, digest) {
                Ok(document) => document.map(|document| document.len() as u64),
                // Whoever reads it is told what is wrong.
                Err(Error::Damaged { .. } | Error::ManifestTooLarge { .. }) => return Ok(None),
                Err(error) => return Err(error),
            },
            false => None,
        };
        lengths.set(digest, blob, signatures.as_ref(), length);
        Ok(length)
    }

    /// The signatures that are kept of the manifest `digest`. Those whose blobs are gone (stock
    /// collectors do not know them) or damaged are left out.
    fn kept_signatures(&self, folder: &Folder, digest: &Digest) -> Result<Vec<Vec<u8>>> {
        let at = layout::signatures(digest, Algorithm::Sha256);
        let links = vec![(folder.open_folder(at)?, live_digests(&self.store, Algorithm::Sha256))];
        let mut names = Listing::new(links)?;
        let mut signatures = Vec::new();
        while let Some((name, _)) = names.next()?
            && signatures.len() < SIGNATURES_MAX
        {
            match self.store.read_short(&name, SIGNATURE_BYTES_MAX as u64) {
                Ok(signature) => signatures.extend(signature),
                Err(error @ (Error::Damaged { .. } | Error::ManifestTooLarge { .. })) => {
                    log::warn!("the signature {name} on {digest} is left out: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(signatures)
    }
}

const VERSION: &[u8] = br#""schemaVersion""#;

/// Whether the first member of a text is `"schemaVersion": 2`. There cannot be another one then.
fn begins_with_two(bytes: &[u8]) -> bool {
    let first = bytes.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    let value = first.and_then(|first| first.strip_prefix(VERSION)).and_then(value);
    value.is_some_and(|value| matches!(value, [b'2', b',' | b'}' | b' ' | b'\n', ..]))
}

/// Whether there is a member `"schemaVersion": 1` somewhere.
fn says_one(bytes: &[u8]) -> bool {
    bytes.windows(VERSION.len()).enumerate().any(|(index, window)| {
        let rest = || value(&bytes[index + VERSION.len()..]);
        window == VERSION && rest().is_some_and(|value| value.starts_with(b"1"))
    })
}

/// What follows the colon at the beginning of `rest`.
fn value(rest: &[u8]) -> Option<&[u8]> {
    rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start)
}

/// Whether a blob is the payload of a schema 1 manifest. Most are not, and are not parsed for this.
fn is_payload(bytes: &[u8]) -> bool {
    says_one(bytes)
        && Manifest::parse(bytes).is_ok_and(|it| it.inside().is_some() && it.signed().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_without_reading_the_manifest() {
        for (text, two, one) in [
            (r#"{"schemaVersion":2,"config":{}}"#, true, false),
            ("{\n   \"schemaVersion\" : 2\n}", true, false),
            (r#"{"mediaType":"","schemaVersion":2}"#, false, false),
            (r#"{"schemaVersion":21}"#, false, false),
            (r#"{"name":"a","schemaVersion": 1}"#, false, true),
            (r#"{"schemaVersion":1}"#, false, true),
            ("", false, false),
        ] {
            let bytes = text.as_bytes();
            assert_eq!((begins_with_two(bytes), says_one(bytes)), (two, one), "{text}");
        }
    }
}
