//! The interface to manifests: what a repository names by tag and by digest.

use crate::model::{Attributes, AttributesChange, Digest, Manifest, Reference, Result, Tag};
use crate::registry::Cursor;

/// What `stat` tells of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestStat {
    /// The manifest's digest.
    pub digest: Digest,
    /// Length of its bytes.
    pub length: u64,
    /// Attributes of the tag, or of the revision when asked by digest.
    pub attributes: Attributes,
}

/// Under which name a manifest is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutAs {
    /// Under this tag, which moves if it exists.
    Tag(Tag),
    /// By digest only, untagged.
    Untagged,
    /// Under the tag that the manifest carries inside (schema 1).
    TagInside,
}

/// What becomes of a tag that has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retag {
    /// It is replaced.
    Replace,
    /// It stays, and the call gives `Exists`.
    KeepExisting,
    /// The two swap names; both must exist.
    Exchange,
}

/// The manifests of one repository.
pub trait ManifestService: Send + Sync {
    /// All tags, in no particular order.
    fn tags(&self) -> Result<Box<dyn Cursor<Tag>>>;

    /// All revisions, tagged or not, in no particular order.
    fn revisions(&self) -> Result<Box<dyn Cursor<Digest>>>;

    /// Whether there is such a manifest.
    fn exists(&self, reference: &Reference) -> Result<bool> {
        match self.stat(reference) {
            Ok(_) => Ok(true),
            Err(error) if error.is_unknown() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is known of a manifest without reading it. Errors: `TagUnknown`, `ManifestUnknown`.
    fn stat(&self, reference: &Reference) -> Result<ManifestStat>;

    /// A manifest. Errors: `TagUnknown`, `ManifestUnknown`; `Damaged` when the stored bytes are not
    /// those of its digest.
    fn get(&self, reference: &Reference) -> Result<Manifest>;

    /// Stores a manifest, and moves the tag to it at once and last. What `attributes` leaves open
    /// stays as the tag had it. A new revision gets the owner, and one that is put without a tag
    /// all of them. Gives back the digest. Errors: `ReferencesUnknown`, `ManifestMisplaced`,
    /// `ManifestUntagged`, `SignatureRejected`, `SignatureMissing`.
    fn put(
        &self, manifest: &Manifest, put_as: &PutAs, attributes: &AttributesChange,
    ) -> Result<Digest>;

    /// Makes `tag` name the manifest `digest`, which is here already, at once. Errors:
    /// `ManifestUnknown`, `ManifestMisplaced`.
    fn tag(&self, digest: &Digest, tag: &Tag, attributes: &AttributesChange) -> Result<()>;

    /// Gives the tag `from` the name `to`, with its attributes, at once. Errors: `TagUnknown`,
    /// `Exists`, `ManifestMisplaced` for a manifest that carries another tag inside.
    fn retag(&self, from: &Tag, to: &Tag, retag: Retag) -> Result<()>;

    /// Removes `tag` as long as it names `digest`: one that was put meanwhile stays. No error when
    /// nothing is to be removed.
    fn untag(&self, tag: &Tag, digest: &Digest) -> Result<()>;

    /// Removes a tag (the revision stays), or a revision and every tag on it (tags first).
    /// Errors: `TagUnknown`, `ManifestUnknown`.
    fn delete(&self, reference: &Reference) -> Result<()>;
}
