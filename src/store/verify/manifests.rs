//! Manifests: what they refer to must be in their repository.
//!
//! What a tag leads to, also through an index, people pull; of anything else nobody misses a part.
//! That an index names manifests which were never copied here is usual, and no damage: who needs one
//! processor's image does not copy those of others.

use crate::model::{Descriptor, Digest, Error, Manifest, RepositoryName, Result};
use crate::registry::Cursor as _;
use crate::store::{
    layout, links,
    tags::tags,
    verify::{Finding, Kind, links::Target, look::Look, run::Run},
};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How many missing digests a finding lists.
const MISSING_SHOWN_MAX: usize = 8;
/// For how long it is believed to which manifests tags lead; and as many times longer than it took to
/// find out, so that repositories with many tags and much damage come to an end.
const REACHED_LIFE: Duration = Duration::from_secs(2);
const REACHED_LIFE_FACTOR: u32 = 10;

/// The manifests of one repository to which tags lead. Made only where something is missing; then it
/// takes the place of 32 bytes for each tag, because to read all tags for each manifest would take
/// forever.
pub(super) struct Reached {
    repository: RepositoryName,
    /// The beginnings of their hashes.
    digests: HashSet<[u8; 32]>,
    good_until: Instant,
}

/// What of a manifest's references is not there, and where it should be.
#[derive(Default)]
struct Missing {
    digests: Vec<Digest>,
    place: Option<PathBuf>,
}

impl Run<'_> {
    /// Looks at what the manifest `digest` refers to, whose bytes lie under `said`.
    pub(super) fn look_at_manifest(
        &self, digest: &Digest, said: &Digest, repository: &RepositoryName, at: &Path,
        look: &mut Look,
    ) {
        let what = format!("manifest {digest}");
        let finding = |kind, reason: String| Finding::within(kind, repository, &what, at, reason);
        let bytes = match self.store.read_manifest(said) {
            Ok(Some(bytes)) => bytes,
            // The next look at the link tells.
            Ok(None) => return,
            // It is said of the blob, once.
            Err(Error::Damaged { reason, .. }) => {
                let blob = layout::blob(said);
                if self.may_come(&blob, look) {
                    look.is_in_doubt = true;
                } else if self.is_first_to_find(said) {
                    look.sure(Finding::blob(Kind::BlobDamaged, said, &blob, reason));
                }
                return;
            }
            Err(error @ Error::ManifestTooLarge { .. }) => {
                return look.sure(finding(Kind::ManifestUnknown, error.to_string()));
            }
            Err(error) => return look.unreadable(at, &error),
        };
        let manifest = match Manifest::parse(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => return look.sure(finding(Kind::ManifestUnknown, error.to_string())),
        };
        look.counts.manifests += 1;
        let checked = self.missing(manifest.blobs(), repository).and_then(|blobs| {
            let children = self.absent(manifest.manifests(), repository)?;
            let is_reached = !blobs.digests.is_empty() && self.is_reached(repository, digest)?;
            Ok((blobs, children, is_reached))
        });
        let (blobs, children, is_reached) = match checked {
            Ok(checked) => checked,
            Err(error) => return look.unreadable(at, &error),
        };
        let mut tell = |kind, missing: &Missing| {
            let Some(place) = &missing.place else { return };
            let is_in_doubt = self.may_come(place, look);
            look.found(finding(kind, list(&missing.digests)), is_in_doubt);
        };
        let kind = if is_reached { Kind::ManifestIncomplete } else { Kind::UntaggedIncomplete };
        tell(kind, &blobs);
        tell(Kind::ChildrenAbsent, &children);
    }

    /// What of `descriptors` the repository does not link, or has no content of.
    fn missing(&self, descriptors: &[Descriptor], repository: &RepositoryName) -> Result<Missing> {
        let folder = layout::repository(repository);
        let mut missing = Missing::default();
        for Descriptor { digest, .. } in descriptors.iter().filter(|one| !one.foreign) {
            let at = folder.join(layout::layer_link(digest));
            let place = match links::read(&self.store.root, &at) {
                Ok(Some(link)) => match self.target(&link.digest)? {
                    Target::There => continue,
                    Target::Gone | Target::Quarantined(_) | Target::NoFile => {
                        layout::blob(&link.digest)
                    }
                },
                Ok(None) | Err(Error::LinkDamaged { .. }) => at,
                Err(error) => return Err(error),
            };
            if !missing.digests.contains(digest) {
                missing.digests.push(*digest);
                missing.place = Some(place);
            }
        }
        Ok(missing)
    }

    /// What of an index the repository does not link. What it links and has no content of is damage,
    /// and said of the link.
    fn absent(&self, children: &[Descriptor], repository: &RepositoryName) -> Result<Missing> {
        let folder = layout::repository(repository);
        let mut missing = Missing::default();
        for Descriptor { digest, .. } in children {
            let at = folder.join(layout::revision_link(digest));
            if self.store.root.stat(&at)?.is_none() && !missing.digests.contains(digest) {
                missing.digests.push(*digest);
                missing.place = Some(at);
            }
        }
        Ok(missing)
    }

    /// Whether a tag leads to a manifest, directly or through an index.
    fn is_reached(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool> {
        let known = self.reached.lock().clone();
        let known = known
            .filter(|known| known.repository == *repository && Instant::now() < known.good_until);
        let known = match known {
            Some(known) => known,
            None => {
                let made = Arc::new(self.reach(repository)?);
                *self.reached.lock() = Some(Arc::clone(&made));
                made
            }
        };
        Ok(known.digests.contains(&beginning(digest)))
    }

    fn reach(&self, repository: &RepositoryName) -> Result<Reached> {
        let begun_at = Instant::now();
        let mut digests = HashSet::new();
        let folder = self.store.open_repository(repository)?;
        let tagged = folder.as_ref().map(|folder| folder.open_folder(layout::TAGS)).transpose()?;
        let mut tags = tags(tagged.flatten())?;
        while let Some((tag, _)) = tags.next()?
            && let Some(folder) = &folder
        {
            // One that is damaged leads nowhere.
            let Ok(Some(link)) = links::read(folder, layout::tag_link(&tag)) else { continue };
            if !digests.insert(beginning(&link.digest)) {
                continue;
            }
            let bytes = self.store.read_manifest(&link.digest).ok().flatten();
            let index = bytes.and_then(|bytes| Manifest::parse(&bytes).ok());
            for child in index.iter().flat_map(Manifest::manifests) {
                digests.insert(beginning(&child.digest));
            }
        }
        let life = REACHED_LIFE.max(begun_at.elapsed() * REACHED_LIFE_FACTOR);
        let good_until = Instant::now() + life;
        Ok(Reached { repository: repository.clone(), digests, good_until })
    }
}

fn beginning(digest: &Digest) -> [u8; 32] {
    let mut beginning = [0; 32];
    beginning.copy_from_slice(&digest.hash()[..32]);
    beginning
}

/// The missing digests in words.
fn list(missing: &[Digest]) -> String {
    let mut shown: Vec<String> =
        missing.iter().take(MISSING_SHOWN_MAX).map(Digest::to_string).collect();
    if missing.len() > shown.len() {
        shown.push(format!("and {} more", missing.len() - shown.len()));
    }
    format!("its repository does not have {}", shown.join(", "))
}
