//! A registry as files on a disk that changes all the time, and what it ever was.

use crate::common::{digest_of, manifest_of, noise};
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// Numbers that follow from a seed: splitmix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// From 0 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// The repositories; one lies in another.
const REPOSITORIES: [&str; 3] = ["library/one", "library/one/nested", "team/two"];
/// How many layers each has.
const LAYERS: usize = 44;
/// How many tags each has.
const TAGS: usize = 8;
/// Longest layer.
const LAYER_BYTES_MAX: usize = 4 << 20;

/// The registry.
pub(crate) struct MovingSource {
    folder: PathBuf,
    random: Random,
    /// The layers that each repository has now, and those that it ever had.
    layers: HashMap<&'static str, Vec<String>>,
    /// The digests of all manifests that a tag, by its path, ever named.
    manifests: HashMap<String, HashSet<String>>,
    /// How often it has changed.
    changes: u64,
}

impl MovingSource {
    /// Writes it as it is in the beginning.
    pub(crate) fn write(folder: &Path, random: Random) -> Self {
        let (folder, layers, manifests) = (folder.to_owned(), HashMap::new(), HashMap::new());
        let mut source = Self { folder, random, layers, manifests, changes: 0 };
        for repository in REPOSITORIES {
            for area in ["layers", "manifests", "uploads"] {
                fs::create_dir_all(source.folder.join(repository).join(area)).unwrap();
            }
            source.write_layer(repository, b"{}");
            source.write_layer(repository, b"");
            source.replace_layers(repository, 0);
        }
        source.change();
        source
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The repositories it has.
    pub(crate) fn repositories(&self) -> [&'static str; 3] {
        REPOSITORIES
    }

    /// Whether a tag, `REPOSITORY/manifests/TAG`, ever named this manifest.
    pub(crate) fn has_named(&self, tag: &str, digest: &str) -> bool {
        self.manifests.get(tag).is_some_and(|digests| digests.contains(digest))
    }

    /// A third of the layers and their tags are replaced, one tag goes or comes, uploads grow.
    pub(crate) fn change(&mut self) {
        self.changes += 1;
        for repository in REPOSITORIES {
            self.replace_layers(repository, LAYERS * 2 / 3);
            let folder = self.folder.join(repository);
            for tag in 0..TAGS {
                let file = folder.join("manifests").join(format!("v{tag}"));
                if self.random.below(8) == 0 {
                    fs::remove_file(file).ok();
                } else {
                    self.write_tag(repository, &file);
                }
            }
            let upload = folder.join("uploads/part");
            let mut bytes = fs::read(&upload).unwrap_or_default();
            if bytes.len() > 1 << 20 {
                bytes.clear();
            }
            bytes.extend(noise(self.random.next(), 200_000));
            fs::write(upload, bytes).unwrap();
        }
    }

    /// Keeps so many of a repository's layers, and writes others for the rest.
    fn replace_layers(&mut self, repository: &'static str, kept: usize) {
        let layers = self.layers.entry(repository).or_default();
        while layers.len() > kept {
            let layer = layers.remove(self.random.below(layers.len()));
            fs::remove_file(self.folder.join(repository).join("layers").join(layer)).unwrap();
        }
        while self.layers[repository].len() < LAYERS {
            // Most are small, a few are big.
            let length = 1024.0 * 8192_f64.powf(self.random.fraction().powi(4));
            let length = (length as usize).min(LAYER_BYTES_MAX);
            let bytes = noise(self.random.next(), length);
            let digest = self.write_layer(repository, &bytes);
            self.layers.get_mut(repository).unwrap().push(digest);
        }
    }

    fn write_layer(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        fs::write(self.folder.join(repository).join("layers").join(&digest), bytes).unwrap();
        digest
    }

    /// A manifest of some layers; from one change to the next, parts of it stay where they are.
    fn write_tag(&mut self, repository: &str, file: &Path) {
        let layers = &self.layers[repository];
        let count = 2 + self.random.below(6);
        let first = self.random.below(layers.len() - count);
        let empty = digest_of(b"");
        let mut parts: Vec<(&str, usize)> = vec![(&empty, 0)];
        parts.extend(layers[first..first + count].iter().map(|digest| (digest.as_str(), 1)));
        let manifest = manifest_of((&digest_of(b"{}"), 2), &parts);
        let tag = file.strip_prefix(&self.folder).unwrap().to_str().unwrap().to_owned();
        self.manifests.entry(tag).or_default().insert(digest_of(manifest.as_bytes()));
        fs::write(file, manifest).unwrap();
        // What has the same length and was written in the same second is the same file to rsync.
        let at = UNIX_EPOCH + Duration::from_secs(self.changes);
        File::options().write(true).open(file).unwrap().set_modified(at).unwrap();
    }
}
