//! What must be true of a mirror at any time.

use crate::common::{Mount, digest_of};
use crate::moving_source::MovingSource;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A mirror and what it is a mirror of.
pub(crate) struct Mirror<'a> {
    pub(crate) mount: &'a Mount,
    pub(crate) source: &'a MovingSource,
}

impl Mirror<'_> {
    /// Tags, layers, and the links in the store beneath.
    pub(crate) fn everything(&self) {
        self.tags();
        for repository in self.source.repositories() {
            for (name, file) in self.shown(repository, "layers") {
                assert_eq!(digest_of(&fs::read(file).unwrap()), name, "in {repository}/layers");
            }
        }
        check_links(&self.mount.store().join("docker/registry/v2/repositories"), None);
    }

    /// Each tag is a manifest that the source has now or had before, and all of its layers are there.
    pub(crate) fn tags(&self) {
        for repository in self.source.repositories() {
            for (tag, file) in self.shown(repository, "manifests") {
                self.check_tag(repository, &tag, &file);
            }
        }
    }

    fn check_tag(&self, repository: &str, tag: &str, file: &Path) {
        let name = format!("{repository}/manifests/{tag}");
        loop {
            // Another process may remove or move it at any time.
            let Ok(manifest) = fs::read(file) else { return };
            let known = self.source.has_named(&name, &digest_of(&manifest));
            assert!(known, "{name} never was {}", String::from_utf8_lossy(&manifest));
            let layers = self.mount.path().join(repository).join("layers");
            let missing = digests(&manifest)
                .find_map(|digest| fs::metadata(layers.join(&digest)).err().zip(Some(digest)));
            match missing {
                None => return,
                // It has moved, and its layers have gone, since it was read.
                Some(_) if fs::read(file).ok().as_ref() != Some(&manifest) => {}
                Some((error, digest)) => {
                    panic!("{name} is there, and its layer {digest} is not: {error}")
                }
            }
        }
    }

    /// The files of an area, but for hidden ones.
    fn shown(&self, repository: &str, area: &str) -> Vec<(String, PathBuf)> {
        let folder = self.mount.path().join(repository).join(area);
        let entries = fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .filter(|(name, _)| !name.starts_with('.'))
            .collect()
    }
}

/// What a manifest refers to.
fn digests(manifest: &[u8]) -> impl Iterator<Item = String> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let parts = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    let digests = parts.map(|part| part["digest"].as_str().unwrap().to_owned());
    digests.collect::<Vec<_>>().into_iter()
}

/// Every link on the disk is whole, and one in the folder of a digest holds that digest.
fn check_links(folder: &Path, digest: Option<&str>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            let digest = (name.len() == 64).then(|| format!("sha256:{name}"));
            check_links(&path, digest.as_deref());
        } else if name == "link" {
            let link = fs::read_to_string(&path).unwrap();
            assert_eq!(link.len(), "sha256:".len() + 64, "{}", path.display());
            assert!(digest.is_none_or(|digest| link == digest), "{}: {link}", path.display());
        }
    }
}
