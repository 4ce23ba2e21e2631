//! Links: each must hold a digest, the one in its path, and lead to what is there.

use crate::model::{Algorithm, Digest, Error, RepositoryName, Result, UploadId};
use crate::store::{
    attributes::attributes,
    folder, layout, links,
    parts::LinkName,
    verify::{Finding, Kind, blobs::Hashed, look::Look, run::Run, walk::is_symlink},
};
use rustix::fs::OFlags;
use std::{
    path::Path,
    time::{Duration, SystemTime},
};

/// What lies where a blob should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    There,
    Gone,
    /// And why.
    Quarantined(String),
    NoFile,
}

impl Target {
    /// What is wrong with it, as an ending of "leads to sha256:…, ".
    fn fault(&self) -> Option<String> {
        match self {
            Self::There => None,
            Self::Gone => Some("which is not there".to_owned()),
            Self::Quarantined(why) => Some(format!("which is in quarantine: {why}")),
            Self::NoFile => Some("which is no file".to_owned()),
        }
    }

    fn kind(&self, gone: Kind) -> Kind {
        match self {
            Self::Quarantined(_) => Kind::Quarantined,
            Self::NoFile => Kind::LinkDangling,
            Self::There | Self::Gone => gone,
        }
    }
}

/// What a link says of a thing in words.
fn describe(link: &LinkName) -> String {
    match link {
        LinkName::Layer(digest) => format!("layer {digest}"),
        LinkName::Revision(digest) => format!("manifest {digest}"),
        LinkName::Signature { manifest, signature } => {
            format!("signature {signature} on manifest {manifest}")
        }
        LinkName::Tag(tag) => format!("tag {tag}"),
        LinkName::Index(tag, digest) => format!("former manifest {digest} of tag {tag}"),
    }
}

impl Run<'_> {
    /// Looks at a link's file, and at what it leads to.
    pub(super) fn look_at_link(
        &self, link: &LinkName, repository: &RepositoryName, at: &Path, look: &mut Look,
    ) {
        let what = describe(link);
        let finding = |kind, reason: String| Finding::within(kind, repository, &what, at, reason);
        let Some(said) = self.read_link(at, finding, look) else { return };
        let named = match link {
            LinkName::Layer(digest) | LinkName::Revision(digest) | LinkName::Index(_, digest) => {
                Some(digest)
            }
            LinkName::Signature { signature, .. } => Some(signature),
            LinkName::Tag(_) => None,
        };
        if let Some(named) = named.filter(|named| !may_say(named, &said)) {
            let reason = format!("it leads to {said}, and lies under {named}");
            return look.found(finding(Kind::LinkMismatch, reason), self.may_come(at, look));
        }
        match link {
            // It says what was once, and stays when that is removed.
            LinkName::Index(..) => {}
            LinkName::Tag(_) => self.look_at_tag(&said, repository, at, finding, look),
            LinkName::Layer(name) => {
                self.look_at_content(name, &said, Kind::LayerGone, at, finding, look);
            }
            LinkName::Signature { signature: name, .. } => {
                self.look_at_content(name, &said, Kind::SignatureGone, at, finding, look);
            }
            LinkName::Revision(name) => {
                if self.look_at_content(name, &said, Kind::LinkDangling, at, finding, look) {
                    self.look_at_manifest(name, &said, repository, at, look);
                }
            }
        }
    }

    /// The digest that a link holds; `None` when there is nothing to follow.
    fn read_link(
        &self, at: &Path, finding: impl Fn(Kind, String) -> Finding, look: &mut Look,
    ) -> Option<Digest> {
        match self.store.root.stat(at) {
            Ok(Some(stat)) if !folder::is_file(&stat) => {
                self.look_at_foreign(at, look);
                return None;
            }
            Ok(Some(stat)) if self.is_passed_over(&stat) => return None,
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => {
                look.unreadable(at, &error);
                return None;
            }
        }
        look.counts.links += 1;
        match links::read(&self.store.root, at) {
            Ok(link) => return link.map(|link| link.digest),
            Err(Error::LinkDamaged { .. }) => {
                let reason = "it holds no digest".to_owned();
                look.found(finding(Kind::LinkDamaged, reason), self.may_come(at, look));
            }
            Err(error) if is_symlink(&error) => self.look_at_foreign(at, look),
            Err(error) => look.unreadable(at, &error),
        }
        None
    }

    /// Looks at the content under `said` to which a link leads that is called `name`. `false` when it
    /// is not there, which is `gone`.
    fn look_at_content(
        &self, name: &Digest, said: &Digest, gone: Kind, at: &Path,
        finding: impl Fn(Kind, String) -> Finding, look: &mut Look,
    ) -> bool {
        let target = match self.target(said) {
            Ok(target) => target,
            Err(error) => {
                look.unreadable(at, &error);
                return false;
            }
        };
        let Some(fault) = target.fault() else {
            self.look_at_second_name(name, said, at, finding, look);
            return true;
        };
        let is_in_doubt = self.may_come(&layout::blob(said), look);
        let reason = format!("it leads to {said}, {fault}");
        look.found(finding(target.kind(gone), reason), is_in_doubt);
        false
    }

    /// A tag must lead to a manifest of its repository. Stores of docker-registry 2.1 link tagged
    /// manifests as layers.
    fn look_at_tag(
        &self, said: &Digest, repository: &RepositoryName, at: &Path,
        finding: impl Fn(Kind, String) -> Finding, look: &mut Look,
    ) {
        let folder = layout::repository(repository);
        let revision = folder.join(layout::revision_link(said));
        let mut missing = (Target::Gone, revision.clone());
        for link in [revision, folder.join(layout::layer_link(said))] {
            let target = match links::read(&self.store.root, &link) {
                Ok(Some(link)) => self.target(&link.digest),
                // That link is damaged, and said to be.
                Ok(None) | Err(Error::LinkDamaged { .. }) => continue,
                Err(error) => Err(error),
            };
            match target {
                Ok(Target::There) => return,
                Ok(target) => missing = (target, layout::blob(said)),
                Err(error) => return look.unreadable(at, &error),
            }
        }
        let (target, place) = missing;
        let fault = match (&target, place.starts_with(&folder)) {
            (Target::Gone, true) => "which its repository does not have".to_owned(),
            _ => target.fault().unwrap_or_default(),
        };
        let reason = format!("it leads to {said}, {fault}");
        let is_in_doubt = self.may_come(&place, look);
        look.found(finding(target.kind(Kind::LinkDangling), reason), is_in_doubt);
    }

    /// What is linked under another name than that by which it lies must have this name, too. To know
    /// it is hashed once more; there are few such names but in registries of 2015.
    fn look_at_second_name(
        &self, name: &Digest, said: &Digest, at: &Path, finding: impl Fn(Kind, String) -> Finding,
        look: &mut Look,
    ) {
        if name == said || self.is_known_to_be_damaged(said) {
            return;
        }
        let blob = layout::blob(said);
        let file = match self.store.root.open_quietly(&blob, OFlags::RDONLY) {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(error) => return look.unreadable(&blob, &error),
        };
        let reason = match self.hash(&file, name, &blob, false) {
            Hashed::Digest(computed) if computed == *name => return,
            Hashed::Digest(computed) => format!("it leads to {said}, which is {computed}"),
            Hashed::None(reason) => format!("it leads to {said}, which has no such sum: {reason}"),
            Hashed::Unreadable(error) => return look.unreadable(&blob, &error),
            Hashed::CutOff => {
                look.is_cut_off = true;
                return;
            }
        };
        look.found(finding(Kind::LinkMisnamed, reason), self.may_come(at, look));
    }

    /// What lies where a blob should.
    pub(super) fn target(&self, digest: &Digest) -> Result<Target> {
        match self.store.root.stat(layout::blob(digest))? {
            Some(stat) if folder::is_file(&stat) => Ok(Target::There),
            Some(_) => Ok(Target::NoFile),
            None => Ok(match self.store.quarantine_reason(digest)? {
                Some(why) => Target::Quarantined(why),
                None => Target::Gone,
            }),
        }
    }

    /// An upload that nobody has written to for long.
    pub(super) fn look_at_upload(
        &self, id: UploadId, at: &Path, repository: Option<&RepositoryName>, look: &mut Look,
    ) {
        let files = [at.to_owned(), at.join(layout::DATA), at.join(layout::STARTED_AT)];
        let mut changed: Option<SystemTime> = None;
        for file in files {
            match self.store.root.stat(&file) {
                Ok(Some(stat)) => changed = changed.max(Some(attributes(&stat).modified_at)),
                Ok(None) => {}
                Err(error) => return look.unreadable(&file, &error),
            }
        }
        let age = changed.and_then(|changed| changed.elapsed().ok());
        if let (Some(age), Some(repository)) = (age, repository)
            && age >= self.options.uploads_older_than
        {
            let days = humantime::format_duration(Duration::from_secs(age.as_secs()));
            let reason = format!("nobody has written to it for {days}");
            let what = format!("upload {id}");
            look.sure(Finding::within(Kind::UploadStale, repository, &what, at, reason));
        }
    }
}

/// Whether a link that lies under `named` may hold `said`: a second name leads to the canonical one.
fn may_say(named: &Digest, said: &Digest) -> bool {
    named == said
        || (named.algorithm() != Algorithm::Sha256 && said.algorithm() == Algorithm::Sha256)
}
