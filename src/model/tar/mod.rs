//! The one reader of tar: what an archive holds, its raw headers, and where each body lies.
//!
//! It does no I/O: bytes are fed in pieces of any length, and what they mean comes out in events.
//! The bytes of a body are lent from the piece that was fed, never copied. Memory is bounded
//! whatever is fed: by the limits below and one piece.
//!
//! It reads as the registry of 2015 read, because TarSum hashes what that saw: a global PAX header
//! (`g`) is a file like any other, links and folders have bodies when their size says so, sparse
//! files are expanded. The one thing it does otherwise is the size in a PAX header: it is the
//! length of the stored body, as for every reader since; TarSum refuses where that matters.

mod entry;
mod header;
mod pax;
mod sparse;

pub use entry::{Entry, XATTR_PREFIX};
pub use header::{BLOCK_LENGTH, Block, Flavour, Header};
pub use pax::Pax;
pub use sparse::{EXTENTS_MAX, Extent};

use crate::model::{Error, Result};
use entry::Pending;
use sparse::{Map, MapLines};
use std::{collections::VecDeque, sync::Arc};

/// Longest name in a GNU header of its own, in bytes: far more than any system can open.
pub const NAME_BYTES_MAX: u64 = 1 << 20;
/// Longest PAX header in bytes: it may hold every attribute that Linux allows for a file, or the
/// map of a sparse file in a hundred thousand pieces.
pub const PAX_BYTES_MAX: u64 = 8 << 20;

/// What the bytes of an archive mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file begins; its body follows.
    Entry(Box<Entry>),
    /// The next bytes of the file's body.
    Body(&'a [u8]),
    /// So many zeros come next in the file's body: a hole of a sparse file.
    Hole(u64),
    /// The archive has ended. What comes behind is not looked at.
    End,
}

/// Reads an archive from pieces of it.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    /// How many bytes were read.
    offset: u64,
    /// The beginning of a block that is not whole yet.
    block: Vec<u8>,
    /// What headers before the next entry say about it.
    before: Before,
}

/// What is read next.
#[derive(Debug, Default)]
enum State {
    /// A header.
    #[default]
    Header,
    /// The second of the two zero blocks at the end.
    SecondZero,
    /// The body of a header for the next entry.
    Text { kind: TextKind, left: u64, text: Vec<u8> },
    /// Blocks with more of an old GNU sparse map.
    Extension(Box<Entry>, Map),
    /// A sparse map at the beginning of a body.
    Lines(Box<Entry>, MapLines),
    /// A body.
    Body(Body),
    /// Bytes that lie behind the last piece of a sparse file and belong to none.
    Surplus(u64),
    /// What fills the last block of a body.
    Padding(u64),
    /// Nothing: the archive has ended.
    End,
    /// Nothing: it was refused.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextKind {
    Pax,
    Name,
    LinkName,
}

/// What is left of a body.
#[derive(Debug)]
struct Body {
    /// Pieces that are still to come.
    extents: VecDeque<Extent>,
    /// What is left of the current piece.
    piece: u64,
    /// The place in the file behind the current piece.
    position: u64,
    /// The length of the file.
    size: u64,
    /// Stored bytes that belong to no piece that has begun.
    stored: u64,
}

/// Headers that say something about the next entry.
#[derive(Debug, Default)]
struct Before {
    /// Where the first of them begins.
    begin: Option<u64>,
    name: Option<Vec<u8>>,
    linkname: Option<Vec<u8>>,
    pax: Option<Pax>,
}

/// What came of one step.
enum Step<'a> {
    /// Go on.
    Next,
    /// More bytes are needed.
    Hungry,
    /// This.
    Event(Event<'a>),
}

impl Reader {
    /// A reader at the beginning of an archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads on in `input`, which is left at what was not read yet. `None`: more bytes are needed
    /// to go on, and `input` is empty. Errors: `TarInvalid`; then nothing more can be read.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>> {
        loop {
            match self.step(input) {
                Ok(Step::Next) => {}
                Ok(Step::Hungry) => return Ok(None),
                Ok(Step::Event(event)) => return Ok(Some(event)),
                Err(error) => {
                    self.state = State::Refused;
                    return Err(error);
                }
            }
        }
    }

    /// Says that no more bytes come. Errors: `TarInvalid` when the archive may not end here. It may
    /// without its two zero blocks, and within what fills the last block of a body.
    pub fn finish(&self) -> Result<()> {
        let what = match &self.state {
            State::Header | State::SecondZero if !self.block.is_empty() => "header",
            State::Header | State::Padding(_) if self.before.begin.is_some() => "header",
            State::Header | State::SecondZero | State::Padding(_) | State::End => return Ok(()),
            State::Text { .. } => "header",
            State::Extension(..) | State::Lines(..) => "sparse map",
            State::Body(_) | State::Surplus(_) => "body",
            State::Refused => "archive",
        };
        Err(invalid(what, self.offset, "the archive ends before it does".to_owned()))
    }

    fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>> {
        match &mut self.state {
            State::Header => self.header(input),
            State::SecondZero => {
                let Some((block, at)) = self.block(input) else { return Ok(Step::Hungry) };
                if !header::is_zero(&block) {
                    let reason = "it follows one block of zeros, and two end an archive";
                    return Err(invalid("header", at, reason.to_owned()));
                }
                self.state = State::End;
                Ok(Step::Event(Event::End))
            }
            State::Text { left, text, .. } if *left > 0 => {
                let part = take(input, *left);
                if part.is_empty() {
                    return Ok(Step::Hungry);
                }
                text.extend_from_slice(part);
                *left -= part.len() as u64;
                self.offset += part.len() as u64;
                Ok(Step::Next)
            }
            State::Text { kind, text, .. } => {
                let (kind, text) = (*kind, std::mem::take(text));
                self.state = State::Padding(padding(self.offset));
                let at = self.offset - text.len() as u64;
                self.before.take(kind, text).map_err(|reason| invalid("PAX header", at, reason))?;
                Ok(Step::Next)
            }
            State::Extension(..) | State::Lines(..) => self.map(input),
            State::Body(_) => Ok(self.body(input)),
            State::Surplus(left) | State::Padding(left) if *left > 0 => {
                let part = take(input, *left);
                if part.is_empty() {
                    return Ok(Step::Hungry);
                }
                *left -= part.len() as u64;
                self.offset += part.len() as u64;
                Ok(Step::Next)
            }
            State::Surplus(_) => {
                self.state = State::Padding(padding(self.offset));
                Ok(Step::Next)
            }
            State::Padding(_) => {
                self.state = State::Header;
                Ok(Step::Next)
            }
            State::End => {
                self.offset += input.len() as u64;
                *input = &[];
                Ok(Step::Hungry)
            }
            State::Refused => {
                let reason = "it was refused before".to_owned();
                Err(invalid("archive", self.offset, reason))
            }
        }
    }

    /// The next whole block, and where it lies.
    fn block(&mut self, input: &mut &[u8]) -> Option<(Block, u64)> {
        let missing = BLOCK_LENGTH - self.block.len();
        let part = take(input, missing as u64);
        self.offset += part.len() as u64;
        let at = self.offset - (self.block.len() + part.len()) as u64;
        if let Ok(block) = Block::try_from(part) {
            return Some((block, at));
        }
        self.block.extend_from_slice(part);
        let block = Block::try_from(&self.block[..]).ok()?;
        self.block.clear();
        Some((block, at))
    }

    fn header<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>> {
        let Some((block, at)) = self.block(input) else { return Ok(Step::Hungry) };
        let refused = |reason| invalid("header", at, reason);
        if header::is_zero(&block) {
            if self.before.begin.is_some() {
                return Err(refused(
                    "a PAX or GNU header comes last, and no entry behind it".into(),
                ));
            }
            self.state = State::SecondZero;
            return Ok(Step::Next);
        }
        let header = Header::parse(&block).map_err(refused)?;
        let kind = match header.typeflag() {
            // In 2015, nothing but an entry could follow a PAX header.
            _ if self.before.pax.is_some() => None,
            b'x' => Some((TextKind::Pax, PAX_BYTES_MAX)),
            b'L' => Some((TextKind::Name, NAME_BYTES_MAX)),
            b'K' => Some((TextKind::LinkName, NAME_BYTES_MAX)),
            _ => None,
        };
        if let Some((kind, limit)) = kind {
            let left = header.fields().map_err(refused)?.size;
            if left > limit {
                return Err(refused(format!("its {left} bytes are more than {limit}")));
            }
            self.before.begin.get_or_insert(at);
            self.state = State::Text { kind, left, text: Vec::new() };
            return Ok(Step::Next);
        }
        let before = std::mem::take(&mut self.before);
        let (mut entry, pending) = Entry::new(header, at, before.pax).map_err(refused)?;
        entry.begin = before.begin.unwrap_or(at);
        entry.name = before.name.unwrap_or(entry.name);
        entry.linkname = before.linkname.unwrap_or(entry.linkname);
        let entry = Box::new(entry);
        match pending {
            Pending::Nothing => return self.begin(entry, None).map(Step::Event),
            Pending::Map(map) => return self.begin(entry, Some(map)).map(Step::Event),
            Pending::Extension(map) => self.state = State::Extension(entry, map),
            Pending::Lines(lines) => self.state = State::Lines(entry, lines),
        }
        Ok(Step::Next)
    }

    /// Reads one block of a sparse map.
    fn map<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>> {
        let Some((block, at)) = self.block(input) else { return Ok(Step::Hungry) };
        let refused = |reason| invalid("sparse map", at, reason);
        let state = std::mem::replace(&mut self.state, State::Refused);
        if let State::Extension(entry, mut map) = state {
            if !map.push_extension(&block).map_err(refused)? {
                return self.begin(entry, Some(map)).map(Step::Event);
            }
            self.state = State::Extension(entry, map);
        } else if let State::Lines(mut entry, mut lines) = state {
            entry.stored_length = (entry.stored_length.checked_sub(BLOCK_LENGTH as u64))
                .ok_or_else(|| refused("it is longer than the body it is in".to_owned()))?;
            if let Some(map) = lines.push(&block).map_err(refused)? {
                return self.begin(entry, Some(map)).map(Step::Event);
            }
            self.state = State::Lines(entry, lines);
        }
        Ok(Step::Next)
    }

    /// An entry is known; its body comes next.
    fn begin(&mut self, mut entry: Box<Entry>, map: Option<Map>) -> Result<Event<'static>> {
        let (size, stored) = (entry.size, entry.stored_length);
        let refused = |reason| invalid("sparse map", entry.header_offset, reason);
        let extents = map.map(|map| map.checked(size, stored)).transpose().map_err(refused)?;
        entry.body_offset = self.offset;
        entry.extents = extents.map(Arc::from);
        let extents = match &entry.extents {
            Some(extents) => extents.iter().copied().collect(),
            None => VecDeque::from([Extent { offset: 0, length: stored }]),
        };
        self.state = State::Body(Body { extents, piece: 0, position: 0, size, stored });
        Ok(Event::Entry(entry))
    }

    fn body<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        let State::Body(body) = &mut self.state else { return Step::Next };
        if body.piece > 0 {
            let part = take(input, body.piece);
            if part.is_empty() {
                return Step::Hungry;
            }
            body.piece -= part.len() as u64;
            self.offset += part.len() as u64;
            return Step::Event(Event::Body(part));
        }
        let hole = match body.extents.pop_front() {
            Some(extent) => {
                let hole = extent.offset - body.position;
                body.position = extent.offset + extent.length;
                body.piece = extent.length;
                body.stored -= extent.length;
                hole
            }
            None if body.position < body.size => {
                let hole = body.size - body.position;
                body.position = body.size;
                hole
            }
            None => {
                self.state = State::Surplus(body.stored);
                return Step::Next;
            }
        };
        if hole > 0 { Step::Event(Event::Hole(hole)) } else { Step::Next }
    }
}

impl Before {
    /// Keeps the body of such a header. Of several names, the first counts, as it did in 2015.
    fn take(&mut self, kind: TextKind, text: Vec<u8>) -> Result<(), String> {
        let name = |text: &[u8]| header::text(text).to_vec();
        match kind {
            TextKind::Pax => self.pax = Some(Pax::parse(text)?),
            TextKind::Name => self.name = Some(self.name.take().unwrap_or_else(|| name(&text))),
            TextKind::LinkName => {
                self.linkname = Some(self.linkname.take().unwrap_or_else(|| name(&text)));
            }
        }
        Ok(())
    }
}

/// Every entry of an archive that lies in memory. Errors: `TarInvalid`.
pub fn entries(archive: &[u8]) -> Result<Vec<Entry>> {
    let (mut reader, mut input, mut entries) = (Reader::new(), archive, Vec::new());
    while let Some(event) = reader.next(&mut input)? {
        if let Event::Entry(entry) = event {
            entries.push(*entry);
        }
    }
    reader.finish().map(|()| entries)
}

/// Cuts at most `count` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], count: u64) -> &'a [u8] {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(input.len());
    let (part, rest) = input.split_at(count);
    *input = rest;
    part
}

/// How many bytes are missing from `offset` to the next block.
fn padding(offset: u64) -> u64 {
    offset.next_multiple_of(BLOCK_LENGTH as u64) - offset
}

fn invalid(what: &'static str, offset: u64, reason: String) -> Error {
    Error::TarInvalid { what, offset, reason }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::model) mod writing;
