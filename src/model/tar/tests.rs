//! The reader, over archives written for it.

use super::*;
use crate::model::tar::writing::{Draft, archives, long, padded, pax, trailer};
use proptest::prelude::*;

/// An entry and its body, with holes filled.
#[derive(Debug, PartialEq)]
struct File {
    entry: Entry,
    body: Vec<u8>,
}

/// Longest body that a test unfolds.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Reads an archive in pieces of `step` bytes.
fn read(archive: &[u8], step: usize) -> Result<Vec<File>> {
    let (mut reader, mut files) = (Reader::new(), Vec::<File>::new());
    for mut piece in archive.chunks(step.max(1)) {
        while let Some(event) = reader.next(&mut piece)? {
            match (event, files.last_mut()) {
                (Event::Entry(entry), _) => files.push(File { entry: *entry, body: Vec::new() }),
                (Event::Body(bytes), Some(file)) => file.body.extend_from_slice(bytes),
                (Event::Hole(length), Some(file)) => {
                    let length = length.min(BODY_BYTES_MAX - file.body.len() as u64);
                    file.body.resize(file.body.len() + usize::try_from(length).unwrap(), 0);
                }
                (Event::End, _) => {}
                (event, None) => panic!("{event:?} before any entry"),
            }
        }
        assert!(piece.is_empty());
    }
    assert_eq!(reader.offset(), archive.len() as u64);
    reader.finish().map(|()| files)
}

fn one(archive: &[Vec<u8>]) -> File {
    let mut files = read(&archive.concat(), usize::MAX).unwrap();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

/// Which part is refused, where and why.
fn refusal(archive: &[Vec<u8>]) -> (&'static str, u64, String) {
    match read(&archive.concat(), 1000) {
        Err(Error::TarInvalid { what, offset, reason }) => (what, offset, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fields_are_what_the_header_says() {
    let draft = Draft::new("dir/file", b'0').with(265, b"me").with(297, b"us").with(157, b"target");
    let File { entry, body } = one(&[draft.entry(b"hello")]);
    assert_eq!(entry.name, b"dir/file");
    assert_eq!((entry.mode, entry.uid, entry.gid), (0o644, 1000, 1000));
    assert_eq!((entry.size, entry.mtime, entry.typeflag()), (5, 1_424_069_856, b'0'));
    assert_eq!(
        (&entry.uname[..], &entry.gname[..], &entry.linkname[..]),
        (&b"me"[..], &b"us"[..], &b"target"[..])
    );
    assert_eq!(
        (entry.begin, entry.header_offset, entry.body_offset, entry.stored_length),
        (0, 0, 512, 5)
    );
    assert_eq!(body, b"hello");
    assert_eq!(entry.header.block()[..8], *b"dir/file");
}

#[test]
fn a_prefix_stands_before_the_name_whatever_the_magic() {
    let name = |magic: &[u8], mark: &[u8]| {
        let draft = Draft::new("name", b'0').with(257, magic).with(345, b"prefix").with(508, mark);
        one(&[draft.entry(b"")]).entry.name
    };
    assert_eq!(name(b"ustar\x0000", b""), b"prefix/name");
    assert_eq!(name(b"ustar  \0", b""), b"prefix/name");
    assert_eq!(name(b"ustar\x0000", b"tar\0"), b"prefix/name");
    assert_eq!(name(b"\0\0\0\0\0\0\0\0", b""), b"name");
    assert_eq!(name(b"ustar x\0", b""), b"name");
}

#[test]
fn devices_alone_have_device_numbers() {
    for (typeflag, numbers) in [(b'3', (1, 3)), (b'4', (1, 3)), (b'0', (0, 0)), (b'6', (0, 0))] {
        let draft = Draft::new("null", typeflag).with(329, b"0000001\0").with(337, b"0000003\0");
        let entry = one(&[draft.entry(b"")]).entry;
        assert_eq!((entry.devmajor, entry.devminor), numbers);
    }
    let junk = Draft::new("null", b'0').with(329, b"junk");
    assert_eq!(one(&[junk.entry(b"")]).entry.devmajor, 0);
    assert_eq!(refusal(&[Draft::new("null", b'3').with(329, b"junk").entry(b"")]).0, "header");
}

#[test]
fn links_and_folders_have_bodies_when_their_size_says_so() {
    for typeflag in *b"12356g" {
        let files = [Draft::new("a", typeflag).entry(b"body"), Draft::new("b", b'0').entry(b"")];
        let files = read(&files.concat(), 7).unwrap();
        assert_eq!((files.len(), &files[0].body[..]), (2, &b"body"[..]));
    }
}

#[test]
fn pax_records_replace_fields() {
    let records = [
        "path=first",
        "path=long/name",
        "linkpath=",
        "uname=u",
        "gname=g",
        "uid=-7",
        "gid=4000000000",
        "mtime=-1.5",
        "atime=1.2",
        "comment=x",
        "SCHILY.xattr.user.a=1",
    ];
    let draft = Draft::new("short", b'2').with(157, b"target");
    let File { entry, .. } = one(&[pax(&records), draft.entry(b"")]);
    assert_eq!((&entry.name[..], &entry.linkname[..]), (&b"long/name"[..], &b""[..]));
    assert_eq!((&entry.uname[..], &entry.gname[..]), (&b"u"[..], &b"g"[..]));
    assert_eq!((entry.uid, entry.gid, entry.mtime), (-7, 4_000_000_000, -1));
    assert_eq!(entry.pax.unwrap().get(b"SCHILY.xattr.user.a"), Some(&b"1"[..]));
    assert_eq!((entry.begin, entry.header_offset), (0, 1024));
}

#[test]
fn malformed_pax_headers_are_refused_with_where_and_why() {
    for record in
        ["uid=x", "gid=", "mtime=1.x", "atime=now", "size=-1", "size=99999999999999999999"]
    {
        let (what, offset, reason) = refusal(&[pax(&[record]), Draft::new("a", b'0').entry(b"")]);
        assert_eq!((what, offset), ("header", 1024), "{record}");
        assert!(reason.contains("PAX"), "{reason}");
    }
    let broken = Draft::new("x", b'x').entry(b"12 path=a");
    let (what, offset, _) = refusal(&[broken, Draft::new("a", b'0').entry(b"")]);
    assert_eq!((what, offset), ("PAX header", 512));
    let huge = Draft::new("x", b'x').size(PAX_BYTES_MAX + 1).block().to_vec();
    assert!(refusal(&[huge]).2.contains("more than"));
}

#[test]
fn long_names_of_gnu_win_over_pax_and_the_first_of_them_counts() {
    let file = || Draft::new("short", b'2').entry(b"");
    assert_eq!(one(&[long(b'L', "long"), file()]).entry.name, b"long");
    assert_eq!(one(&[long(b'L', "long"), pax(&["path=pax"]), file()]).entry.name, b"long");
    assert_eq!(one(&[long(b'L', "first"), long(b'L', "second"), file()]).entry.name, b"first");
    let both = one(&[long(b'K', "target"), long(b'L', "long"), file()]).entry;
    assert_eq!((&both.name[..], &both.linkname[..]), (&b"long"[..], &b"target"[..]));
    assert_eq!((both.begin, both.header_offset), (0, 2048));
}

#[test]
fn behind_a_pax_header_comes_the_entry_itself() {
    let archive = [pax(&["path=pax"]), long(b'L', "long"), Draft::new("short", b'0').entry(b"")];
    let files = read(&archive.concat(), 512).unwrap();
    let names: Vec<_> =
        files.iter().map(|file| (file.entry.typeflag(), &file.entry.name[..])).collect();
    assert_eq!(names, [(b'L', &b"pax"[..]), (b'0', b"short")]);
    assert_eq!(files[0].body, b"long\0");
}

#[test]
fn headers_for_an_entry_that_does_not_come_are_refused() {
    for before in [pax(&["comment=x"]), long(b'L', "long"), long(b'K', "target")] {
        assert_eq!(refusal(std::slice::from_ref(&before)).0, "header");
        assert_eq!(refusal(&[before, trailer()]).0, "header");
    }
}

#[test]
fn an_archive_ends_where_it_may() {
    let file = Draft::new("a", b'0').entry(b"body");
    let count = |archive: &[u8]| read(archive, 100).map(|files| files.len()).ok();
    assert_eq!(count(b""), Some(0));
    assert_eq!(count(&[0; 512]), Some(0));
    assert_eq!(count(&[0; 1024]), Some(0));
    assert_eq!(count(&[&[0; 1024][..], b"junk"].concat()), Some(0));
    assert_eq!(count(&[&[0; 512][..], &file].concat()), None);
    assert_eq!(count(&[0; 513]), None);
    assert_eq!(count(&[0; 511]), None);
    // Whole, cut in the padding, in the body, in the header.
    for (length, files) in
        [(1024, Some(1)), (517, Some(1)), (516, Some(1)), (515, None), (512, None), (511, None)]
    {
        assert_eq!(count(&file[..length]), files, "{length}");
    }
    assert_eq!(count(&[&file[..], &[0; 512]].concat()), Some(1));
    assert_eq!(count(&[&file[..], &[0; 600]].concat()), None);
}

#[test]
fn a_wrong_checksum_is_refused_with_both_sums() {
    let mut file = Draft::new("a", b'0').entry(b"");
    file[0] = b'b';
    let (what, offset, reason) = refusal(&[Draft::new("x", b'0').entry(b"x"), file]);
    assert_eq!((what, offset), ("header", 1024));
    assert!(reason.contains("checksum"), "{reason}");
}

#[test]
fn a_pax_size_is_the_length_of_the_body() {
    // More than the size field can say: fed without ever lying anywhere.
    let length = (8 << 30) + 5_u64;
    let archive = [pax(&[&format!("size={length}")]), Draft::new("big", b'0').block().to_vec()];
    let mut reader = Reader::new();
    let mut input = &archive.concat()[..];
    assert!(
        matches!(reader.next(&mut input), Ok(Some(Event::Entry(entry))) if entry.size == length)
    );
    let piece = vec![7; 1 << 20];
    let mut left = length.next_multiple_of(512);
    while left > 0 {
        let mut input = &piece[..usize::try_from(left.min(1 << 20)).unwrap()];
        left -= input.len() as u64;
        while let Some(event) = reader.next(&mut input).unwrap() {
            assert!(matches!(event, Event::Body(_)));
        }
    }
    let next = Draft::new("next", b'0').entry(b"");
    let mut input = &next[..];
    let Some(Event::Entry(entry)) = reader.next(&mut input).unwrap() else { panic!("no entry") };
    assert_eq!(
        (entry.name.as_slice(), entry.begin),
        (&b"next"[..], 1536 + length.next_multiple_of(512))
    );
}

#[test]
fn sparse_files_of_every_form_are_unfolded() {
    let body = b"12345678";
    let expected = [&[0; 2][..], b"123", &[0; 3], b"45678", &[0]].concat();
    let numbers = [
        "GNU.sparse.offset=2",
        "GNU.sparse.numbytes=3",
        "GNU.sparse.offset=8",
        "GNU.sparse.numbytes=5",
    ];
    let size = ["GNU.sparse.size=14", "GNU.sparse.numblocks=2"];
    let file = || Draft::new("x", b'0').entry(body);
    let lines = [padded(b"2\n2\n3\n8\n5\n"), body.to_vec()].concat();
    let old = Draft::new("name", b'S')
        .with(386, b"00000000002 00000000003 00000000010 00000000005 ")
        .with(483, b"00000000016\0");
    for archive in [
        vec![old.entry(body)],
        vec![pax(&[&size[..], &numbers[..], &["path=name"]].concat()), file()],
        vec![
            pax(&[&size[..], &["GNU.sparse.name=name", "GNU.sparse.map=2,3,8,5"]].concat()),
            file(),
        ],
        vec![
            pax(&[
                "GNU.sparse.major=1",
                "GNU.sparse.minor=0",
                "GNU.sparse.name=name",
                "GNU.sparse.realsize=14",
            ]),
            Draft::new("x", b'0').entry(&lines),
        ],
    ] {
        let File { entry, body } = one(&[&archive[..], &[trailer()]].concat());
        assert_eq!((&entry.name[..], entry.size), (&b"name"[..], 14));
        assert_eq!(body, expected);
        assert_eq!(entry.extents.as_deref().unwrap()[1], Extent { offset: 8, length: 5 });
        let stored = usize::try_from(entry.body_offset).unwrap();
        assert_eq!(&archive.concat()[stored..stored + 8], b"12345678");
    }
}

#[test]
fn sparse_maps_that_do_not_fit_are_refused() {
    let lines = |map: &[u8], size: &str| {
        let records = ["GNU.sparse.major=1", "GNU.sparse.minor=0", size];
        vec![pax(&records), Draft::new("x", b'0').entry(&[padded(map), b"body".to_vec()].concat())]
    };
    assert!(read(&lines(b"1\n0\n4\n", "GNU.sparse.realsize=4").concat(), 9).is_ok());
    for (map, size) in [
        (&b"1\n0\n4\n"[..], "GNU.sparse.realsize=3"),
        (b"1\n0\n5\n", "GNU.sparse.realsize=9"),
        (b"2\n2\n1\n0\n1\n", "GNU.sparse.realsize=9"),
        (b"-1\n", "GNU.sparse.realsize=9"),
        (b"x\n", "GNU.sparse.realsize=9"),
        (b"9\n0\n", "GNU.sparse.realsize=9"),
        (b"1\n0\n4\n", "GNU.sparse.realsize=-9"),
    ] {
        assert!(read(&lines(map, size).concat(), 9).is_err(), "{map:?} {size}");
    }
    let old = Draft::new("x", b'S').with(482, &[1]);
    assert_eq!(refusal(&[old.entry(b"")]).0, "sparse map");
}

#[test]
fn a_map_may_not_have_pieces_without_end() {
    let mut archive = Draft::new("x", b'S').with(482, &[1]).block().to_vec();
    let fields: String = (0..21).map(|_| "00000000001\x0000000000000\0").collect();
    let mut block = padded(fields.as_bytes());
    block[504] = 1;
    for _ in 0..EXTENTS_MAX / 21 + 1 {
        archive.extend_from_slice(&block);
    }
    assert!(refusal(&[archive]).2.contains("more than"));
}

#[test]
fn what_was_refused_stays_refused() {
    let mut reader = Reader::new();
    let mut input = &[1; 512][..];
    assert!(reader.next(&mut input).is_err());
    assert!(reader.next(&mut &[0; 1024][..]).is_err());
    assert!(reader.finish().is_err());
}

proptest! {
    #[test]
    fn valid_archives_are_read_alike_in_pieces_of_any_length(archive in archives(), step in 1..3000_usize) {
        let whole = read(&archive, usize::MAX);
        // A single zero block with junk behind it is all that can be wrong with these.
        if let Err(error) = &whole {
            prop_assert!(error.to_string().contains("zeros"), "{error}");
            return Ok(());
        }
        let whole = whole.unwrap();
        prop_assert_eq!(&read(&archive, step).unwrap(), &whole);
        prop_assert_eq!(entries(&archive).unwrap().len(), whole.len());
        for File { entry, body } in whole {
            prop_assert_eq!(body.len() as u64, entry.size);
            let header = usize::try_from(entry.header_offset).unwrap();
            prop_assert_eq!(&archive[header..header + 512], entry.header.block());
            if entry.extents.is_none() {
                let stored = usize::try_from(entry.body_offset).unwrap();
                prop_assert_eq!(&archive[stored..stored + body.len()], &body[..]);
            }
        }
    }

    #[test]
    fn flipped_bytes_crash_nothing(
        archive in archives(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        step in 1..3000_usize,
        mend: bool,
    ) {
        let mut archive = archive;
        if archive.is_empty() {
            return Ok(());
        }
        for (at, byte) in flips {
            let at = at.index(archive.len());
            archive[at] = byte;
            if mend {
                mend_checksum(&mut archive, at);
            }
        }
        let outcome = |step| read(&archive, step).map_err(|error| error.to_string());
        prop_assert_eq!(outcome(step), outcome(usize::MAX));
    }
}

/// Makes the checksum right of the block in which `at` lies, so that what follows is reached.
fn mend_checksum(archive: &mut [u8], at: usize) {
    let start = at / 512 * 512;
    if let Some(block) = archive.get_mut(start..start + 512) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
