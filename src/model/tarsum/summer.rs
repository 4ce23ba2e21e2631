//! The calculation, over a tar archive that is fed in pieces.

use crate::model::tar::{Entry, Event, Reader, XATTR_PREFIX};
use crate::model::tarsum::{Hash, Version, sort::sort};
use crate::model::{Algorithm, Digest, Error, Result};
use sha2::{Digest as _, Sha256, Sha512};

/// How many entries an archive may have. The sums are kept until the end, with about 55 bytes for
/// each, so this is some 110 MiB; the largest layers have a few hundred thousand files.
pub const ENTRIES_MAX: usize = 1 << 21;
/// How many zeros the holes of an archive's sparse files may have in all. They take time and no
/// room, so that a short archive could keep a hasher busy for years.
pub const HOLE_BYTES_MAX: u64 = 64 << 30;
/// How many bytes the odd repetition of an attribute without a name may have; see [`Summer::feed`].
const REPEATED_BYTES_MAX: usize = 16 << 20;
/// The greatest mode that fits eight octal digits. The registry of 2015 wrote each header again
/// while it summed, and refused what did not fit.
const MODE_MAX: i64 = 0o7777_7777;

/// Sums up an archive that is fed in pieces. Memory is bounded, whatever is fed.
#[derive(Debug)]
pub struct Summer {
    reader: Reader,
    running: Running,
    /// Whether `running` has an entry in it.
    is_within: bool,
    /// What is hashed for an entry before its body; kept for its memory.
    text: Vec<u8>,
    hole_bytes: u64,
    sums: Sums,
    fault: Option<Error>,
}

/// The sums of an archive's entries, in the order of the archive.
#[derive(Clone, Debug)]
pub struct Sums {
    version: Version,
    hash: Hash,
    /// One sum after the other.
    bytes: Vec<u8>,
    paths: Vec<PathMark>,
}

/// Stands for the path of an entry: the first half of its sha256. Two paths with one mark would be
/// taken for one, and the sum would be another than that of 2015; nobody can make such two.
type PathMark = [u8; 16];

#[derive(Clone, Debug)]
enum Running {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Running {
    fn new(hash: Hash) -> Self {
        match hash {
            Hash::Sha256 => Self::Sha256(Sha256::new()),
            Hash::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// Adds the hash to `sums`, and begins anew.
    fn finish_into(&mut self, sums: &mut Vec<u8>) {
        match self {
            Self::Sha256(hash) => sums.extend_from_slice(&hash.finalize_reset()),
            Self::Sha512(hash) => sums.extend_from_slice(&hash.finalize_reset()),
        }
    }
}

impl Summer {
    /// Nothing summed up yet.
    pub fn new(version: Version, hash: Hash) -> Self {
        Self {
            reader: Reader::new(),
            running: Running::new(hash),
            is_within: false,
            text: Vec::new(),
            hole_bytes: 0,
            sums: Sums { version, hash, bytes: Vec::new(), paths: Vec::new() },
            fault: None,
        }
    }

    /// Sums up `bytes` behind what came before. What is wrong with them is said at the end, or by
    /// [`Summer::fault`].
    pub fn update(&mut self, bytes: &[u8]) {
        if self.fault.is_none() {
            self.fault = self.read(bytes).err();
        }
    }

    /// What is wrong with the bytes so far; more of them cannot mend it.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    /// The TarSum of everything. Errors: `TarInvalid`.
    pub fn digest(self) -> Result<Digest> {
        self.finish().map(|sums| sums.digest(&[]))
    }

    /// The sums of all entries. Errors: `TarInvalid`.
    pub fn finish(mut self) -> Result<Sums> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.reader.finish()?;
        self.finish_entry();
        Ok(self.sums)
    }

    fn read(&mut self, mut input: &[u8]) -> Result<()> {
        while let Some(event) = self.reader.next(&mut input)? {
            match event {
                Event::Entry(entry) => {
                    self.finish_entry();
                    self.begin(&entry)?;
                }
                Event::Body(bytes) => self.running.update(bytes),
                Event::Hole(length) => self.hole(length)?,
                Event::End => {}
            }
        }
        Ok(())
    }

    fn finish_entry(&mut self) {
        if std::mem::take(&mut self.is_within) {
            self.running.finish_into(&mut self.sums.bytes);
        }
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        let refused = |reason: String| {
            Err(Error::TarInvalid { what: "entry", offset: entry.header_offset, reason })
        };
        if self.sums.paths.len() >= ENTRIES_MAX {
            return refused(format!("it is one more than {ENTRIES_MAX}"));
        }
        if !(0..=MODE_MAX).contains(&entry.mode) {
            return refused(format!("its mode has more than eight octal digits: {:o}", entry.mode));
        }
        if entry.has_two_sizes() {
            // Where the next file begins depends on whom one asks.
            return refused("its PAX header has another size than its own".to_owned());
        }
        self.is_within = true;
        self.sums.paths.push(path_mark(&entry.name));
        self.feed(entry).or_else(refused)
    }

    /// Hashes what counts of an entry before its body: keys and values without anything between.
    fn feed(&mut self, entry: &Entry) -> Result<(), String> {
        let version = self.sums.version;
        let text = &mut self.text;
        text.clear();
        let mut field = |key: &str, value: &[u8]| {
            text.extend_from_slice(key.as_bytes());
            text.extend_from_slice(value);
        };
        field("name", &entry.name);
        field("mode", entry.mode.to_string().as_bytes());
        field("uid", entry.uid.to_string().as_bytes());
        field("gid", entry.gid.to_string().as_bytes());
        field("size", entry.size.to_string().as_bytes());
        if version == Version::V0 {
            field("mtime", entry.mtime.to_string().as_bytes());
        }
        field("typeflag", &[entry.typeflag()]);
        field("linkname", &entry.linkname);
        field("uname", &entry.uname);
        field("gname", &entry.gname);
        field("devmajor", entry.devmajor.to_string().as_bytes());
        field("devminor", entry.devminor.to_string().as_bytes());
        if version != Version::V0 {
            feed_attributes(entry, text)?;
        }
        self.running.update(text);
        Ok(())
    }

    fn hole(&mut self, length: u64) -> Result<()> {
        const ZEROS: &[u8] = &[0; 1 << 16];
        self.hole_bytes = self.hole_bytes.saturating_add(length);
        if self.hole_bytes > HOLE_BYTES_MAX {
            let reason = format!("its sparse files have holes of more than {HOLE_BYTES_MAX} bytes");
            return Err(Error::TarInvalid { what: "body", offset: self.reader.offset(), reason });
        }
        let mut left = length;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            self.running.update(&ZEROS[..count]);
            left -= count as u64;
        }
        Ok(())
    }
}

/// Adds the extended attributes of an entry, sorted by their keys.
///
/// The original began its list of keys with as many empty ones as there are attributes. That shows
/// only where an attribute has no name, and then its value is hashed that many times more.
fn feed_attributes(entry: &Entry, text: &mut Vec<u8>) -> Result<(), String> {
    let Some(pax) = &entry.pax else { return Ok(()) };
    let mut attributes: Vec<(&[u8], &[u8])> = pax
        .records()
        .filter_map(|(key, value)| Some((key.strip_prefix(XATTR_PREFIX)?, value)))
        .collect();
    // Of each key the last one counts: the first, once they are turned about.
    attributes.reverse();
    attributes.sort_by_key(|(key, _)| *key);
    attributes.dedup_by_key(|(key, _)| *key);
    if let Some((b"", value)) = attributes.first() {
        let times = attributes.len();
        if times.saturating_mul(value.len()) > REPEATED_BYTES_MAX {
            return Err("an attribute without a name is too long to be repeated".to_owned());
        }
        text.extend(std::iter::repeat_n(*value, times).flatten());
    }
    for (key, value) in attributes {
        text.extend_from_slice(key);
        text.extend_from_slice(value);
    }
    Ok(())
}

impl Sums {
    /// The TarSum. `extra` comes before the entries: the image's JSON in the protocol before the
    /// registry's, nothing for layers.
    pub fn digest(&self, extra: &[u8]) -> Digest {
        let mut running = Running::new(self.hash);
        running.update(extra);
        let mut hex = vec![0; 2 * self.hash.length()];
        for index in self.order() {
            for (byte, pair) in self.sum(index as usize).iter().zip(hex.chunks_exact_mut(2)) {
                pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
                pair[1] = HEX_DIGITS[usize::from(byte & 15)];
            }
            running.update(&hex);
        }
        let mut hash = Vec::with_capacity(self.hash.length());
        running.finish_into(&mut hash);
        Digest::of(Algorithm::TarSum(self.version, self.hash), &hash)
    }

    /// The sum of each entry, in the order of the archive.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.hash.length())
    }

    fn sum(&self, index: usize) -> &[u8] {
        let length = self.hash.length();
        &self.bytes[index * length..][..length]
    }

    /// The entries in the order in which their sums are hashed.
    fn order(&self) -> Vec<u32> {
        // Below `ENTRIES_MAX`, and so below 2^32.
        let mut order: Vec<u32> = (0..).take(self.paths.len()).collect();
        let path = |index: u32| &self.paths[index as usize];
        order.sort_unstable_by_key(|index| path(*index));
        let has_twins = order.windows(2).any(|pair| path(pair[0]) == path(pair[1]));
        order.sort_unstable();
        // The text of a sum has the order of its bytes.
        let sum = |index: u32| self.sum(index as usize);
        if has_twins {
            sort(&mut order, |one, other| {
                if path(one) == path(other) { one < other } else { sum(one) < sum(other) }
            });
        } else {
            order.sort_unstable_by_key(|index| sum(*index));
        }
        order
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What stands for a path: for `./x`, `x` and `x/` the same.
fn path_mark(name: &[u8]) -> PathMark {
    let path = name.strip_prefix(b"./").unwrap_or(name);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    Sha256::digest(path).first_chunk().copied().unwrap_or_default()
}
