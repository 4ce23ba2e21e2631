//! What a put checks beside the manifest's own form: that its place fits, that it can be trusted,
//! and that everything it refers to is in the repository.
//!
//! One rule for every body, as docker/distribution has it: foreign layers are excepted, and the
//! children of an index must be revisions of the same repository.

use crate::model::{Error, Format, Manifest, Reference, Result, Tag};
use crate::registry::{PutAs, Repository};
use std::collections::HashSet;

/// Whether a put looks for what the manifest refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferenceCheck {
    /// Everything must be there.
    #[default]
    Strict,
    /// Nothing is looked for (`-o relaxed`).
    Relaxed,
}

/// Checks that `manifest` may be put as `put_as` into `repository`, and gives the tag to move.
/// Errors: `SignatureMissing`, `SignatureRejected`, `ManifestMisplaced`, `ManifestUntagged`,
/// `ReferencesUnknown`.
pub fn check_put(
    repository: &dyn Repository, manifest: &Manifest, put_as: &PutAs, check: ReferenceCheck,
) -> Result<Option<Tag>> {
    let tag = check_place(repository, manifest, put_as)?;
    check_signatures(manifest)?;
    match check {
        ReferenceCheck::Strict => check_references(repository, manifest)?,
        ReferenceCheck::Relaxed => {}
    }
    Ok(tag)
}

/// Checks that `manifest`, which is in `repository`, may be named `tag`. Errors: `ManifestMisplaced`.
pub fn check_tag(repository: &dyn Repository, manifest: &Manifest, tag: &Tag) -> Result<()> {
    check_place(repository, manifest, &PutAs::Tag(tag.clone())).map(drop)
}

/// The tag that the put moves. A manifest that names its place (schema 1) must be put there.
fn check_place(
    repository: &dyn Repository, manifest: &Manifest, put_as: &PutAs,
) -> Result<Option<Tag>> {
    let Some((name, inside)) = manifest.inside() else {
        return match put_as {
            PutAs::Tag(tag) => Ok(Some(tag.clone())),
            PutAs::Untagged => Ok(None),
            PutAs::TagInside => Err(Error::ManifestUntagged),
        };
    };
    let tag = match put_as {
        PutAs::Tag(tag) => Some(tag.clone()),
        PutAs::Untagged => None,
        PutAs::TagInside => Some(inside.parse()?),
    };
    let misplaced = name != repository.name().as_str()
        || tag.as_ref().is_some_and(|tag| tag.as_str() != inside);
    if misplaced {
        let wanted = tag.as_ref().map_or(inside, Tag::as_str);
        let signed_by = manifest.signed().and_then(|signed| signed.verify().ok());
        return Err(Error::ManifestMisplaced {
            signed_by: signed_by.unwrap_or_default(),
            inside: format!("{name}:{inside}"),
            path: format!("{}:{wanted}", repository.name()),
        });
    }
    Ok(tag)
}

/// A schema 1 manifest is put only when it is signed and every signature on it holds. Whose keys may
/// sign is not asked: their names are shown, and whom to trust is for who reads them.
fn check_signatures(manifest: &Manifest) -> Result<()> {
    match (manifest.format(), manifest.signed()) {
        (Format::DockerSchema1, None) => Err(Error::SignatureMissing),
        (Format::DockerSchema1, Some(signed)) => Ok(signed.verify().map(drop)?),
        (
            Format::DockerSchema2 | Format::DockerList | Format::OciManifest | Format::OciIndex,
            _,
        ) => Ok(()),
    }
}

/// Everything that `manifest` refers to must be in `repository`. Errors: `ReferencesUnknown` with
/// all that is missing.
fn check_references(repository: &dyn Repository, manifest: &Manifest) -> Result<()> {
    let (mut missing, mut seen) = (Vec::new(), HashSet::new());
    for blob in manifest.blobs().iter().filter(|blob| !blob.foreign) {
        if seen.insert(blob.digest) && !repository.layers().exists(&blob.digest)? {
            missing.push(blob.digest);
        }
    }
    seen.clear();
    for child in manifest.manifests() {
        let reference = Reference::Digest(child.digest);
        if seen.insert(child.digest) && !repository.manifests().exists(&reference)? {
            missing.push(child.digest);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::ReferencesUnknown { repository: repository.name().clone(), missing })
}
