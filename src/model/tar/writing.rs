//! Archives for tests: written field by field, so that a test decides what is wrong in them.

use crate::model::tar::{BLOCK_LENGTH, Block};
use proptest::prelude::*;

/// A header to be, with every field as it is to lie in the archive.
#[derive(Clone, Debug)]
pub(in crate::model) struct Draft {
    block: Block,
}

impl Draft {
    /// A POSIX header of an empty file.
    pub(in crate::model) fn new(name: &str, typeflag: u8) -> Self {
        let mut draft = Self { block: [0; BLOCK_LENGTH] };
        draft.block[156] = typeflag;
        draft.put(0, name.as_bytes()).put(100, b"0000644\0").put(108, b"0001750\0");
        draft.put(116, b"0001750\0").put(136, b"12470312340\0").put(257, b"ustar\x0000");
        draft.size(0)
    }

    /// Writes `bytes` at `offset` of the header.
    pub(in crate::model) fn put(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        self.block[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Like `put`, for a chain that begins with a header.
    pub(in crate::model) fn with(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.put(offset, bytes);
        self
    }

    /// States a size.
    pub(in crate::model) fn size(mut self, size: u64) -> Self {
        self.put(124, format!("{size:011o}\0").as_bytes());
        self
    }

    /// The block, with its checksum.
    pub(in crate::model) fn block(&self) -> Block {
        let mut block = self.block;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// The header and a body, padded.
    pub(in crate::model) fn entry(self, body: &[u8]) -> Vec<u8> {
        [&self.size(body.len() as u64).block()[..], &padded(body)].concat()
    }
}

/// `bytes`, filled up to whole blocks.
pub(in crate::model) fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK_LENGTH), 0);
    bytes
}

/// A PAX header with `records`, each `key=value`.
pub(in crate::model) fn pax(records: &[&str]) -> Vec<u8> {
    let body: Vec<u8> = records.iter().flat_map(|record| pax_record(record.as_bytes())).collect();
    Draft::new("PaxHeaders/x", b'x').entry(&body)
}

/// A record: its length counts its own digits.
fn pax_record(record: &[u8]) -> Vec<u8> {
    let rest = record.len() + 2;
    let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap();
    [(rest + digits).to_string().as_bytes(), b" ", record, b"\n"].concat()
}

/// A GNU header for a long name (`L`) or link target (`K`).
pub(in crate::model) fn long(typeflag: u8, name: &str) -> Vec<u8> {
    Draft::new("././@LongLink", typeflag).entry(&[name.as_bytes(), b"\0"].concat())
}

/// The two blocks at the end.
pub(in crate::model) fn trailer() -> Vec<u8> {
    vec![0; 2 * BLOCK_LENGTH]
}

/// Archives of every kind of entry that there is, all of them valid.
pub(in crate::model) fn archives() -> impl Strategy<Value = Vec<u8>> {
    let body = || prop::collection::vec(any::<u8>(), 0..1500);
    let name = || "[a-c./]{1,6}";
    let plain = (name(), prop::sample::select(&b"0\x001235gV7"[..]), body())
        .prop_map(|(name, typeflag, body)| Draft::new(&name, typeflag).entry(&body));
    let flavour = (name(), prop::sample::select(vec![&b"ustar  \0"[..], b"ustar\x0000", &[0; 8]]))
        .prop_map(|(name, magic)| {
            Draft::new(&name, b'0').with(257, magic).with(345, b"prefix").entry(b"body")
        });
    let numbers = (name(), any::<u64>(), any::<[u8; 11]>()).prop_map(|(name, id, mtime)| {
        let id = [&[0x80][..], &id.to_be_bytes()[1..]].concat();
        let mtime = [&[0xff][..], &mtime].concat();
        Draft::new(&name, b'0').with(108, &id).with(136, &mtime).entry(b"")
    });
    let extended =
        (name(), "[a-z]{0,300}", any::<i64>(), prop::collection::vec("[a-c]{0,3}", 0..5)).prop_map(
            |(name, path, mtime, xattrs)| {
                let mut records = vec![format!("path={path}"), format!("mtime={mtime}.25")];
                records.extend(xattrs.iter().map(|key| format!("SCHILY.xattr.{key}={name}")));
                let records: Vec<&str> = records.iter().map(String::as_str).collect();
                [pax(&records), Draft::new(&name, b'0').entry(b"x")].concat()
            },
        );
    let gnu = (name(), prop::sample::select(&b"LK"[..]), "[a-z]{0,700}").prop_map(
        |(name, typeflag, text)| {
            [long(typeflag, &text), Draft::new(&name, b'2').entry(b"")].concat()
        },
    );
    let sparse = (name(), prop::collection::vec((0..2000_u64, 0..900_u64), 0..40), 0..4)
        .prop_map(|(name, holes, form)| sparse(&name, &holes, form));
    let entry = prop_oneof![plain, flavour, numbers, extended, gnu, sparse];
    (prop::collection::vec(entry, 0..12), 0..4_usize, body()).prop_map(
        |(entries, zeros, behind)| {
            let mut archive = entries.concat();
            archive.resize(archive.len() + zeros.min(2) * BLOCK_LENGTH, 0);
            if zeros > 2 {
                archive.extend(behind);
            }
            archive
        },
    )
}

/// A sparse file in one of its four forms, from lengths of holes and pieces.
fn sparse(name: &str, holes: &[(u64, u64)], form: i32) -> Vec<u8> {
    let mut at = 0;
    let mut extents: Vec<(u64, u64)> = Vec::new();
    for (hole, length) in holes {
        at += hole + 1;
        extents.push((at, *length));
        at += length;
    }
    extents.push((at + 7, 0));
    let size = at + 7;
    let body: Vec<u8> = (0..extents.iter().map(|(_, length)| length).sum::<u64>())
        .map(|index| u8::try_from(index % 251).unwrap())
        .collect();
    let count = format!("GNU.sparse.numblocks={}", extents.len());
    let real = [format!("GNU.sparse.size={size}"), format!("GNU.sparse.realsize={size}")];
    let named = format!("GNU.sparse.name={name}");
    let file = Draft::new("GNUSparseFile.0/x", b'0');
    match form {
        0 => old_sparse(name, &extents, size, &body),
        1 => {
            let numbers = extents.iter().flat_map(|(offset, length)| {
                [format!("GNU.sparse.offset={offset}"), format!("GNU.sparse.numbytes={length}")]
            });
            let records: Vec<String> =
                [real[0].clone(), count].into_iter().chain(numbers).collect();
            let records: Vec<&str> = records.iter().map(String::as_str).collect();
            [pax(&records), file.entry(&body)].concat()
        }
        2 => {
            let numbers: Vec<String> =
                extents.iter().map(|(offset, length)| format!("{offset},{length}")).collect();
            let map = format!("GNU.sparse.map={}", numbers.join(","));
            [pax(&[&named, &real[0], &count, &map]), file.entry(&body)].concat()
        }
        _ => {
            let mut map = format!("{}\n", extents.len());
            for (offset, length) in &extents {
                map += &format!("{offset}\n{length}\n");
            }
            let versions = ["GNU.sparse.major=1", "GNU.sparse.minor=0"];
            let records = [&named, &real[1], versions[0], versions[1]];
            [pax(&records), file.entry(&[padded(map.as_bytes()), body].concat())].concat()
        }
    }
}

/// A sparse file in the old form: four pieces in the header, 21 in each block behind it.
fn old_sparse(name: &str, extents: &[(u64, u64)], size: u64, body: &[u8]) -> Vec<u8> {
    let fields = |extents: &[(u64, u64)]| -> Vec<u8> {
        let pairs =
            extents.iter().map(|(offset, length)| format!("{offset:011o}\0{length:011o}\0"));
        pairs.collect::<String>().into_bytes()
    };
    let (first, rest) = extents.split_at(extents.len().min(4));
    let mut draft = Draft::new(name, b'S').with(257, b"ustar  \0").with(386, &fields(first));
    draft.put(483, format!("{size:011o}\0").as_bytes());
    draft.put(482, &[u8::from(!rest.is_empty())]);
    let mut archive = draft.size(body.len() as u64).block().to_vec();
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = padded(&fields(chunk));
        block[504] = u8::from(chunks.peek().is_some());
        archive.extend(block);
    }
    archive.extend(padded(body));
    archive
}
