//! Where the bytes of a sparse file lie in it: the maps of GNU tar, in its four forms.

use crate::model::tar::{
    header::{Block, length_of},
    pax::decimal,
};

/// How many pieces a sparse file may have: a hundred times what disk images in layers have, and
/// four mebibytes of memory.
pub const EXTENTS_MAX: usize = 1 << 18;
/// Longest number in a map that is text, in digits: a line of one block.
const NUMBER_DIGITS_MAX: usize = 512;
/// Offset and length in a map of the old form, each of this many bytes.
const FIELD_LENGTH: usize = 12;
/// The part of an extension block that is map.
const EXTENSION_MAP_LENGTH: usize = 21 * 2 * FIELD_LENGTH;

/// A piece of a sparse file that is stored; between the pieces are zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file it lies.
    pub offset: u64,
    /// How many bytes it has; none is a mark of GNU tar's for the file's end.
    pub length: u64,
}

/// A map that is being read.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) extents: Vec<Extent>,
}

impl Map {
    fn push(&mut self, offset: u64, length: u64) -> Result<(), String> {
        if self.extents.len() >= EXTENTS_MAX {
            return Err(format!("it has more than {EXTENTS_MAX} pieces"));
        }
        self.extents.push(Extent { offset, length });
        Ok(())
    }

    /// Adds the entries of a header or an extension block, in the old form of GNU tar. The first
    /// empty one is the last of its block.
    pub(super) fn push_fields(&mut self, fields: &[u8]) -> Result<(), String> {
        for pair in fields.chunks_exact(2 * FIELD_LENGTH) {
            let offset = length_of("offset of a piece", &pair[..FIELD_LENGTH])?;
            let length = length_of("length of a piece", &pair[FIELD_LENGTH..])?;
            if (offset, length) == (0, 0) {
                break;
            }
            self.push(offset, length)?;
        }
        Ok(())
    }

    /// Adds the entries of an extension block; gives whether another one follows.
    pub(super) fn push_extension(&mut self, block: &Block) -> Result<bool, String> {
        self.push_fields(&block[..EXTENSION_MAP_LENGTH])?;
        Ok(block[EXTENSION_MAP_LENGTH] != 0)
    }

    /// The map of PAX forms 0.0 and 0.1: `count` pieces, whose numbers are records of their own or
    /// stand with commas between in one.
    pub(super) fn of_records<'a>(
        count: Option<&[u8]>, numbers: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, String> {
        let count = count.ok_or("the number of its pieces is missing")?;
        let count = length(count)?;
        let mut numbers = numbers.flat_map(|record| record.split(|byte| *byte == b','));
        let mut map = Self::default();
        while let Some(offset) = numbers.next() {
            let size = numbers.next().ok_or("a piece has an offset and no length")?;
            map.push(length(offset)?, length(size)?)?;
        }
        if map.extents.is_empty() || map.extents.len() as u64 != count {
            return Err(format!("it has {} pieces and says {count}", map.extents.len()));
        }
        Ok(map)
    }

    /// The map, when it fits a file of `size` bytes of which `stored` are there: pieces in order,
    /// none over another, none behind the end.
    pub(super) fn checked(self, size: u64, stored: u64) -> Result<Vec<Extent>, String> {
        let (mut position, mut total) = (0_u64, 0_u64);
        for extent in &self.extents {
            let end = extent.offset.checked_add(extent.length).filter(|end| *end <= size);
            let end = end.ok_or_else(|| format!("a piece lies behind its end at {size}"))?;
            if extent.offset < position {
                return Err(format!("the piece at {} lies over another", extent.offset));
            }
            // Both are below `size`, so this is too.
            (position, total) = (end, total + extent.length);
        }
        if total > stored {
            return Err(format!("its pieces have {total} bytes, and {stored} are stored"));
        }
        Ok(self.extents)
    }
}

/// The map of PAX form 1.0: lines at the beginning of the body, padded to whole blocks.
#[derive(Debug, Default)]
pub(super) struct MapLines {
    map: Map,
    digits: Vec<u8>,
    /// How many pieces are to come; the first line says it.
    left: Option<u64>,
    /// The offset of a piece whose length comes next.
    offset: Option<u64>,
}

impl MapLines {
    /// Reads on. When the map is whole, that is it; the rest of the block is padding.
    pub(super) fn push(&mut self, block: &Block) -> Result<Option<Map>, String> {
        for byte in block {
            if *byte != b'\n' {
                if self.digits.len() >= NUMBER_DIGITS_MAX {
                    return Err(format!("a line has more than {NUMBER_DIGITS_MAX} digits"));
                }
                self.digits.push(*byte);
                continue;
            }
            let number = length(&self.digits)?;
            self.digits.clear();
            match (self.left, self.offset.take()) {
                (None, _) => self.left = Some(number),
                (Some(_), None) => self.offset = Some(number),
                (Some(left), Some(offset)) => {
                    self.map.push(offset, number)?;
                    self.left = Some(left.saturating_sub(1));
                }
            }
            if self.left == Some(0) {
                return Ok(Some(std::mem::take(&mut self.map)));
            }
        }
        Ok(None)
    }
}

/// A decimal number that is not negative.
pub(super) fn length(text: &[u8]) -> Result<u64, String> {
    let shown = || format!("\"{}\" is not a length", text[..text.len().min(32)].escape_ascii());
    decimal(text).and_then(|number| u64::try_from(number).ok()).ok_or_else(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(pairs: &[(u64, u64)]) -> Map {
        let extents =
            pairs.iter().map(|(offset, length)| Extent { offset: *offset, length: *length });
        Map { extents: extents.collect() }
    }

    #[test]
    fn a_map_that_does_not_fit_is_refused() {
        assert!(extents(&[]).checked(0, 0).is_ok());
        assert!(extents(&[(0, 1), (5, 5), (10, 0)]).checked(10, 6).is_ok());
        assert!(extents(&[(5, 5)]).checked(9, 5).is_err());
        assert!(extents(&[(0, 5)]).checked(5, 4).is_err());
        assert!(extents(&[(5, 5), (9, 1)]).checked(20, 20).is_err());
        assert!(extents(&[(5, 5), (0, 1)]).checked(20, 20).is_err());
        assert!(extents(&[(u64::MAX, 2)]).checked(u64::MAX, 20).is_err());
    }

    #[test]
    fn records_of_both_forms_make_one_map() {
        let of = |count: &str, records: &[&str]| {
            let numbers = records.iter().map(|record| record.as_bytes());
            Map::of_records(Some(count.as_bytes()), numbers).map(|map| map.extents)
        };
        let two = extents(&[(0, 1), (5, 2)]).extents;
        assert_eq!(of("2", &["0,1,5,2"]), Ok(two.clone()));
        assert_eq!(of("2", &["0", "1", "5", "2"]), Ok(two));
        for (count, records) in
            [("1", &["0,1,5,2"][..]), ("2", &["0,1,5"]), ("0", &[]), ("1", &["0,-1"]), ("x", &[])]
        {
            assert!(of(count, records).is_err(), "{count} {records:?}");
        }
        assert!(Map::of_records(None, std::iter::empty()).is_err());
    }

    #[test]
    fn lines_may_go_over_a_block() {
        let mut text = b"100\n".to_vec();
        for index in 0..100 {
            text.extend(format!("{}\n{index}\n", index * 1_000_000_007_u64).bytes());
        }
        text.resize(text.len().next_multiple_of(512), 0);
        let mut lines = MapLines::default();
        let maps: Vec<_> =
            text.as_chunks().0.iter().map(|block| lines.push(block).unwrap()).collect();
        let (last, before) = maps.split_last().unwrap();
        assert!(before.iter().all(Option::is_none));
        assert_eq!(last.as_ref().unwrap().extents.len(), 100);
        assert_eq!(
            last.as_ref().unwrap().extents[99],
            Extent { offset: 99_000_000_693, length: 99 }
        );
        assert!(MapLines::default().push(&[b'1'; 512]).unwrap().is_none());
        assert!(MapLines::default().push(&[b'\n'; 512]).is_err());
    }
}
