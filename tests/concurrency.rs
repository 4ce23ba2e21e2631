//! Two mounts and a docker-registry on one store, all of them pushing, tagging, renaming and removing the
//! same few contents, while garbage is collected every few seconds. Nobody ever reads what is not what
//! its name says, and everybody finds what they have put, in both mounts.
//!
//! For 15 seconds, or as many as REGFS_CONCURRENCY_SECONDS says.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Mount, Registry, digest_of, effort, eventually, image, manifest_of, needs, noise,
    reliability_row, run_in,
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Contents that come and go: few, so that what one removes another has just put.
const CONTENTS: u64 = 24;
/// How soon a change in one mount is seen in the other: entries live a second, layers five.
const SEEN_WITHIN: Duration = Duration::from_secs(12);
/// Between two collections. They leave alone what is younger than two seconds: docker-registry needs
/// that time between a blob and its link.
const COLLECTION_PAUSE: Duration = Duration::from_secs(2);

/// Numbers from 0 to below `bound`, one after the other as if by chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        // The constants of Knuth's MMIX.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn content(&mut self) -> Vec<u8> {
        let number = self.below(CONTENTS);
        noise(number, 1000 + 5000 * usize::try_from(number).unwrap())
    }
}

/// What all take part in.
struct Stage<'a> {
    mounts: [&'a Mount; 2],
    end: Instant,
    done: AtomicU64,
}

impl Stage<'_> {
    fn goes_on(&self) -> bool {
        self.done.fetch_add(1, Ordering::Relaxed);
        Instant::now() < self.end
    }

    fn paths(&self, at: &str) -> [PathBuf; 2] {
        self.mounts.map(|mount| mount.path().join(at))
    }

    /// Puts layers of one repository by either mount, and takes them away by either.
    fn layers(&self, repository: &str, seed: u64) {
        let mut chance = Chance(seed);
        fs::create_dir(self.mounts[0].path().join(repository)).unwrap();
        eventually(SEEN_WITHIN, "the repository", || self.paths(repository)[1].exists());
        while self.goes_on() {
            let content = chance.content();
            let paths = self.paths(&format!("{repository}/layers/{}", digest_of(&content)));
            let (here, there) =
                (usize::from(chance.below(2) == 0), usize::from(chance.below(2) == 0));
            fs::write(&paths[here], &content).unwrap();
            assert_eq!(fs::read(&paths[here]).unwrap(), content);
            eventually(SEEN_WITHIN, "the layer", || {
                fs::read(&paths[there]).is_ok_and(|it| it == content)
            });
            if chance.below(3) > 0 {
                fs::remove_file(&paths[there]).unwrap();
                // Who has it open for a moment believes in it for a moment.
                eventually(SEEN_WITHIN, "the removal", || !paths[here].exists());
            }
        }
    }

    /// Puts images, moves and removes their tags.
    fn tags(&self, repository: &str, seed: u64) {
        let (mut chance, mut expected) = (Chance(seed), BTreeMap::<String, String>::new());
        fs::create_dir(self.mounts[0].path().join(repository)).unwrap();
        let [here, there] = self.paths(repository);
        eventually(SEEN_WITHIN, "the repository", || there.exists());
        while self.goes_on() {
            let (one, other) = (format!("t{}", chance.below(6)), format!("t{}", chance.below(6)));
            let [from, to] = [&one, &other].map(|tag| here.join("manifests").join(tag));
            match chance.below(4) {
                0 if expected.contains_key(&one) => {
                    rustix::fs::rename(from, to).unwrap();
                    let text = expected.remove(&one).unwrap();
                    expected.insert(other, text);
                }
                1 if expected.remove(&one).is_some() => fs::remove_file(from).unwrap(),
                _ => {
                    let layers = [chance.content(), chance.content()];
                    let digests = layers.each_ref().map(|layer| digest_of(layer));
                    for (digest, layer) in digests.iter().zip(&layers) {
                        fs::write(here.join("layers").join(digest), layer).unwrap();
                    }
                    let text = manifest_of(
                        (&digests[0], layers[0].len()),
                        &[(&digests[1], layers[1].len())],
                    );
                    fs::write(from, &text).unwrap();
                    expected.insert(one, text);
                }
            }
            eventually(SEEN_WITHIN, "the tags", || {
                tags(&here) == expected && tags(&there) == expected
            });
        }
    }

    /// Gives a repository one name after the other.
    fn renames(&self, name: &str, seed: u64) {
        let mut chance = Chance(seed);
        let contents: BTreeMap<_, _> =
            (0..3).map(|_| chance.content()).map(|it| (digest_of(&it), it)).collect();
        let root = self.mounts[0].path();
        let mut repository = root.join(name);
        fs::create_dir(&repository).unwrap();
        for (digest, content) in &contents {
            fs::write(repository.join("layers").join(digest), content).unwrap();
        }
        while self.goes_on() {
            let new = root.join(format!("{name}{}", chance.below(1000)));
            match rustix::fs::rename(&repository, &new) {
                // The same name as before.
                Ok(()) => repository = new,
                Err(error) => panic!("{}: {error}", new.display()),
            }
            for (digest, content) in &contents {
                assert_eq!(&fs::read(repository.join("layers").join(digest)).unwrap(), content);
            }
            thread::sleep(Duration::from_millis(chance.below(300)));
        }
    }

    /// Pushes an image to the docker-registry, again when what it needs was just being removed, finds it in the mounts, and removes all of it.
    fn pushes(&self, registry: &Registry) {
        let image = image();
        let (mut round, address) = (0, registry.address());
        while self.goes_on() {
            round += 1;
            let push = format!(
                "skopeo copy -q --retry-times 3 --insecure-policy --dest-tls-verify=false oci:{}:1.35 docker://{address}/pushed{round}:v1",
                image.layout.display()
            );
            run_in(Path::new("/"), &push);
            for path in self.paths(&format!("pushed{round}")) {
                eventually(SEEN_WITHIN, "what was pushed", || path.join("manifests/v1").exists());
                for entry in fs::read_dir(path.join("layers")).unwrap() {
                    let layer = entry.unwrap().path();
                    assert!(is_right(&layer).unwrap(), "{}", layer.display());
                }
            }
            fs::remove_dir_all(self.mounts[1].path().join(format!("pushed{round}"))).unwrap();
        }
    }

    /// Reads whatever there is: it is what its name says, or gone.
    fn reads(&self, mount: &Mount) {
        while self.goes_on() {
            for repository in fs::read_dir(mount.path()).unwrap().flatten() {
                for layer in fs::read_dir(repository.path().join("layers")).into_iter().flatten() {
                    let Ok(path) = layer.map(|layer| layer.path()) else { continue };
                    match is_right(&path) {
                        Ok(is_right) => assert!(is_right, "{}", path.display()),
                        Err(error) => assert!(is_gone(&error), "{}: {error}", path.display()),
                    }
                }
            }
        }
    }

    fn collects(&self) {
        while self.goes_on() {
            let store = self.mounts[0].store().display();
            run_in(Path::new("/"), &format!("regfs gc --grace 2s {store} > /dev/null"));
            thread::sleep(COLLECTION_PAUSE);
        }
    }
}

/// Whether the content of a layer is that which its name says.
fn is_right(layer: &Path) -> io::Result<bool> {
    Ok(digest_of(&fs::read(layer)?) == layer.file_name().unwrap().to_str().unwrap())
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [libc::ENOENT, libc::ESTALE, libc::EBUSY].map(Some);
    gone.contains(&error.raw_os_error())
}

/// The tags of a repository; the texts that cannot be read just now are empty.
fn tags(repository: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(repository.join("manifests")).unwrap();
    let tags = entries.map(|entry| entry.unwrap());
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    tags.map(|tag| (tag.file_name().into_string().unwrap(), text(tag.path()))).collect()
}

#[test]
fn all_that_share_a_store_find_what_they_have_put() {
    needs!("fuse", "docker-registry", "skopeo");
    let seconds = effort("REGFS_CONCURRENCY_SECONDS", 15);
    let one = Mount::empty();
    let other = Mount::of_store(one.store());
    let registry = Registry::serve(one.store());
    let end = Instant::now() + Duration::from_secs(seconds);
    let stage = Stage { mounts: [&one, &other], end, done: AtomicU64::new(0) };
    thread::scope(|scope| {
        scope.spawn(|| stage.layers("layers-a", 1));
        scope.spawn(|| stage.layers("layers-b", 2));
        scope.spawn(|| stage.tags("tags-a", 3));
        scope.spawn(|| stage.tags("tags-b", 4));
        scope.spawn(|| stage.renames("moving", 5));
        scope.spawn(|| stage.pushes(&registry));
        scope.spawn(|| stage.reads(&one));
        scope.spawn(|| stage.reads(&other));
        scope.spawn(|| stage.collects());
    });
    run_in(Path::new("/"), &format!("regfs verify {}", one.store().display()));
    reliability_row(
        "actions of two mounts, a docker-registry and a collector on one store",
        stage.done.into_inner(),
        "everybody found what they had put; verify found no damage",
        &format!("REGFS_CONCURRENCY_SECONDS={seconds} cargo test --release --test concurrency"),
    );
}
