//! What strace saw, as operations on the files of a store.
//!
//! With `-y` strace shows where each descriptor leads at that moment, and with `-xx` every name and all
//! data as hexadecimal digits, so that nothing needs to be guessed. Modes, owners, times and extended
//! attributes are left out: no name and no byte depends on them.

use std::{collections::BTreeMap, path::Path};

/// An operation on the store; names are relative to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A folder is made.
    Folder(String),
    /// A file is made, unless it is there.
    Create(String),
    /// Bytes come into a file; at its end when no place is said.
    Write(String, Option<usize>, Vec<u8>),
    /// A file gets this length.
    Cut(String, usize),
    /// A file gets bytes of another at its end.
    Copy(String, String, usize),
    /// A name becomes another.
    Rename(String, String),
    /// Two names change places.
    Exchange(String, String),
    /// A file gets one more name.
    Link(String, String),
    /// A name goes.
    Remove(String),
    /// The bytes of a file, or the names so far if it is a folder, survive a power cut.
    Sync(String),
    /// Everything so far survives a power cut.
    SyncAll,
    /// The scenario has come so far.
    Mark(usize),
}

/// The calls that are recorded.
pub(crate) const CALLS: &str = "openat2,mkdirat,renameat2,renameat,linkat,unlinkat,write,pwrite64,\
    copy_file_range,ftruncate,fallocate,fdatasync,fsync,syncfs";

/// How strace is told to show everything.
pub(crate) const SHOW: &str = "-f -y -xx -s 2000000 -e quiet=attach,personality,thread-execve";

/// A call with its arguments and what came of it.
struct Call<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    result: &'a str,
}

/// The operations in what strace printed, on the store in the folder `store`.
pub(crate) fn operations(trace: &str, store: &Path) -> Vec<Op> {
    let store = format!("{}/", store.to_str().unwrap());
    whole_lines(trace).iter().filter_map(|line| operation(&parse(line)?, &store)).collect()
}

/// The lines, each call in one: what strace has begun to print before another thread made a call stands
/// where it ended.
fn whole_lines(trace: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start);
        } else if let Some((_, end)) = rest.split_once(" resumed>") {
            lines.push(begun.remove(thread).unwrap_or_default().to_owned() + end);
        } else {
            lines.push(rest.to_owned());
        }
    }
    lines
}

/// `None` for what is no call, or one that failed.
fn parse(line: &str) -> Option<Call<'_>> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") = ").or_else(|| rest.rsplit_once(" = "))?;
    let arguments = arguments.trim_end().trim_end_matches(')');
    // Marks are names that are looked for, and not there.
    let failed = result.starts_with('-') && !arguments.contains("O_PATH");
    (!failed).then(|| Call { name, arguments: split(arguments), result })
}

/// Splits at the commas that are in no braces.
fn split(arguments: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (index, byte) in arguments.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(arguments[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[start..].trim());
    parts
}

/// The bytes of `"\x61…"`, or of what stands between `<` and `>`.
fn bytes(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits.map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap()).collect()
}

fn text(argument: &str) -> String {
    String::from_utf8(bytes(argument)).unwrap()
}

impl Call<'_> {
    /// The file of a descriptor, in the store; `None` for others, and for one that has no name.
    fn file(&self, index: usize, store: &str) -> Option<String> {
        let path = text(self.arguments.get(index)?.split_once('<')?.1);
        let path = if format!("{path}/") == store { String::new() } else { inside(&path, store)? };
        (!path.ends_with(" (deleted)")).then_some(path)
    }

    /// The name that a descriptor of a folder and a path stand for.
    fn at(&self, index: usize, store: &str) -> Option<String> {
        let path = text(self.arguments.get(index + 1)?);
        let folder = text(self.arguments.get(index)?.split_once('<').map_or("", |(_, path)| path));
        let whole = if path.starts_with('/') { path } else { format!("{folder}/{path}") };
        inside(&whole, store)
    }

    fn number(&self, index: usize) -> usize {
        self.arguments[index].parse().unwrap()
    }

    /// How many bytes it says it has written.
    fn count(&self) -> usize {
        self.result.split(' ').next().unwrap().parse().unwrap()
    }
}

fn inside(path: &str, store: &str) -> Option<String> {
    path.strip_prefix(store).map(|path| path.trim_end_matches("/.").to_owned())
}

fn operation(call: &Call<'_>, store: &str) -> Option<Op> {
    Some(match call.name {
        "openat2" if call.arguments[2].contains("O_PATH") => {
            let path = text(call.arguments.get(1)?);
            return path.rsplit_once("/mark-")?.1.parse().ok().map(Op::Mark);
        }
        "openat2" if call.arguments[2].contains("O_CREAT") => Op::Create(call.at(0, store)?),
        "mkdirat" => Op::Folder(call.at(0, store)?),
        "renameat" | "renameat2" => {
            let (from, to) = (call.at(0, store)?, call.at(2, store)?);
            match call.arguments.get(4).is_some_and(|flags| flags.contains("EXCHANGE")) {
                true => Op::Exchange(from, to),
                false => Op::Rename(from, to),
            }
        }
        "linkat" => Op::Link(call.at(0, store)?, call.at(2, store)?),
        "unlinkat" => Op::Remove(call.at(0, store)?),
        "write" | "pwrite64" => {
            let mut data = bytes(call.arguments[1]);
            data.truncate(call.count());
            let place = (call.name == "pwrite64").then(|| call.number(3));
            Op::Write(call.file(0, store)?, place, data)
        }
        "copy_file_range" => Op::Copy(call.file(0, store)?, call.file(2, store)?, call.count()),
        "ftruncate" => Op::Cut(call.file(0, store)?, call.number(1)),
        "fallocate" => panic!("no scenario has this: {}", call.result),
        "fdatasync" | "fsync" => Op::Sync(call.file(0, store)?),
        "syncfs" => Op::SyncAll,
        _ => return None,
    })
}
