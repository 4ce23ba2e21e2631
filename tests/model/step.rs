//! One step of a program, and how it is written: one line, so that a program that failed can be
//! pasted into a test.

use super::words::{Path, content};
use std::fmt;

/// A number under which a file is kept open.
pub(crate) type Slot = u8;

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Mkdir(Path),
    Rmdir(Path),
    Unlink(Path),
    Rename(Path, Path, Replacing),
    Link(Path, Path),
    /// `cp` within the mount: one file range is copied from file to file.
    Copy(Path, Path),
    /// `cp` from outside: open emptied, write all, close.
    Put(Bytes, Path),
    /// `cat >>`.
    Append(Bytes, Path),
    Chmod(u32, Path),
    Chown(u32, Path),
    /// `touch -d @SECONDS`
    Touch(i64, Path),
    Setxattr(&'static str, Path),
    Removexattr(Path),
    /// truncate(2) by name.
    Resize(u64, Path),
    Open(Slot, Access, Path),
    /// At an offset, or where the file ends when it was opened to append.
    Write(Slot, Bytes, u64),
    Truncate(Slot, u64),
    Read(Slot),
    Sync(Slot),
    /// A close of a second descriptor of the file: the first stays open.
    Flush(Slot),
    Close(Slot),
    /// Everything is closed, then unmounted and mounted.
    Remount,
    /// The daemon is killed with files open, and the store mounted again.
    Kill,
    /// What a docker-registry does with the same store.
    PushBlob(Path, &'static str),
    PushManifest(Path, &'static str, Option<String>),
    DeleteBlob(Path, &'static str),
    DeleteManifest(Path, &'static str),
    /// What follows happens in this mount of the store.
    On(usize),
}

/// What becomes of a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replacing {
    Yes,
    No,
    Exchange,
}

/// A part of a content: these bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) content: &'static str,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    pub(crate) append: bool,
}

/// The letters of [`Access`], in the order of its fields.
const LETTERS: [char; 6] = ['r', 'w', 'c', 'x', 't', 'a'];

impl Access {
    /// From letters: `wct` writes, creates, truncates.
    pub(crate) fn of(letters: &str) -> Self {
        assert!(letters.chars().all(|letter| LETTERS.contains(&letter)), "{letters}");
        let [read, write, create, exclusive, truncate, append] =
            LETTERS.map(|letter| letters.contains(letter));
        Self { read, write, create, exclusive, truncate, append }
    }

    fn fields(self) -> [bool; 6] {
        [self.read, self.write, self.create, self.exclusive, self.truncate, self.append]
    }
}

impl Bytes {
    /// All of a content.
    pub(crate) fn all(name: &str) -> Self {
        let found = content(name);
        Self { content: found.name, start: 0, end: found.bytes.len() }
    }

    pub(crate) fn get(&self) -> &'static [u8] {
        &content(self.content).bytes[self.start..self.end]
    }

    fn parse(text: &str) -> Self {
        let Some((name, range)) = text.split_once('[') else { return Self::all(text) };
        let (start, end) = range.trim_end_matches(']').split_once("..").unwrap();
        let (start, end) = (start.parse().unwrap(), end.parse().unwrap());
        Self { start, end, ..Self::all(name) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::all(self.content) {
            return formatter.write_str(self.content);
        }
        write!(formatter, "{}[{}..{}]", self.content, self.start, self.end)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = LETTERS.iter().zip(self.fields()).filter(|(_, is_set)| *is_set);
        formatter.write_str(&letters.map(|(letter, _)| letter).collect::<String>())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mkdir(path) => write!(formatter, "mkdir {path}"),
            Self::Rmdir(path) => write!(formatter, "rmdir {path}"),
            Self::Unlink(path) => write!(formatter, "rm {path}"),
            Self::Rename(from, to, Replacing::Yes) => write!(formatter, "mv {from} {to}"),
            Self::Rename(from, to, Replacing::No) => write!(formatter, "mv-new {from} {to}"),
            Self::Rename(from, to, Replacing::Exchange) => {
                write!(formatter, "exchange {from} {to}")
            }
            Self::Link(from, to) => write!(formatter, "ln {from} {to}"),
            Self::Copy(from, to) => write!(formatter, "cp {from} {to}"),
            Self::Put(bytes, path) => write!(formatter, "put {bytes} {path}"),
            Self::Append(bytes, path) => write!(formatter, "append {bytes} {path}"),
            Self::Chmod(mode, path) => write!(formatter, "chmod {mode:o} {path}"),
            Self::Chown(owner, path) => write!(formatter, "chown {owner} {path}"),
            Self::Touch(seconds, path) => write!(formatter, "touch {seconds} {path}"),
            Self::Setxattr(value, path) => write!(formatter, "setfattr {value} {path}"),
            Self::Removexattr(path) => write!(formatter, "delfattr {path}"),
            Self::Resize(length, path) => write!(formatter, "resize {length} {path}"),
            Self::Open(slot, access, path) => write!(formatter, "open {slot} {access} {path}"),
            Self::Write(slot, bytes, at) => write!(formatter, "write {slot} {bytes} {at}"),
            Self::Truncate(slot, length) => write!(formatter, "truncate {slot} {length}"),
            Self::Read(slot) => write!(formatter, "read {slot}"),
            Self::Sync(slot) => write!(formatter, "sync {slot}"),
            Self::Flush(slot) => write!(formatter, "flush {slot}"),
            Self::Close(slot) => write!(formatter, "close {slot}"),
            Self::Remount => write!(formatter, "remount"),
            Self::Kill => write!(formatter, "kill"),
            Self::PushBlob(path, content) => write!(formatter, "push-blob {path} {content}"),
            Self::PushManifest(path, content, None) => {
                write!(formatter, "push-manifest {path} {content}")
            }
            Self::PushManifest(path, content, Some(tag)) => {
                write!(formatter, "push-manifest {path} {content} {tag}")
            }
            Self::DeleteBlob(path, content) => write!(formatter, "delete-blob {path} {content}"),
            Self::DeleteManifest(path, content) => {
                write!(formatter, "delete-manifest {path} {content}")
            }
            Self::On(mount) => write!(formatter, "on {mount}"),
        }
    }
}

/// The extended attribute's values that there are.
pub(crate) const VALUES: [&str; 2] = ["red", "blue"];

/// A program: the inverse of printing its steps, each on a line.
pub(crate) fn parse(text: &str) -> Vec<Step> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Step {
    let words: Vec<&str> = line.split_whitespace().collect();
    let path = Path::from;
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
    let slot = |text: &str| text.parse::<Slot>().unwrap_or_else(|_| panic!("{line}"));
    match *words.as_slice() {
        ["mkdir", at] => Step::Mkdir(path(at)),
        ["rmdir", at] => Step::Rmdir(path(at)),
        ["rm", at] => Step::Unlink(path(at)),
        ["mv", from, to] => Step::Rename(path(from), path(to), Replacing::Yes),
        ["mv-new", from, to] => Step::Rename(path(from), path(to), Replacing::No),
        ["exchange", from, to] => Step::Rename(path(from), path(to), Replacing::Exchange),
        ["ln", from, to] => Step::Link(path(from), path(to)),
        ["cp", from, to] => Step::Copy(path(from), path(to)),
        ["put", bytes, at] => Step::Put(Bytes::parse(bytes), path(at)),
        ["append", bytes, at] => Step::Append(Bytes::parse(bytes), path(at)),
        ["chmod", mode, at] => Step::Chmod(u32::from_str_radix(mode, 8).unwrap(), path(at)),
        ["chown", owner, at] => Step::Chown(owner.parse().unwrap(), path(at)),
        ["touch", seconds, at] => Step::Touch(seconds.parse().unwrap(), path(at)),
        ["setfattr", value, at] => {
            let value = VALUES.into_iter().find(|known| *known == value).unwrap();
            Step::Setxattr(value, path(at))
        }
        ["delfattr", at] => Step::Removexattr(path(at)),
        ["resize", length, at] => Step::Resize(number(length), path(at)),
        ["open", at, access, file] => Step::Open(slot(at), Access::of(access), path(file)),
        ["write", at, bytes, offset] => Step::Write(slot(at), Bytes::parse(bytes), number(offset)),
        ["truncate", at, length] => Step::Truncate(slot(at), number(length)),
        ["read", at] => Step::Read(slot(at)),
        ["sync", at] => Step::Sync(slot(at)),
        ["flush", at] => Step::Flush(slot(at)),
        ["close", at] => Step::Close(slot(at)),
        ["remount"] => Step::Remount,
        ["kill"] => Step::Kill,
        ["push-blob", at, name] => Step::PushBlob(path(at), content(name).name),
        ["push-manifest", at, name] => Step::PushManifest(path(at), content(name).name, None),
        ["push-manifest", at, name, tag] => {
            Step::PushManifest(path(at), content(name).name, Some(tag.to_owned()))
        }
        ["delete-blob", at, name] => Step::DeleteBlob(path(at), content(name).name),
        ["delete-manifest", at, name] => Step::DeleteManifest(path(at), content(name).name),
        ["on", mount] => Step::On(mount.parse().unwrap()),
        _ => panic!("this is no step: {line}"),
    }
}

/// A program as text, indented as in a test.
pub(crate) fn text_of(program: &[Step]) -> String {
    program.iter().map(|step| format!("        {step}\n")).collect()
}
