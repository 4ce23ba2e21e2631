//! An entry of an archive: its header, what PAX and GNU headers before it say, and where its body
//! lies.

use crate::model::tar::{
    header::{Header, SPARSE_IS_EXTENDED, SPARSE_MAP},
    pax::{Pax, decimal, seconds},
    sparse::{Extent, Map, MapLines, length},
};
use std::sync::Arc;

/// The prefix of a PAX record that holds an extended attribute.
pub const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// From this length on, the size field of a header is too short, and the PAX header alone has it.
const PAX_SIZE_MIN: u64 = 1 << 33;

/// One file of an archive.
///
/// Texts are raw bytes. Numbers are as the archive has them, in the range that a reader of 2015
/// knew: only lengths cannot be negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The header block itself, before anything else was applied.
    pub header: Header,
    /// The PAX header before it.
    pub pax: Option<Pax>,
    /// Where its first header begins: its own, or that of a PAX or GNU header before it.
    pub begin: u64,
    /// Where its own header begins.
    pub header_offset: u64,
    /// Where its stored body begins: for sparse files, behind the map.
    pub body_offset: u64,
    /// How many bytes of body are stored from `body_offset` on, without padding.
    pub stored_length: u64,
    /// Its name, not trimmed of `./` or a slash at the end.
    pub name: Vec<u8>,
    /// Permission bits, and the type of file where the archive has it there.
    pub mode: i64,
    /// The owner.
    pub uid: i64,
    /// The group.
    pub gid: i64,
    /// Length of the body in bytes, with the holes of a sparse file.
    pub size: u64,
    /// When it was changed, in whole seconds since 1970.
    pub mtime: i64,
    /// What a link points to.
    pub linkname: Vec<u8>,
    /// The owner's name.
    pub uname: Vec<u8>,
    /// The group's name.
    pub gname: Vec<u8>,
    /// Of a device, the number of its driver.
    pub devmajor: i64,
    /// Of a device, its own number.
    pub devminor: i64,
    /// The stored pieces of a sparse file, in order; between and behind them are zeros.
    pub extents: Option<Arc<[Extent]>>,
}

/// What is still to be read before the body.
pub(super) enum Pending {
    /// Nothing.
    Nothing,
    /// A map that is known, and for which nothing more is to be read.
    Map(Map),
    /// Blocks with more of an old GNU map.
    Extension(Map),
    /// A map at the beginning of the body.
    Lines(MapLines),
}

impl Entry {
    /// The kind of file: one byte, not interpreted.
    pub fn typeflag(&self) -> u8 {
        self.header.typeflag()
    }

    /// Whether the PAX header has another size than the header, which could have had it as well. The
    /// one that counts is in `stored_length`; other readers may find the next file elsewhere.
    pub fn has_two_sizes(&self) -> bool {
        let size = self.pax.as_ref().and_then(|pax| length(pax.get(b"size")?).ok());
        size.is_some_and(|size| size < PAX_SIZE_MIN && self.header.size() != Ok(size))
    }

    /// The entry that `header` describes, and what is to be read before its body.
    pub(super) fn new(
        header: Header, header_offset: u64, pax: Option<Pax>,
    ) -> Result<(Self, Pending), String> {
        let fields = header.fields()?;
        let mut entry = Self {
            pax: None,
            begin: header_offset,
            header_offset,
            body_offset: 0,
            stored_length: fields.size,
            name: fields.name,
            mode: fields.mode,
            uid: fields.uid,
            gid: fields.gid,
            size: fields.size,
            mtime: fields.mtime,
            linkname: fields.linkname,
            uname: fields.uname,
            gname: fields.gname,
            devmajor: fields.devmajor,
            devminor: fields.devminor,
            extents: None,
            header,
        };
        let is_old_sparse = entry.typeflag() == b'S';
        let mut pending = if is_old_sparse { entry.apply_old_sparse()? } else { Pending::Nothing };
        if let Some(pax) = &pax {
            let records = Records::new(pax);
            records.apply(&mut entry)?;
            let sparse = records.apply_sparse(&mut entry)?;
            if is_old_sparse && (records.size.is_some() || !matches!(sparse, Pending::Nothing)) {
                return Err("its PAX header has another size than its sparse map".to_owned());
            }
            if !is_old_sparse {
                pending = sparse;
            }
        }
        entry.pax = pax;
        Ok((entry, pending))
    }

    fn apply_old_sparse(&mut self) -> Result<Pending, String> {
        self.size = self.header.sparse_real_size()?;
        let mut map = Map::default();
        map.push_fields(&self.header.block()[SPARSE_MAP])?;
        let is_extended = self.header.block()[SPARSE_IS_EXTENDED] != 0;
        Ok(if is_extended { Pending::Extension(map) } else { Pending::Map(map) })
    }
}

/// The records of a PAX header that mean something here: of each key the last.
#[derive(Default)]
struct Records<'a> {
    path: Option<&'a [u8]>,
    linkpath: Option<&'a [u8]>,
    uname: Option<&'a [u8]>,
    gname: Option<&'a [u8]>,
    uid: Option<&'a [u8]>,
    gid: Option<&'a [u8]>,
    size: Option<&'a [u8]>,
    mtime: Option<&'a [u8]>,
    atime: Option<&'a [u8]>,
    ctime: Option<&'a [u8]>,
    sparse_major: Option<&'a [u8]>,
    sparse_minor: Option<&'a [u8]>,
    sparse_name: Option<&'a [u8]>,
    sparse_size: Option<&'a [u8]>,
    sparse_real_size: Option<&'a [u8]>,
    sparse_count: Option<&'a [u8]>,
    sparse_map: Option<&'a [u8]>,
    /// Offsets and lengths in records of their own, where there are any.
    sparse_numbers: Option<&'a Pax>,
}

/// The keys of form 0.0, which come again and again.
fn is_sparse_number(key: &[u8]) -> bool {
    matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes")
}

impl<'a> Records<'a> {
    fn new(pax: &'a Pax) -> Self {
        let mut records = Self::default();
        for (key, value) in pax.records() {
            let known = match key {
                b"path" => &mut records.path,
                b"linkpath" => &mut records.linkpath,
                b"uname" => &mut records.uname,
                b"gname" => &mut records.gname,
                b"uid" => &mut records.uid,
                b"gid" => &mut records.gid,
                b"size" => &mut records.size,
                b"mtime" => &mut records.mtime,
                b"atime" => &mut records.atime,
                b"ctime" => &mut records.ctime,
                b"GNU.sparse.major" => &mut records.sparse_major,
                b"GNU.sparse.minor" => &mut records.sparse_minor,
                b"GNU.sparse.name" => &mut records.sparse_name,
                b"GNU.sparse.size" => &mut records.sparse_size,
                b"GNU.sparse.realsize" => &mut records.sparse_real_size,
                b"GNU.sparse.numblocks" => &mut records.sparse_count,
                b"GNU.sparse.map" => &mut records.sparse_map,
                _ if is_sparse_number(key) => {
                    records.sparse_numbers = Some(pax);
                    continue;
                }
                _ => continue,
            };
            *known = Some(value);
        }
        records
    }

    /// Replaces fields of the header. An empty text replaces, too.
    fn apply(&self, entry: &mut Entry) -> Result<(), String> {
        for (field, value) in [
            (&mut entry.name, self.path),
            (&mut entry.linkname, self.linkpath),
            (&mut entry.uname, self.uname),
            (&mut entry.gname, self.gname),
        ] {
            if let Some(value) = value {
                *field = value.to_vec();
            }
        }
        let number = |key: &str, value: &[u8], parsed: Option<i64>| {
            let shown = value[..value.len().min(32)].escape_ascii();
            parsed.ok_or_else(|| format!("the {key} in its PAX header is no number: \"{shown}\""))
        };
        // Nobody asks for the first of these two, and yet a reader of 2015 went astray over them.
        for (key, value) in [("atime", self.atime), ("ctime", self.ctime), ("mtime", self.mtime)] {
            if let Some(value) = value {
                let time = number(key, value, seconds(value))?;
                if key == "mtime" {
                    entry.mtime = time;
                }
            }
        }
        for (key, value, field) in
            [("uid", self.uid, &mut entry.uid), ("gid", self.gid, &mut entry.gid)]
        {
            if let Some(value) = value {
                *field = number(key, value, decimal(value))?;
            }
        }
        if let Some(value) = self.size {
            entry.size =
                length(value).map_err(|error| format!("the size in its PAX header: {error}"))?;
            entry.stored_length = entry.size;
        }
        Ok(())
    }

    /// Finds out whether the entry is a sparse file in one of the PAX forms. What has another
    /// version is a plain file, as it was in 2015.
    fn apply_sparse(&self, entry: &mut Entry) -> Result<Pending, String> {
        let has_map = self.sparse_map.is_some() || self.sparse_numbers.is_some();
        let has_lines = match (self.sparse_major, self.sparse_minor) {
            (Some(b"1"), Some(b"0")) => true,
            (Some(b"0"), Some(b"0" | b"1")) => false,
            (Some(_), Some(_)) => return Ok(Pending::Nothing),
            _ if self.sparse_name.is_some() && has_map => false,
            _ if self.sparse_size.is_some() => false,
            _ => return Ok(Pending::Nothing),
        };
        if let Some(name) = self.sparse_name {
            entry.name = name.to_vec();
        }
        if let Some(size) = self.sparse_size.or(self.sparse_real_size) {
            entry.size = length(size).map_err(|error| format!("its real size: {error}"))?;
        }
        if has_lines {
            return Ok(Pending::Lines(MapLines::default()));
        }
        let map = match self.sparse_numbers {
            Some(pax) => {
                let numbers = pax.records().filter(|(key, _)| is_sparse_number(key));
                Map::of_records(self.sparse_count, numbers.map(|(_, value)| value))
            }
            None => Map::of_records(self.sparse_count, self.sparse_map.into_iter()),
        };
        map.map(Pending::Map).map_err(|error| format!("its sparse map: {error}"))
    }
}
