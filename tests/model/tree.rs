//! Everything that can be seen of a registry, to be compared: names, attributes, contents.

use super::outcome::{Refusal, Result};
use super::words::called;
use regfs::model::Area;
use std::{collections::BTreeMap, fmt, fmt::Write as _};

/// Every path with what is there.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// What is at a path.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// How often a listing of its folder shows it: 0 for what is found by name only.
    pub(crate) listed: usize,
    pub(crate) kind: Kind,
}

/// What stat and read give.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder(Marks),
    File {
        marks: Marks,
        length: u64,
        modified_at: Time,
        /// What reading gives.
        content: Result<Vec<u8>>,
    },
    /// It is listed, and cannot be looked at.
    Refused(Refusal),
}

/// What people set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `user.colour`
    pub(crate) colour: Option<String>,
}

/// A time of modification: one that somebody has set, which lies long ago, or that of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Set(i64),
    Recent,
}

/// Times that programs set lie before this one.
const SET_MAX_SECONDS: i64 = 1_500_000_000;

impl Time {
    pub(crate) fn of(seconds: i64) -> Self {
        if seconds < SET_MAX_SECONDS { Self::Set(seconds) } else { Self::Recent }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.listed {
            0 => formatter.write_str("not listed, ")?,
            1 => {}
            times => write!(formatter, "listed {times} times, ")?,
        }
        match &self.kind {
            Kind::Folder(marks) => write!(formatter, "folder {marks}"),
            Kind::File { marks, length, modified_at, content } => {
                write!(formatter, "file {marks} {length} bytes, {modified_at:?}, ")?;
                match content {
                    Ok(bytes) => formatter.write_str(&called(bytes)),
                    Err(refusal) => write!(formatter, "read: {refusal:?}"),
                }
            }
            Kind::Refused(refusal) => write!(formatter, "{refusal:?}"),
        }
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:o} {}:{}", self.mode, self.uid, self.gid)?;
        self.colour.iter().try_for_each(|colour| write!(formatter, " {colour}"))
    }
}

/// The area of a repository in which a path lies, `a/layers`; `None` for a repository or namespace.
pub(crate) fn area_of(path: &str) -> Option<&str> {
    let areas = Area::ALL.map(|area| format!("/{}", area.name()));
    areas.iter().find_map(|area| {
        let end = path.find(area)? + area.len();
        let rest = &path[end..];
        (rest.is_empty() || rest.starts_with('/') || rest.starts_with(' ')).then(|| &path[..end])
    })
}

/// What differs, in words; empty when nothing does.
pub(crate) fn differences(model: &Tree, mount: &Tree) -> String {
    let mut text = String::new();
    let paths: std::collections::BTreeSet<&String> = model.keys().chain(mount.keys()).collect();
    for path in paths {
        let (expected, seen) = (model.get(path), mount.get(path));
        if expected != seen {
            let show = |entry: Option<&Entry>| {
                entry.map_or("nothing".to_owned(), |entry| format!("{entry:?}"))
            };
            writeln!(text, "{path}\n    model: {}\n    mount: {}", show(expected), show(seen))
                .unwrap();
        }
    }
    text
}
