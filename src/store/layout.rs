//! The tree on disk: the only file that spells its names, in both directions.
//!
//! ```text
//! STORE/                                         paths of this part are relative to STORE
//! ├── docker/registry/v2/                        exactly docker/distribution's layout
//! │   ├── blobs/sha256/4c/4c…/data               content: layers, configs, manifests alike
//! │   └── repositories/library/alpine/           a repository's folder, or a namespace's
//! │       ├── _layers/sha256/4c…/link            relative to the repository's folder:
//! │       ├── _manifests/                        a link holds a digest and nothing else
//! │       │   ├── revisions/sha256/9a…/          a manifest:
//! │       │   │   ├── link
//! │       │   │   └── signatures/sha256/5e…/link on it, of schema 1
//! │       │   └── tags/3.19/
//! │       │       ├── current/link               what the tag names now
//! │       │       └── index/sha256/9a…/link      what it ever named
//! │       └── _uploads/UUID/
//! │           ├── data                           the bytes so far
//! │           ├── startedat                      2026-11-23T11:37:53Z; an upload without is none
//! │           ├── name                           ours: where a person finds it
//! │           └── hashstates/sha256/OFFSET       the running hash at OFFSET
//! └── regfs/                                     ours; no registry looks here
//!     ├── version                                of the disk format
//!     ├── lock                                   shared by everyone who has the store open
//!     ├── gate, turnstile                        shared by who publishes, closed by the collector
//!     ├── moves, moves-turnstile                 shared by who moves links, closed by the collector
//!     ├── collector                              locked by the collector that runs
//!     ├── collected/4c…/data                     blobs that the collector has taken out of blobs/
//!     ├── signing-key.json                       signs schema 1 manifests that have no signatures
//!     ├── mounts/UUID                            locked by who has the store mounted
//!     ├── states/UUID                            an upload's running hash, good while mounted
//!     ├── quarantine/sha256:4c…/                 content that was found damaged:
//!     │   ├── reason                             when, and what is wrong with it
//!     │   └── data                               the bytes; `data.2` when it happened twice
//!     ├── verify-state.json                      how far an interrupted verification got
//!     ├── verify-last.json                       how the last one that went to its end ended
//!     ├── gc-last.json                           how the last collection ended
//!     ├── tmp/                                   what is being made, until it is renamed into place
//!     └── trash/                                 what was renamed out of place, until it is deleted
//! ```
//!
//! Nothing of ours but `name` may lie in `blobs/` or `repositories/`: docker-registry's garbage
//! collector stops at files it does not know.

use crate::model::{Algorithm, Area, Component, Digest, RepositoryName, Tag, UploadId, tarsum};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// What a registry calls its root.
pub(super) const REGISTRY: &str = "docker/registry/v2";
/// Where repositories lie.
pub(super) const REPOSITORIES: &str = "docker/registry/v2/repositories";
/// Where blobs with the canonical digest lie.
pub(super) const BLOBS: &str = "docker/registry/v2/blobs/sha256";
/// The version of our disk format.
pub(super) const VERSION: &str = "regfs/version";
/// What everyone who has the store open shares a lock on.
pub(super) const LOCK: &str = "regfs/lock";
/// What who publishes shares a lock on.
pub(super) const GATE: &str = "regfs/gate";
/// What who publishes goes through first.
pub(super) const TURNSTILE: &str = "regfs/turnstile";
/// What who moves links from one place to another shares a lock on.
pub(super) const MOVES: &str = "regfs/moves";
/// What who moves links goes through first.
pub(super) const MOVES_TURNSTILE: &str = "regfs/moves-turnstile";
/// What the collector that runs has a lock on.
pub(super) const COLLECTOR: &str = "regfs/collector";
/// Those that just who may write the store may take.
pub(super) const LOCKS: [&str; 5] = [GATE, TURNSTILE, MOVES, MOVES_TURNSTILE, COLLECTOR];
/// Blobs that the collector has taken out, before they are deleted or brought back.
pub(super) const COLLECTED: &str = "regfs/collected";
/// The key that signs schema 1 manifests which have no signatures, as a JWK.
pub(super) const SIGNING_KEY: &str = "regfs/signing-key.json";
/// Where the running hashes of uploads are noted.
pub(super) const NOTES: &str = "regfs/states";
/// Content that was found damaged.
pub(super) const QUARANTINE: &str = "regfs/quarantine";
/// How far an interrupted verification got.
pub(super) const VERIFY_STATE: &str = "regfs/verify-state.json";
/// How the last verification that went to its end ended.
pub(super) const VERIFY_LAST: &str = "regfs/verify-last.json";
/// How the last collection ended.
pub(super) const GC_LAST: &str = "regfs/gc-last.json";
/// Marks of those who have the store mounted.
pub(super) const MOUNTS: &str = "regfs/mounts";
/// What is being made.
pub(super) const TMP: &str = "regfs/tmp";
/// What is being deleted.
pub(super) const TRASH: &str = "regfs/trash";
/// Where all blobs lie.
pub(super) const ALL_BLOBS: &str = "docker/registry/v2/blobs";

/// The folders that every repository with content has. docker-registry 2.8 looks for the first to
/// tell a repository from a namespace, version 3 for the second.
pub(super) const CONTENT_FOLDERS: [&str; 4] = [LAYERS, REVISIONS, TAGS, UPLOADS];
/// Those of which one makes a repository.
pub(super) const CONTENT_MARKS: [&str; 3] = [LAYERS, MANIFESTS, UPLOADS];

/// Where a repository's layer links lie.
pub(super) const LAYERS: &str = "_layers";
/// Where a repository's revisions and tags lie.
pub(super) const MANIFESTS: &str = "_manifests";
/// Where a repository's revisions lie.
pub(super) const REVISIONS: &str = "_manifests/revisions";
/// Where a repository's tags lie.
pub(super) const TAGS: &str = "_manifests/tags";
/// Where a repository's uploads lie.
pub(super) const UPLOADS: &str = "_uploads";
/// The time that was given to the folder of uploads: an extended attribute of it.
pub(super) const TIME: &str = "user.regfs.modified_at";
/// The link file, in the folder of a digest.
pub(super) const LINK: &str = "link";
/// The folder with what a tag names now, in the tag's folder.
pub(super) const CURRENT: &str = "current";
/// What a tag names now, relative to the tag's folder.
pub(super) const TAG_LINK: &str = "current/link";
/// The folder of what a tag ever named, in the tag's folder.
pub(super) const INDEX: &str = "index";

/// The folder of the signatures on a manifest, in its revision's folder.
pub(super) const SIGNATURES: &str = "signatures";

/// The bytes, in an upload's folder and in a blob's.
pub(super) const DATA: &str = "data";
/// When it was begun, in an upload's folder.
pub(super) const STARTED_AT: &str = "startedat";
/// Where a person finds it, in an upload's folder.
pub(super) const NAME: &str = "name";
/// The kept states of its running hash, in an upload's folder.
pub(super) const STATES: &str = "hashstates/sha256";

/// What programs of this store have directly in its folder, beside [`REGISTRY`]: us; docker-registry
/// as a mirror; the file system.
pub(super) const BESIDE: [&str; 3] = [OURS, "scheduler-state.json", "lost+found"];
/// Everything of ours.
pub(super) const OURS: &str = "regfs";

/// The folders that an algorithm's name becomes.
pub(super) fn algorithm_path(algorithm: Algorithm) -> &'static str {
    use tarsum::{Hash, Version};
    match algorithm {
        Algorithm::Sha256 | Algorithm::Sha384 | Algorithm::Sha512 => algorithm.name(),
        Algorithm::TarSum(Version::V0, Hash::Sha256) => "tarsum/v0/sha256",
        Algorithm::TarSum(Version::V0, Hash::Sha512) => "tarsum/v0/sha512",
        Algorithm::TarSum(Version::V1, Hash::Sha256) => "tarsum/v1/sha256",
        Algorithm::TarSum(Version::V1, Hash::Sha512) => "tarsum/v1/sha512",
        Algorithm::TarSum(Version::Dev, Hash::Sha256) => "tarsum/dev/sha256",
        Algorithm::TarSum(Version::Dev, Hash::Sha512) => "tarsum/dev/sha512",
    }
}

/// The content of `digest`, relative to the store.
pub(super) fn blob(digest: &Digest) -> PathBuf {
    let (algorithm, hex) = (algorithm_path(digest.algorithm()), digest.hex());
    format!("{REGISTRY}/blobs/{algorithm}/{}/{hex}/data", &hex[..2]).into()
}

/// The folder of a blob, relative to the store.
pub(super) fn blob_folder(digest: &Digest) -> PathBuf {
    let mut folder = blob(digest);
    folder.pop();
    folder
}

/// The folder of a blob that the collector has taken out, relative to the store.
pub(super) fn collected(digest: &Digest) -> PathBuf {
    Path::new(COLLECTED).join(digest.hex())
}

/// A repository's folder, relative to the store.
pub(super) fn repository(name: &RepositoryName) -> PathBuf {
    Path::new(REPOSITORIES).join(name.as_str())
}

/// A repository's folder, or that of all when `name` is `None`.
pub(super) fn namespace(name: Option<&RepositoryName>) -> PathBuf {
    name.map_or_else(|| REPOSITORIES.into(), repository)
}

/// The folder that shows an area's attributes.
pub(super) fn area(area: Area) -> &'static str {
    match area {
        Area::Layers => LAYERS,
        Area::Manifests => TAGS,
        Area::Uploads => UPLOADS,
    }
}

/// The folder of all layer links of one algorithm.
pub(super) fn layers(algorithm: Algorithm) -> PathBuf {
    Path::new(LAYERS).join(algorithm_path(algorithm))
}

/// The link that gives a repository a layer.
pub(super) fn layer_link(digest: &Digest) -> PathBuf {
    linked(layers(digest.algorithm()), digest)
}

/// The folder of all revisions of one algorithm.
pub(super) fn revisions(algorithm: Algorithm) -> PathBuf {
    Path::new(REVISIONS).join(algorithm_path(algorithm))
}

/// The link that gives a repository a manifest.
pub(super) fn revision_link(digest: &Digest) -> PathBuf {
    linked(revisions(digest.algorithm()), digest)
}

/// The folder with everything that a repository has of a manifest.
pub(super) fn revision(digest: &Digest) -> PathBuf {
    revisions(digest.algorithm()).join(digest.hex())
}

/// The folder of the signatures on a manifest whose names are of one algorithm.
pub(super) fn signatures(digest: &Digest, algorithm: Algorithm) -> PathBuf {
    revision(digest).join(SIGNATURES).join(algorithm.name())
}

/// The link that gives a manifest a signature.
pub(super) fn signature_link(digest: &Digest, signature: &Digest) -> PathBuf {
    linked(signatures(digest, signature.algorithm()), signature)
}

/// A tag's folder.
pub(super) fn tag(tag: &Tag) -> PathBuf {
    Path::new(TAGS).join(tag.as_str())
}

/// The folder with what a tag names now.
pub(super) fn tag_current(name: &Tag) -> PathBuf {
    tag(name).join(CURRENT)
}

/// What a tag names now.
pub(super) fn tag_link(name: &Tag) -> PathBuf {
    tag_current(name).join(LINK)
}

/// The mark that a tag has named `digest`.
pub(super) fn tag_index_link(name: &Tag, digest: &Digest) -> PathBuf {
    tag(name).join(index_link(digest))
}

/// The same relative to the tag's folder.
pub(super) fn index_link(digest: &Digest) -> PathBuf {
    linked(Path::new(INDEX).join(algorithm_path(digest.algorithm())), digest)
}

/// Where the running hash of an upload is noted, relative to the store.
pub(super) fn note(id: UploadId) -> PathBuf {
    Path::new(NOTES).join(id.to_string())
}

/// The folder of content that was found damaged, relative to the store.
pub(super) fn quarantined(digest: &Digest) -> PathBuf {
    Path::new(QUARANTINE).join(digest.to_string())
}

/// Why content is in quarantine, relative to the store.
pub(super) fn quarantine_reason(digest: &Digest) -> PathBuf {
    quarantined(digest).join("reason")
}

/// Where damaged bytes go that are the `number`-th under this digest, relative to the store.
pub(super) fn quarantine_data(digest: &Digest, number: u32) -> PathBuf {
    let name = if number == 1 { DATA.to_owned() } else { format!("{DATA}.{number}") };
    quarantined(digest).join(name)
}

/// An upload's folder.
pub(super) fn upload(id: UploadId) -> PathBuf {
    Path::new(UPLOADS).join(id.to_string())
}

/// A file in an upload's folder, relative to the repository's.
pub(super) fn upload_file(id: UploadId, file: &str) -> PathBuf {
    upload(id).join(file)
}

/// The kept state of the running hash at `offset`, relative to the folder of all such states.
pub(super) fn state(offset: u64) -> PathBuf {
    offset.to_string().into()
}

/// The link of `digest` in the folder of its algorithm, relative to that.
pub(super) fn link_in(digest: &Digest) -> PathBuf {
    Path::new(&digest.hex()).join(LINK)
}

fn linked(folder: PathBuf, digest: &Digest) -> PathBuf {
    folder.join(digest.hex()).join(LINK)
}

/// The component of a repository's name that a folder stands for; ours and the registry's own
/// folders begin with `_` and are none.
pub(super) fn parse_component(folder: &OsStr) -> Option<Component> {
    folder.to_str()?.parse().ok()
}

/// The tag that a folder in `tags` stands for.
pub(super) fn parse_tag(folder: &OsStr) -> Option<Tag> {
    folder.to_str()?.parse().ok()
}

/// The digest that a folder of links stands for.
pub(super) fn parse_digest(algorithm: Algorithm, folder: &OsStr) -> Option<Digest> {
    Digest::from_hex(algorithm, folder.to_str()?).ok()
}

/// The upload that a folder in `_uploads` stands for.
pub(super) fn parse_upload(folder: &OsStr) -> Option<UploadId> {
    folder.to_str()?.parse().ok()
}

/// The offset that a kept state is for, in the one spelling that [`state`] writes.
pub(super) fn parse_state(file: &OsStr) -> Option<u64> {
    let text = file.to_str()?;
    text.parse().ok().filter(|offset: &u64| offset.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tarsums_lie_in_folders_of_their_version() {
        let hex = "ab".repeat(32);
        for (name, folder) in [("tarsum", "v0"), ("tarsum.v1", "v1"), ("tarsum.dev", "dev")] {
            let digest: Digest = format!("{name}+sha256:{hex}").parse().unwrap();
            let (link, data) = (
                format!("_layers/tarsum/{folder}/sha256/{hex}/link"),
                format!("docker/registry/v2/blobs/tarsum/{folder}/sha256/ab/{hex}/data"),
            );
            assert_eq!(layer_link(&digest), Path::new(&link));
            assert_eq!(blob(&digest), Path::new(&data));
        }
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_tarsum()) {
            let hash = algorithm.name().rsplit('+').next().unwrap();
            assert!(algorithm_path(algorithm).ends_with(hash));
        }
    }

    /// The tree of facts/registry.md 1.1, name by name.
    #[test]
    fn names_are_those_of_distribution() {
        let digest = Digest::sha256(b"");
        let hex = digest.hex();
        let (app, v1) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
        let id: UploadId = "1eea0b5e-3b1c-4b7e-9e64-4c9c1f0a2d11".parse().unwrap();
        for (path, text) in [
            (blob(&digest), format!("docker/registry/v2/blobs/sha256/e3/{hex}/data")),
            (repository(&app), "docker/registry/v2/repositories/team/app".to_owned()),
            (namespace(None), "docker/registry/v2/repositories".to_owned()),
            (layer_link(&digest), format!("_layers/sha256/{hex}/link")),
            (revision_link(&digest), format!("_manifests/revisions/sha256/{hex}/link")),
            (tag_link(&v1), "_manifests/tags/v1/current/link".to_owned()),
            (tag_index_link(&v1, &digest), format!("_manifests/tags/v1/index/sha256/{hex}/link")),
            (upload_file(id, DATA), format!("_uploads/{id}/data")),
        ] {
            assert_eq!(path, Path::new(&text));
        }
    }

    #[test]
    fn names_parse_back_and_others_are_none() {
        let digest = Digest::sha256(b"x");
        assert_eq!(parse_digest(Algorithm::Sha256, digest.hex().as_ref()), Some(digest));
        assert_eq!(parse_digest(Algorithm::Sha512, digest.hex().as_ref()), None);
        assert_eq!(parse_state(state(108).as_os_str()), Some(108));
        assert_eq!(parse_state("0108".as_ref()), None);
        assert_eq!(parse_component("_layers".as_ref()), None);
        assert_eq!(parse_tag(".junk".as_ref()), None);
        assert_eq!(parse_tag("bad name".as_ref()), None);
        assert_eq!(parse_upload("not-a-uuid".as_ref()), None);
    }
}
