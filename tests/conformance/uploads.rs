//! Uploads: content on its way to be a layer.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::fixtures::*;
use regfs::{
    model::{Area, Digest, Error, UploadId, UploadName},
    registry::{Allocation, LayerUpload, Registry},
};
use std::{
    ffi::OsStr,
    thread,
    time::{Duration, SystemTime},
};

pub(crate) fn an_upload_begins_empty_under_its_name(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = alpine.layers().upload(&upload_name("new"), &permissions(0o600)).unwrap();
    let stat = upload.stat().unwrap();
    assert_eq!(stat.uuid, upload.uuid());
    assert_eq!(stat.name, Some(upload_name("new")));
    assert_eq!(stat.length, 0);
    assert_eq!(stat.attributes.permissions, 0o600);
    let started = stat.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(started.subsec_nanos(), 0);
    let age = SystemTime::now().duration_since(stat.started_at).unwrap_or_default();
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert_eq!(upload.read_at(&mut [0; 8], 0).unwrap(), 0);
    assert_eq!(alpine.layers().find_upload(&upload_name("new")).unwrap(), Some(upload.uuid()));
    assert_eq!(alpine.layers().stat_upload(&upload.uuid()).unwrap(), stat);
}

pub(crate) fn an_upload_is_read_while_somebody_writes_it(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"first ");
    let reader = alpine.layers().read_upload(&upload.uuid()).unwrap();
    assert_eq!(reader.length().unwrap(), 6);
    upload.write_at(b"second", 6).unwrap();
    let mut buffer = [0; 20];
    assert_eq!(reader.read_at(&mut buffer, 3).unwrap(), 9);
    assert_eq!(&buffer[..9], b"st second");
    assert_eq!(reader.read_at(&mut buffer, 12).unwrap(), 0);
    // Nor does the reader keep anybody from taking it up.
    let uuid = upload.uuid();
    drop(upload);
    let upload = alpine.layers().resume(&uuid).unwrap();
    let other = alpine.layers().read_upload(&uuid).unwrap();
    upload.cancel().unwrap();
    for reader in [reader, other] {
        assert_eq!(reader.read_at(&mut buffer, 0).unwrap(), 12, "what is open reads on");
    }
}

pub(crate) fn an_upload_that_is_not_there_is_not_read(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"content");
    let uuid = upload.uuid();
    let other = registry.repository(&name("other"));
    assert_refused!(other.layers().read_upload(&uuid), Error::UploadUnknown(id) if id == uuid);
    upload.finish(&Digest::sha256(b"content")).unwrap();
    assert_refused!(alpine.layers().read_upload(&uuid), Error::UploadUnknown(id) if id == uuid);
}

pub(crate) fn a_gap_reads_as_zeros(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"head");
    upload.write_at(b"tail", 10_000).unwrap();
    let expected = [b"head".as_slice(), &[0; 9_996], b"tail"].concat();
    assert_eq!(upload.stat().unwrap().length, 10_004);
    assert_eq!(written(&*upload), expected);
    let layer = upload.finish(&Digest::sha256(&expected)).unwrap();
    assert_eq!(content(&*layer), expected);
}

pub(crate) fn writes_may_come_in_any_order(registry: &dyn Registry) {
    let upload = begin(alpine(registry).layers(), b"");
    upload.write_at(b"ef", 4).unwrap();
    upload.write_at(b"XXXX", 0).unwrap();
    // Earlier parts can be overwritten, and that does not shorten.
    upload.write_at(b"abcd", 0).unwrap();
    // A write of nothing does nothing, wherever it is.
    upload.write_at(b"", 1_000).unwrap();
    assert_eq!(written(&*upload), b"abcdef");
    let mut middle = [0; 2];
    assert_eq!(upload.read_at(&mut middle, 2).unwrap(), 2);
    assert_eq!(middle, *b"cd");
    upload.finish(&Digest::sha256(b"abcdef")).unwrap();
}

pub(crate) fn an_upload_is_cut_and_lengthened(registry: &dyn Registry) {
    let upload = begin(alpine(registry).layers(), b"content");
    upload.truncate(3).unwrap();
    assert_eq!(written(&*upload), b"con");
    upload.truncate(5).unwrap();
    assert_eq!(written(&*upload), b"con\0\0");
    upload.truncate(0).unwrap();
    upload.write_at(b"other", 0).unwrap();
    assert_eq!(upload.stat().unwrap().length, 5);
    upload.finish(&Digest::sha256(b"other")).unwrap();
}

pub(crate) fn the_running_digest_follows_every_change(registry: &dyn Registry) {
    let upload = begin(alpine(registry).layers(), b"");
    let is = |bytes: &[u8]| assert_eq!(upload.digest().unwrap(), Digest::sha256(bytes));
    is(b"");
    upload.write_at(b"one ", 0).unwrap();
    is(b"one ");
    upload.write_at(b"two", 4).unwrap();
    is(b"one two");
    upload.write_at(b"ONE", 0).unwrap();
    is(b"ONE two");
    upload.settle(Box::new(()));
    upload.truncate(4).unwrap();
    is(b"ONE ");
    upload.write_at(b"end", 6).unwrap();
    is(b"ONE \0\0end");
}

pub(crate) fn several_threads_may_write_one_upload(registry: &dyn Registry) {
    const PIECE: usize = 1_000;
    let upload = begin(alpine(registry).layers(), b"");
    thread::scope(|scope| {
        for thread in 0..4_usize {
            let upload = &upload;
            scope.spawn(move || {
                for piece in (thread..40).step_by(4) {
                    let data = [u8::try_from(piece).unwrap(); PIECE];
                    upload.write_at(&data, (piece * PIECE) as u64).unwrap();
                    upload.stat().unwrap();
                }
            });
        }
    });
    let expected: Vec<u8> = (0..40_u8).flat_map(|piece| [piece; PIECE]).collect();
    assert!(written(&*upload) == expected);
    upload.finish(&Digest::sha256(&expected)).unwrap();
}

pub(crate) fn an_upload_that_never_began_is_unknown(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let unknown = UploadId::random();
    for _ in ["in a repository that does not exist", "in one that does"] {
        let layers = alpine.layers();
        assert_refused!(layers.resume(&unknown), Error::UploadUnknown(uuid) if uuid == unknown);
        assert_refused!(layers.stat_upload(&unknown), Error::UploadUnknown(uuid) if uuid == unknown);
        assert_eq!(layers.find_upload(&upload_name("unknown")).unwrap(), None);
        begin(layers, b"another");
    }
}

pub(crate) fn a_dropped_upload_is_resumed_where_it_was(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"first ");
    upload.settle(Box::new(()));
    let (uuid, before) = (upload.uuid(), upload.stat().unwrap());
    drop(upload);
    let upload = alpine.layers().resume(&uuid).unwrap();
    assert_eq!(upload.uuid(), uuid);
    assert_eq!(upload.stat().unwrap(), before);
    assert_eq!(written(&*upload), b"first ");
    upload.write_at(b"second", 6).unwrap();
    drop(upload);
    // Not settled this time, as when its writer was killed.
    let upload = alpine.layers().resume(&uuid).unwrap();
    upload.sync().unwrap();
    assert_eq!(upload.digest().unwrap(), Digest::sha256(b"first second"));
    upload.finish(&Digest::sha256(b"first second")).unwrap();
}

pub(crate) fn a_resume_after_finish_or_cancel_is_refused(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let finished = begin(alpine.layers(), b"content");
    finished.finish(&Digest::sha256(b"content")).unwrap();
    let cancelled = begin(alpine.layers(), b"content");
    cancelled.cancel().unwrap();
    for uuid in [finished.uuid(), cancelled.uuid()] {
        assert_refused!(alpine.layers().resume(&uuid), Error::UploadUnknown(_));
        assert_refused!(alpine.layers().stat_upload(&uuid), Error::UploadUnknown(_));
    }
    assert_eq!(alpine.layers().find_upload(&upload_name("new")).unwrap(), None);
}

pub(crate) fn an_upload_of_another_repository_is_unknown_here(registry: &dyn Registry) {
    let upload = begin(alpine(registry).layers(), b"content");
    let uuid = upload.uuid();
    drop(upload);
    let other = registry.repository(&name("other"));
    begin(other.layers(), b"its own");
    assert_refused!(other.layers().resume(&uuid), Error::UploadUnknown(_));
    assert_refused!(other.layers().stat_upload(&uuid), Error::UploadUnknown(_));
    assert_eq!(other.layers().uploads().unwrap().len(), 1);
    alpine(registry).layers().resume(&uuid).unwrap();
}

pub(crate) fn an_upload_is_no_layer_before_it_is_finished(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let digest = Digest::sha256(b"content");
    let upload = begin(alpine.layers(), b"content");
    assert!(!alpine.layers().exists(&digest).unwrap());
    assert_refused!(alpine.layers().fetch(&digest), Error::LayerUnknown(..));
    upload.finish(&digest).unwrap();
    assert!(alpine.layers().exists(&digest).unwrap());
}

pub(crate) fn finish_with_a_wrong_digest_keeps_the_upload(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"content");
    let wrong = Digest::sha256(b"contents");
    assert_refused!(
        upload.finish(&wrong),
        Error::DigestMismatch { expected, computed }
            if expected == wrong && computed == Digest::sha256(b"content")
    );
    let long = sha512(b"contents");
    assert_refused!(
        upload.finish(&long),
        Error::DigestMismatch { expected, .. } if expected == long
    );
    assert!(!alpine.layers().exists(&wrong).unwrap());
    assert_eq!(alpine.layers().find_upload(&upload_name("new")).unwrap(), Some(upload.uuid()));
    assert_eq!(written(&*upload), b"content");
    upload.write_at(b"s", 7).unwrap();
    upload.finish(&wrong).unwrap();
    assert_eq!(content(&*alpine.layers().fetch(&wrong).unwrap()), b"contents");
}

pub(crate) fn a_finished_upload_can_only_be_read(registry: &dyn Registry) {
    let upload = begin(alpine(registry).layers(), b"content");
    let digest = Digest::sha256(b"content");
    upload.finish(&digest).unwrap();
    assert_ended(&*upload);
    assert_refused!(upload.write_at(b"more", 0), Error::UploadUnknown(_));
    assert_refused!(upload.truncate(0), Error::UploadUnknown(_));
    for kind in [Allocation::Extend, Allocation::Reserve, Allocation::Punch] {
        assert_refused!(upload.allocate(0..9, kind), Error::UploadUnknown(_));
    }
    // Nothing that was refused has reached the layer.
    assert_eq!(content(&*alpine(registry).layers().fetch(&digest).unwrap()), b"content");
}

/// As a file that is open and has no name any more: who has it open goes on, and nobody else ever
/// sees it.
pub(crate) fn a_cancelled_upload_is_read_and_written_by_who_has_it_open(registry: &dyn Registry) {
    let upload = begin(alpine(registry).layers(), b"content");
    upload.cancel().unwrap();
    assert_ended(&*upload);
    assert!(!alpine(registry).layers().exists(&Digest::sha256(b"content")).unwrap());
    upload.write_at(b"more", 7).unwrap();
    upload.allocate(0..3, Allocation::Punch).unwrap();
    upload.truncate(9).unwrap();
    assert_eq!(written(&*upload), b"\0\0\0tentmo");
    assert_refused!(upload.finish(&Digest::sha256(b"content")), Error::UploadUnknown(_));
    assert_eq!(alpine(registry).layers().uploads().unwrap(), []);
}

fn assert_ended(upload: &dyn LayerUpload) {
    assert_refused!(upload.rename(&upload_name("other")), Error::UploadUnknown(_));
    assert_refused!(upload.stat(), Error::UploadUnknown(_));
    assert_refused!(upload.digest(), Error::UploadUnknown(_));
    assert_refused!(upload.sync(), Error::UploadUnknown(_));
    assert_refused!(upload.finish(&Digest::sha256(b"content")), Error::UploadUnknown(_));
    upload.settle(Box::new(()));
    assert_eq!(written(upload), b"content");
}

pub(crate) fn room_is_reserved_and_given_back(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"content");
    upload.allocate(2..4, Allocation::Extend).unwrap();
    upload.allocate(5..20, Allocation::Reserve).unwrap();
    assert_eq!(written(&*upload), b"content");
    assert_eq!(upload.digest().unwrap(), Digest::sha256(b"content"));
    upload.allocate(1..9, Allocation::Extend).unwrap();
    assert_eq!(written(&*upload), b"content\0\0");
    assert_eq!(upload.digest().unwrap(), Digest::sha256(b"content\0\0"));
    upload.allocate(3..30, Allocation::Punch).unwrap();
    assert_eq!(written(&*upload), b"con\0\0\0\0\0\0");
    // What was hashed before is not taken for what is there now.
    assert_eq!(upload.digest().unwrap(), Digest::sha256(b"con\0\0\0\0\0\0"));
    upload.finish(&Digest::sha256(b"con\0\0\0\0\0\0")).unwrap();
}

pub(crate) fn an_upload_can_be_cancelled_twice(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"content");
    upload.cancel().unwrap();
    upload.cancel().unwrap();
    assert_eq!(alpine.layers().uploads().unwrap(), []);
}

pub(crate) fn every_upload_is_listed_until_it_ends(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let uploads = [(); 5].map(|()| begin(alpine.layers(), b"content"));
    let listed = || sorted(alpine.layers().uploads().unwrap().iter().map(|upload| upload.uuid));
    let [first, second, rest @ ..] = &uploads;
    assert_eq!(listed(), sorted(uploads.iter().map(|upload| upload.uuid())));
    first.cancel().unwrap();
    second.finish(&Digest::sha256(b"content")).unwrap();
    assert_eq!(listed(), sorted(rest.iter().map(|upload| upload.uuid())));
    let stat = rest[0].stat().unwrap();
    assert_eq!(stat.length, 7);
    assert!(alpine.layers().uploads().unwrap().contains(&stat));
}

pub(crate) fn uploads_are_listed_in_the_order_in_which_they_are_found(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let mut begun = Vec::new();
    for number in 0..10 {
        begin(alpine.layers(), b"content").rename(&upload_name(&format!("{number}"))).unwrap();
        begun.push(begin(alpine.layers(), b"content").uuid());
    }
    let listed = alpine.layers().uploads().unwrap();
    let named: Vec<_> =
        listed.iter().filter(|upload| upload.name == Some(upload_name("new"))).collect();
    assert!(named.iter().map(|upload| &upload.uuid).eq(begun.iter().rev()));
    assert_eq!(alpine.layers().find_upload(&upload_name("new")).unwrap(), Some(named[0].uuid));
}

pub(crate) fn an_upload_can_be_renamed(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"content");
    upload.rename(&upload_name("renamed")).unwrap();
    assert_eq!(upload.stat().unwrap().name, Some(upload_name("renamed")));
    let find = |file| alpine.layers().find_upload(&upload_name(file)).unwrap();
    assert_eq!((find("new"), find("renamed")), (None, Some(upload.uuid())));
    let uuid = upload.uuid();
    drop(upload);
    assert_eq!(
        alpine.layers().stat_upload(&uuid).unwrap().name,
        Some(upload_name("renamed")),
        "the name is kept with the upload"
    );
}

pub(crate) fn the_youngest_upload_of_a_name_is_found(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let [older, younger] = [(); 2].map(|()| {
        // Times of beginning are kept in whole seconds.
        thread::sleep(Duration::from_millis(1_050));
        begin(alpine.layers(), b"content")
    });
    let find = || alpine.layers().find_upload(&upload_name("new")).unwrap();
    assert_eq!(find(), Some(younger.uuid()));
    younger.cancel().unwrap();
    assert_eq!(find(), Some(older.uuid()));
}

pub(crate) fn uploads_lie_in_every_area_and_in_staging_folders(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let file = OsStr::new(".new.XyZ 1\u{e9}");
    let mut names: Vec<UploadName> =
        Area::ALL.iter().map(|area| UploadName::new(*area, file).unwrap()).collect();
    names.push(UploadName::in_folder(Area::Layers, OsStr::new(".~tmp~"), file).unwrap());
    let uploads: Vec<_> =
        names.iter().map(|name| alpine.layers().upload(name, &as_it_is()).unwrap()).collect();
    for (name, upload) in names.iter().zip(&uploads) {
        assert_eq!(alpine.layers().find_upload(name).unwrap(), Some(upload.uuid()));
        assert_eq!(upload.stat().unwrap().name.as_ref(), Some(name));
    }
}

pub(crate) fn a_staging_folder_is_there_as_long_as_an_upload_lies_in_it(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let layers = alpine.layers();
    let (staging, other) = (OsStr::new(".~tmp~"), OsStr::new(".other"));
    let has = |area, folder| layers.has_upload_folder(area, folder).unwrap();
    assert!(!has(Area::Layers, staging), "there is not even a repository");
    let [first, second] = ["first", "second"].map(|file| {
        let name = UploadName::in_folder(Area::Layers, staging, OsStr::new(file)).unwrap();
        layers.upload(&name, &as_it_is()).unwrap()
    });
    assert!(has(Area::Layers, staging));
    assert!(!has(Area::Manifests, staging) && !has(Area::Layers, other));
    first.cancel().unwrap();
    assert!(has(Area::Layers, staging));
    let name = UploadName::in_folder(Area::Manifests, other, OsStr::new("it")).unwrap();
    second.rename(&name).unwrap();
    assert!(!has(Area::Layers, staging));
    assert!(has(Area::Manifests, other));
    let name = UploadName::from_bytes(b"uploads/image/blobs/sha256/it").unwrap();
    second.rename(&name).unwrap();
    assert!(!has(Area::Manifests, other));
    for folder in ["image", "image/blobs", "image/blobs/sha256"] {
        assert!(has(Area::Uploads, OsStr::new(folder)), "{folder}");
    }
    assert!(!has(Area::Uploads, OsStr::new("blobs")) && !has(Area::Uploads, OsStr::new("imag")));
    second.rename(&upload_name("it")).unwrap();
    assert!(!has(Area::Uploads, OsStr::new("image")));
}
