//! Where a cell is tried: the same folders in a mount and on a disk, so that the disk tells what the
//! tool is to do.

use super::cell::Reason;
use super::common::{Mount, digest_of, eventually, manifest_of, noise};
use super::snapshot::Snapshot;
use super::table::{Content, Place, Table};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

/// The config that every manifest here refers to.
const CONFIG: &[u8] = b"{}";
/// When what is there before was last changed, and when `FILE` was.
const BEFORE_AT: i64 = 981_173_106;
const FILE_AT: i64 = 1_012_709_106;

/// The errors that leave no line in `.regfs/errors`, as they are printed and as they are called.
const ORDINARY: &[(&str, &str)] = &[
    ("File exists", "EEXIST"),
    ("Invalid cross-device link", "EXDEV"),
    ("Operation not supported", "EOPNOTSUPP"),
];
/// How fallocate(1) prints that something is not supported.
const FALLOCATE_SAYS: &str = "keep size mode is unsupported";

/// A registry, another one where a table needs it, and what is like them on a disk.
pub(crate) struct Bench {
    mount: Mount,
    other: Option<Mount>,
}

/// The folders of one cell: in a mount, or on the disk.
pub(crate) struct Side {
    /// Where the tool runs: a namespace with the repositories `r` and `s`.
    pub(crate) root: PathBuf,
    /// `ELSEWHERE`: the same in another registry.
    elsewhere: Option<PathBuf>,
    /// `DISK`: a folder that is no registry.
    disk: PathBuf,
}

impl Bench {
    pub(crate) fn new(table: &Table) -> Self {
        let commands = table.tools.iter().map(|tool| tool.command);
        let paths = table.places.iter().flat_map(|place| [place.from, place.to, place.then]);
        let is_far = commands.chain(paths).any(|text| text.contains("ELSEWHERE"));
        Self { mount: Mount::empty(), other: is_far.then(Mount::empty) }
    }

    /// The folders of the cell `name`, in the mount and on the disk.
    pub(crate) fn sides(&self, name: &str) -> (Side, Side) {
        let beside = self.mount.beside();
        let outside = |side: &str| beside.join(side).join(name);
        let mounted = Side {
            root: self.mount.path().join(name),
            elsewhere: self.other.as_ref().map(|other| other.path().join(name)),
            disk: outside("outside"),
        };
        let plain = Side {
            root: outside("plain"),
            elsewhere: self.other.as_ref().map(|_| outside("elsewhere")),
            disk: outside("outside-plain"),
        };
        (mounted, plain)
    }

    /// What `.regfs/errors` of both registries says of the cell `name`.
    pub(crate) fn errors(&self, name: &str) -> Vec<String> {
        let mounts = [Some(&self.mount), self.other.as_ref()];
        let of_cell = format!(" {name}/");
        let mut lines = Vec::new();
        for mount in mounts.into_iter().flatten() {
            let text = fs::read_to_string(mount.path().join(".regfs/errors")).unwrap();
            lines.extend(text.lines().filter(|line| line.contains(&of_cell)).map(str::to_owned));
        }
        lines
    }

    /// Waits until nothing is going on in the mounts: after the last close of a file, which no tool
    /// waits for, there may be a word about it in `.regfs/errors`.
    pub(crate) fn settle(&self) {
        for mount in [Some(&self.mount), self.other.as_ref()].into_iter().flatten() {
            let is_quiet = || {
                let text = fs::read_to_string(mount.path().join(".regfs/metrics")).unwrap();
                let has = |line: &str| text.lines().any(|other| other == line);
                // The call that asks is one.
                has("regfs_open_files 0") && has("regfs_calls_under_way 1")
            };
            eventually(Duration::from_secs(60), "nothing is going on in a mount", is_quiet);
        }
    }

    /// The reason for what leaves no line, by what a tool printed: the first lines of `.regfs/errors`
    /// explain what the kernel refuses by itself, and what tools try and do without.
    pub(crate) fn ordinary_reason(&self, text: &str) -> Option<Reason> {
        let text = text.replace(FALLOCATE_SAYS, "Operation not supported");
        let legend = fs::read_to_string(self.mount.path().join(".regfs/errors")).unwrap();
        legend.lines().find_map(|line| {
            let (said, remedy) = line.strip_prefix("#   ")?.split_once("  ")?;
            let (_, errno) = ORDINARY.iter().find(|(other, _)| *other == said)?;
            text.contains(said).then(|| Reason {
                errno: (*errno).to_owned(),
                reason: said.to_owned(),
                remedy: remedy.trim().to_owned(),
            })
        })
    }

    /// How many uploads the stores have of the cell `name`, seen or not.
    pub(crate) fn stored_uploads(&self, name: &str) -> usize {
        let mounts = [Some(&self.mount), self.other.as_ref()];
        let stores = mounts.into_iter().flatten().map(Mount::store);
        stores.map(|store| count(&store.join("docker/registry/v2/repositories").join(name))).sum()
    }
}

/// How many uploads lie below a folder of a store.
fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| match entry.file_name().to_str() {
            Some("startedat") => 1,
            _ if entry.path().is_dir() => count(&entry.path()),
            _ => 0,
        })
        .sum()
}

impl Side {
    /// Makes the folders, and what is in `place` before.
    pub(crate) fn prepare(&self, place: &Place, result: Option<&[u8]>) {
        for root in [Some(&self.root), self.elsewhere.as_ref()].into_iter().flatten() {
            for repository in ["r", "s"] {
                for area in ["layers", "manifests", "uploads"] {
                    fs::create_dir_all(root.join(repository).join(area)).unwrap();
                }
                let config = root.join(repository).join("layers").join(digest_of(CONFIG));
                write(&config, CONFIG, BEFORE_AT);
            }
        }
        fs::create_dir_all(&self.disk).unwrap();
        for (path, content) in place.before {
            let file = self.root.join(self.with_paths(path, result));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            write(&file, bytes(*content, result), BEFORE_AT);
        }
        write(&self.disk.join("file"), bytes(place.file, result), FILE_AT);
    }

    /// A command or path, with paths in place of `FILE` and so on.
    pub(crate) fn with_paths(&self, text: &str, result: Option<&[u8]>) -> String {
        let mut text = text.to_owned();
        for (name, content) in [
            ("@config", Content::Config),
            ("@blob", Content::Blob),
            ("@other_blob", Content::OtherBlob),
            ("@manifest", Content::Manifest),
            ("@other_manifest", Content::OtherManifest),
            ("@result", Content::Result),
        ] {
            if text.contains(name) {
                text = text.replace(name, &digest_of(bytes(content, result)));
            }
        }
        let elsewhere = self.elsewhere.as_ref().map(|path| path.display().to_string());
        text.replace("FILE", "DISK/file")
            .replace("DISK", &self.disk.display().to_string())
            .replace("ELSEWHERE", &elsewhere.unwrap_or_default())
    }

    /// The command of `place`, with what is typed after it.
    pub(crate) fn command(&self, command: &str, place: &Place, result: Option<&[u8]>) -> String {
        let and = if place.then.is_empty() { "" } else { " && " };
        let text = format!("{command}{and}{}", place.then);
        let text = text.replace("PLACE", place.to).replace("FROM", place.from);
        self.with_paths(&text.replace("TO", place.to), result)
    }

    /// What a tool printed, with words for the paths.
    pub(crate) fn normal(&self, text: &str, place: &Place, result: Option<&[u8]>) -> String {
        let (from, to) = (self.with_paths(place.from, result), self.with_paths(place.to, result));
        let mut text = text.to_owned();
        let name = if place.from.is_empty() { "PLACE" } else { "TO" };
        for (path, word) in [(to, name), (from, "FROM")] {
            if path.len() > 1 {
                text = text.replace(&format!("'{path}'"), &format!("'{word}'"));
            }
        }
        text = text.replace(&format!("{}/", self.root.display()), "");
        text = text.replace(&format!("{}/", self.disk.display()), "");
        if let Some(path) = &self.elsewhere {
            text = text.replace(&path.display().to_string(), "elsewhere");
        }
        sorted_by_path(&text)
    }

    /// Everything that is there; `hidden` as it is on the other side.
    pub(crate) fn snapshot(&self, times: bool, hidden: &Snapshot) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.add("root", &self.root, times, &hidden.unlisted("root"));
        if let Some(elsewhere) = &self.elsewhere {
            snapshot.add("elsewhere", elsewhere, times, &hidden.unlisted("elsewhere"));
        }
        snapshot.add("disk", &self.disk, times, &BTreeSet::new());
        snapshot
    }
}

/// `text` with lines in a row that say the same of several paths in the order of these: tools go
/// through a folder in the order that the disk has by chance.
fn sorted_by_path(text: &str) -> String {
    let around = |line: &&str| {
        let quotes = line.find('\'').zip(line.rfind('\''));
        quotes.map(|(first, last)| (line[..first].to_owned(), line[last..].to_owned()))
    };
    let text = sorted_pairs(text);
    let lines: Vec<_> = text.split('\n').collect();
    let runs = lines.chunk_by(|one, next| around(one).is_some() && around(one) == around(next));
    let sorted = runs.flat_map(|run| {
        let mut run = run.to_vec();
        run.sort_unstable();
        run
    });
    sorted.collect::<Vec<_>>().join("\n")
}

/// The same within the list of tuples that an error of Python may have.
fn sorted_pairs(text: &str) -> String {
    let Some((before, list)) = text.split_once("[(") else { return text.to_owned() };
    let Some((list, after)) = list.split_once(")]") else { return text.to_owned() };
    let mut pairs: Vec<_> = list.split("), (").collect();
    pairs.sort_unstable();
    format!("{before}[({})]{after}", pairs.join("), ("))
}

/// Makes a file, last changed at `at`.
fn write(file: &Path, bytes: &[u8], at: i64) {
    fs::write(file, bytes).unwrap();
    let at = Timespec { tv_sec: at, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: at, last_modification: at };
    utimensat(CWD, file, &times, AtFlags::empty()).unwrap();
}

/// The bytes of a content.
pub(crate) fn bytes(content: Content, result: Option<&[u8]>) -> &[u8] {
    static BLOB: LazyLock<Vec<u8>> = LazyLock::new(|| lines(1, 150_000));
    static OTHER_BLOB: LazyLock<Vec<u8>> = LazyLock::new(|| lines(2, 200_000));
    static MANIFEST: LazyLock<Vec<u8>> = LazyLock::new(|| manifest("one"));
    static OTHER_MANIFEST: LazyLock<Vec<u8>> = LazyLock::new(|| manifest("another"));
    match content {
        Content::Config => CONFIG,
        Content::Blob => &BLOB,
        Content::OtherBlob => &OTHER_BLOB,
        Content::Manifest => &MANIFEST,
        Content::OtherManifest => &OTHER_MANIFEST,
        Content::Junk => b"no manifest\n",
        Content::Result => result.expect("the tool makes a file on a disk"),
    }
}

/// `length` bytes of text, in lines.
fn lines(seed: u64, length: usize) -> Vec<u8> {
    let mut text: Vec<u8> = noise(seed, length).iter().map(|byte| b'a' + byte % 26).collect();
    text.iter_mut().skip(60).step_by(61).for_each(|byte| *byte = b'\n');
    text.push(b'\n');
    text
}

/// A manifest in lines, as a person would edit it.
fn manifest(colour: &str) -> Vec<u8> {
    let text = manifest_of((&digest_of(CONFIG), CONFIG.len()), &[]);
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["annotations"] = serde_json::json!({ "colour": colour });
    format!("{value:#}\n").into_bytes()
}
