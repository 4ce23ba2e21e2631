//! What a docker-registry does with the store.
//!
//! It writes links in place: a layer or tag that is there keeps what people have set on it, and its
//! time becomes that of the push.

use super::Reference;
use crate::model::outcome::{Refusal, Result};
use crate::model::words::{Path, Spot, content};
use regfs::model::{
    Area, AttributesChange, Digest, Manifest, Reference as Name, RepositoryName, UploadName,
};
use regfs::registry::{PutAs, Subject};
use std::{ffi::OsStr, time::SystemTime};

impl Reference {
    pub(super) fn push_blob(&mut self, path: &Path, name: &str) -> Result {
        let repository = self.at(&repository_of(path));
        let (layers, kept) = (repository.layers(), repository.attributes());
        let content = content(name);
        let digest: Digest = content.digest.parse().unwrap();
        let subject = Subject::Layer(digest);
        let before = kept.get(&subject).ok();
        let colours = match &before {
            Some(_) => kept.extended_names(&subject)?,
            None => Vec::new(),
        };
        let values = colours.iter().map(|colour| kept.extended(&subject, colour));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let own = UploadName::new(Area::Uploads, OsStr::new("of the registry")).unwrap();
        let upload = layers.upload(&own, &AttributesChange::default())?;
        upload.write_at(&content.bytes, 0)?;
        upload.finish(&digest)?;
        if let Some(before) = before {
            let change = AttributesChange {
                modified_at: None,
                accessed_at: None,
                ..AttributesChange::to(&before)
            };
            kept.change(&subject, &change)?;
        }
        for (colour, value) in colours.iter().zip(values) {
            kept.set_extended(&subject, colour, value.as_deref())?;
        }
        Ok(())
    }

    pub(super) fn push_manifest(&mut self, path: &Path, name: &str, tag: Option<&str>) -> Result {
        let repository = self.at(&repository_of(path));
        let manifest = Manifest::parse(&content(name).bytes)?;
        let put_as = tag.map_or(PutAs::Untagged, |tag| PutAs::Tag(tag.parse().unwrap()));
        repository.manifests().put(&manifest, &put_as, &AttributesChange::default())?;
        let revision = Subject::Revision(*manifest.digest());
        let modified_at = Some(SystemTime::now());
        let change = AttributesChange { modified_at, ..AttributesChange::default() };
        repository.attributes().change(&revision, &change)?;
        Ok(())
    }

    pub(super) fn delete_blob(&mut self, path: &Path, name: &str) -> Result {
        let digest = content(name).digest.parse().unwrap();
        self.at(&repository_of(path)).layers().delete(&digest).map_err(Refusal::from)
    }

    pub(super) fn delete_manifest(&mut self, path: &Path, name: &str) -> Result {
        // It takes a layer of that digest for a manifest, too, and removes both links.
        let digest: Digest = content(name).digest.parse().unwrap();
        let repository = self.at(&repository_of(path));
        let as_layer = repository.layers().delete(&digest);
        let as_manifest = repository.manifests().delete(&Name::Digest(digest));
        as_layer.or(as_manifest).map_err(Refusal::from)
    }
}

/// The repository that a path names.
fn repository_of(path: &Path) -> RepositoryName {
    match path.spot() {
        Spot::Repository(name) => name,
        spot => panic!("{spot:?} is no repository"),
    }
}
