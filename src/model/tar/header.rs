//! One header block: 512 bytes, kept as they are, and what its fields say.
//!
//! Only this file knows where fields lie and how numbers and texts are written in them. The rules
//! are those by which a registry of 2015 read tar: what TarSum hashes is what that reader saw.

use std::ops::Range;

/// Length of a block; everything in an archive is padded to it.
pub const BLOCK_LENGTH: usize = 512;

/// A block of an archive.
pub type Block = [u8; BLOCK_LENGTH];

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPEFLAG: usize = 156;
const LINKNAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const UNAME: Range<usize> = 265..297;
const GNAME: Range<usize> = 297..329;
const DEVMAJOR: Range<usize> = 329..337;
const DEVMINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_ATIME: Range<usize> = 476..488;
const STAR_CTIME: Range<usize> = 488..500;
const STAR_MARK: Range<usize> = 508..512;
/// The beginning of the map of an old GNU sparse file.
pub(super) const SPARSE_MAP: Range<usize> = 386..482;
/// Whether blocks with more of that map follow.
pub(super) const SPARSE_IS_EXTENDED: usize = 482;
const SPARSE_REAL_SIZE: Range<usize> = 483..495;

/// The kinds of header there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Without a magic: no names of users, no prefix.
    V7,
    /// POSIX, and so PAX.
    Ustar,
    /// Jörg Schilling's, with a shorter prefix.
    Star,
    /// GNU tar's own.
    Gnu,
}

/// A header block whose checksum is right.
#[derive(Clone, PartialEq, Eq)]
pub struct Header(Block);

/// What the fields of a header say, before anything else is applied.
pub(super) struct Fields {
    pub(super) name: Vec<u8>,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) linkname: Vec<u8>,
    pub(super) uname: Vec<u8>,
    pub(super) gname: Vec<u8>,
    pub(super) devmajor: i64,
    pub(super) devminor: i64,
}

impl Header {
    /// Takes a block whose checksum is right, over unsigned or, as old Suns had it, signed bytes.
    pub(super) fn parse(block: &Block) -> Result<Self, String> {
        let given = number_of("checksum", &block[CHECKSUM])?;
        let sum = checksum(block);
        if given == sum || given == signed_checksum(block) {
            Ok(Self(*block))
        } else {
            Err(format!("its checksum is {given:o}, and its bytes have {sum:o} (octal)"))
        }
    }

    /// The block, as it lies in the archive.
    pub fn block(&self) -> &Block {
        &self.0
    }

    /// What kind of file it describes: one byte, not interpreted.
    pub fn typeflag(&self) -> u8 {
        self.0[TYPEFLAG]
    }

    /// What kind of header it is.
    pub fn flavour(&self) -> Flavour {
        match &self.0[MAGIC] {
            [b'u', b's', b't', b'a', b'r', 0, _, _] if &self.0[STAR_MARK] == b"tar\0" => {
                Flavour::Star
            }
            [b'u', b's', b't', b'a', b'r', 0, _, _] => Flavour::Ustar,
            b"ustar  \0" => Flavour::Gnu,
            _ => Flavour::V7,
        }
    }

    /// The length in bytes that the size field states.
    pub(super) fn size(&self) -> Result<u64, String> {
        length_of("size", &self.0[SIZE])
    }

    /// What the fields say.
    pub(super) fn fields(&self) -> Result<Fields, String> {
        let flavour = self.flavour();
        let mut fields = Fields {
            name: text(&self.0[NAME]).to_vec(),
            mode: self.number("mode", MODE)?,
            uid: self.number("uid", UID)?,
            gid: self.number("gid", GID)?,
            size: self.size()?,
            mtime: self.number("mtime", MTIME)?,
            linkname: text(&self.0[LINKNAME]).to_vec(),
            uname: Vec::new(),
            gname: Vec::new(),
            devmajor: 0,
            devminor: 0,
        };
        if flavour == Flavour::V7 {
            return Ok(fields);
        }
        fields.uname = text(&self.0[UNAME]).to_vec();
        fields.gname = text(&self.0[GNAME]).to_vec();
        // Other kinds of file carry junk there, and always did.
        if matches!(self.typeflag(), b'3' | b'4') {
            fields.devmajor = self.number("devmajor", DEVMAJOR)?;
            fields.devminor = self.number("devminor", DEVMINOR)?;
        }
        let prefix = match flavour {
            Flavour::Star => {
                self.number("atime", STAR_ATIME)?;
                self.number("ctime", STAR_CTIME)?;
                STAR_PREFIX
            }
            // GNU tar may keep times there, and the reader of 2015 took them for a prefix.
            Flavour::V7 | Flavour::Ustar | Flavour::Gnu => PREFIX,
        };
        let prefix = text(&self.0[prefix]);
        if !prefix.is_empty() {
            fields.name = [prefix, b"/", &fields.name].concat();
        }
        Ok(fields)
    }

    /// The length in bytes of an old GNU sparse file with its holes.
    pub(super) fn sparse_real_size(&self) -> Result<u64, String> {
        length_of("real size", &self.0[SPARSE_REAL_SIZE])
    }

    fn number(&self, field: &str, at: Range<usize>) -> Result<i64, String> {
        number_of(field, &self.0[at])
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = String::from_utf8_lossy(text(&self.0[NAME]));
        write!(formatter, "Header({:?} {:?} {name:?})", self.flavour(), self.typeflag() as char)
    }
}

/// Whether a block holds nothing: two of these end an archive.
pub(super) fn is_zero(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The sum over the bytes of a block, the checksum's own field taken as blanks.
fn checksum(block: &Block) -> i64 {
    let blanks = i64::from(b' ') * CHECKSUM.len() as i64;
    i64::from(sum(block, |byte| byte)) - i64::from(sum(&block[CHECKSUM], |byte| byte)) + blanks
}

/// The same, with bytes as signed numbers: one of 128 or more is less by 256.
fn signed_checksum(block: &Block) -> i64 {
    let high = |bytes| i64::from(sum(bytes, |byte| byte >> 7));
    checksum(block) - 256 * (high(block) - high(&block[CHECKSUM]))
}

/// A loop so plain that it becomes a few instructions on many bytes at once.
fn sum(bytes: &[u8], of: impl Fn(u8) -> u8) -> u32 {
    bytes.iter().map(|byte| u32::from(of(*byte))).sum()
}

/// A text ends at its first NUL, or with its field.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The number in a field, or what is wrong with it.
pub(super) fn number_of(name: &str, field: &[u8]) -> Result<i64, String> {
    let shown = || field.escape_ascii();
    number(field).ok_or_else(|| format!("its {name} is no octal number: \"{}\"", shown()))
}

/// The length in a field: a number that is not negative.
pub(super) fn length_of(name: &str, field: &[u8]) -> Result<u64, String> {
    let length = number_of(name, field)?;
    u64::try_from(length).map_err(|_| format!("its {name} is negative: {length}"))
}

/// A number: base-256 when the first bit is set, else octal between any blanks and NULs.
fn number(field: &[u8]) -> Option<i64> {
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        // Kept modulo 2^64, so that negative times in twelve bytes come out right.
        let first = i64::from(first & 0x7f);
        return Some(rest.iter().fold(first, |sum, byte| sum.wrapping_shl(8) | i64::from(*byte)));
    }
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !is_padding(byte)) else { return Some(0) };
    let end = field.iter().rposition(|byte| !is_padding(byte)).map_or(start, |last| last + 1);
    text(&field[start..end]).iter().try_fold(0_i64, |sum, digit| match digit {
        b'0'..=b'7' => Some(sum.checked_mul(8)? + i64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_in_2015() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0 644\0 ", Some(0o644)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"644\0junk", Some(0o644)),
            (b"77777777", Some(0o7777_7777)),
            (b"6 4     ", None),
            (b"8       ", None),
            (b"-1      ", None),
            (b"+1      ", None),
            (b"0x1     ", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\x80\0\0\0\x3b\x9a\xca\x07", Some(1_000_000_007)),
            // The sign bit is dropped, and in twelve bytes the rest still says -1.
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
        ] {
            assert_eq!(number(field), value, "{}", field.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_field_crashes_the_parser(field in prop::collection::vec(any::<u8>(), 0..24)) {
            number(&field);
        }

        #[test]
        fn no_block_crashes_the_parser(mut block in prop::collection::vec(any::<u8>(), 512)) {
            let mut bytes: Block = block.clone().try_into().unwrap();
            assert!(Header::parse(&bytes).is_err() || Header::parse(&bytes).is_ok());
            let sum = format!("{:06o}\0 ", checksum(&bytes));
            block[CHECKSUM].copy_from_slice(sum.as_bytes());
            bytes = block.try_into().unwrap();
            let header = Header::parse(&bytes).unwrap();
            prop_assert_eq!(header.block(), &bytes);
            if let Ok(fields) = header.fields() {
                prop_assert!(fields.name.len() <= 256);
            }
        }
    }
}
