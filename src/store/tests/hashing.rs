//! The hash that follows an upload.

use super::*;
use std::sync::mpsc;

#[test]
fn resuming_hashes_only_the_tail() {
    let scene = scene();
    let content = noise(9 << 20);
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    let folder = scene.v2(&format!("repositories/app/_uploads/{id}"));
    upload.write_at(&content, 0).unwrap();
    upload.settle(Box::new(()));
    wait_until(|| hashstates(&folder) == [content.len().to_string()]);
    upload.write_at(b"tail", content.len() as u64).unwrap();
    drop(upload);
    let registry = scene.again();
    let repository = registry.repository(&"app".parse().unwrap());
    let upload = repository.layers().resume(&id).unwrap();
    assert_eq!(upload.stat().unwrap().name, Some(uploads_file("x")));
    let digest = Digest::sha256(&[&content[..], b"tail"].concat());
    assert_eq!(upload.digest().unwrap(), digest);
    assert_eq!(registry.counters().bytes_hashed(), 4);
    upload.finish(&digest).unwrap();
}

/// It was let go of by the thread that had nothing to do just then, and the rest was hashed again by `mv`.
#[test]
fn what_a_pause_holds_is_held_until_the_hash_is_kept() {
    struct Held(mpsc::Sender<()>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    let scene = scene();
    let piece = noise(1 << 20);
    for _ in 0..20 {
        let upload = scene.upload("app", "x");
        let (sender, let_go) = mpsc::channel();
        for number in 0..12 {
            upload.write_at(&piece, number * piece.len() as u64).unwrap();
        }
        upload.settle(Box::new(Held(sender)));
        let_go.recv_timeout(Duration::from_secs(30)).unwrap();
        let folder = scene.v2(&format!("repositories/app/_uploads/{}", upload.uuid()));
        assert_eq!(hashstates(&folder), [(12 * piece.len()).to_string()]);
        upload.cancel().unwrap();
    }
}

/// As after SIGKILL: nobody settled, and the system goes on.
#[test]
fn a_killed_writer_costs_little_hashing() {
    let scene = scene();
    let mut content = noise(40 << 20);
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    let note = scene.path(layout::note(id));
    upload.write_at(&content, 0).unwrap();
    wait_until(|| note.exists() && scene.registry.counters().bytes_hashed() == 40 << 20);
    drop(upload);
    let registry = scene.again();
    let layers = registry.repository(&"app".parse().unwrap());
    let upload = layers.layers().resume(&id).unwrap();
    // What people do to a file before they rename it does not make it unknown.
    let change = AttributesChange { permissions: Some(0o640), ..Default::default() };
    layers.attributes().change(&Subject::Upload(id), &change).unwrap();
    assert_eq!(upload.digest().unwrap(), Digest::sha256(&content));
    assert!(registry.counters().bytes_hashed() <= 24 << 20);
    // It goes before its bytes change, and with the upload.
    upload.write_at(b"other", 5).unwrap();
    assert!(!note.exists());
    content[5..10].copy_from_slice(b"other");
    upload.finish(&Digest::sha256(&content)).unwrap();
    assert!(!note.exists());
}

#[test]
fn a_note_of_another_boot_is_not_believed() {
    let scene = scene();
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    upload.write_at(b"hello", 0).unwrap();
    drop(upload);
    let mut digester = crate::model::Digester::default();
    digester.update(b"hallo");
    let note = [&[b'0'; 36][..], &digester.state()].concat();
    disk::write(scene.path(layout::note(id)), note).unwrap();
    let upload = scene.repository("app").layers().resume(&id).unwrap();
    assert_eq!(upload.digest().unwrap(), Digest::sha256(b"hello"));
    drop(upload);
    drop(scene.again());
    assert!(!scene.path(layout::note(id)).exists());
}

/// An upload all of which is noted, and its note.
fn noted_upload(scene: &Scene, content: &[u8]) -> (UploadId, PathBuf) {
    let upload = scene.upload("app", "x");
    let (id, at) = (upload.uuid(), scene.path(layout::note(upload.uuid())));
    upload.write_at(content, 0).unwrap();
    upload.settle(Box::new(()));
    // It is noted before it is kept, or after it.
    let kept = scene.v2(&format!("repositories/app/_uploads/{id}"));
    wait_until(|| at.exists() && hashstates(&kept) == [content.len().to_string()]);
    drop(upload);
    (id, at)
}

/// How much is hashed when an upload is resumed, which hashes to what it is.
fn hashed_again(scene: &Scene, id: UploadId, content: &[u8]) -> u64 {
    let registry = scene.again();
    let upload = registry.repository(&"app".parse().unwrap()).layers().resume(&id).unwrap();
    assert_eq!(upload.digest().unwrap(), Digest::sha256(content));
    registry.counters().bytes_hashed()
}

#[test]
fn attributes_set_on_an_upload_do_not_have_it_hashed_again() {
    let scene = scene();
    let content = noise(6 << 20);
    let (id, note) = noted_upload(&scene, &content);
    let app = scene.repository("app");
    for change in [
        AttributesChange { permissions: Some(0o640), ..Default::default() },
        AttributesChange { modified_at: Some(UNIX_EPOCH), ..Default::default() },
    ] {
        thread::sleep(Duration::from_millis(20));
        app.attributes().change(&Subject::Upload(id), &change).unwrap();
    }
    thread::sleep(Duration::from_millis(20));
    app.attributes().set_extended(&Subject::Upload(id), "user.x", Some(b"y")).unwrap();
    assert_eq!(hashed_again(&scene, id, &content), 0);
    assert!(note.exists());
}

#[test]
fn a_note_of_bytes_that_somebody_else_changed_is_removed() {
    let scene = scene();
    let mut content = noise(6 << 20);
    let (id, note) = noted_upload(&scene, &content);
    thread::sleep(Duration::from_millis(20));
    content[7] ^= 1;
    let data = scene.v2(&format!("repositories/app/_uploads/{id}/data"));
    disk::write(data, &content).unwrap();
    // What is done to it afterwards does not make it right.
    let change = AttributesChange { permissions: Some(0o640), ..Default::default() };
    scene.repository("app").attributes().change(&Subject::Upload(id), &change).unwrap();
    let upload = scene.repository("app").layers().resume(&id).unwrap();
    assert!(!note.exists());
    assert_eq!(upload.digest().unwrap(), Digest::sha256(&content));
}

#[test]
fn a_note_of_another_mount_is_not_believed() {
    let scene = scene();
    let content = noise(6 << 20);
    let (id, note) = noted_upload(&scene, &content);
    let kept = scene.v2(&format!("repositories/app/_uploads/{id}/hashstates"));
    disk::remove_dir_all(kept).unwrap();
    let mut bytes = disk::read(&note).unwrap();
    bytes[36 + 8] ^= 1;
    disk::write(&note, bytes).unwrap();
    drop(scene.again());
    assert!(note.exists(), "who has that mount may use it");
    let upload = scene.repository("app").layers().resume(&id).unwrap();
    assert!(!note.exists());
    assert_eq!(upload.digest().unwrap(), Digest::sha256(&content));
}

#[test]
fn a_kept_state_goes_before_its_bytes_change() {
    let scene = scene();
    let mut content = noise(6 << 20);
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    let folder = scene.v2(&format!("repositories/app/_uploads/{id}"));
    upload.write_at(&content, 0).unwrap();
    upload.settle(Box::new(()));
    wait_until(|| hashstates(&folder) == [content.len().to_string()]);
    upload.write_at(b"other", 77).unwrap();
    assert!(hashstates(&folder).is_empty());
    content[77..82].copy_from_slice(b"other");
    drop(upload);
    let upload = scene.repository("app").layers().resume(&id).unwrap();
    upload.finish(&Digest::sha256(&content)).unwrap();
}

#[test]
fn a_state_that_does_not_fit_is_not_trusted() {
    let scene = scene();
    let content = noise(100_000);
    let app = scene.repository("app");
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    upload.write_at(&content, 0).unwrap();
    drop(upload);
    let states = scene.v2(&format!("repositories/app/_uploads/{id}/hashstates/sha256"));
    let state = |bytes: &[u8]| {
        let mut digester = crate::model::Digester::default();
        digester.update(bytes);
        digester.state()
    };
    // Beyond the end, garbled, and written before the data changed behind our back.
    disk::create_dir_all(&states).unwrap();
    disk::write(states.join("100000"), state(&[0; 100_000])).unwrap();
    disk::write(states.join("200000"), state(&[0; 200_000])).unwrap();
    disk::write(states.join("50000"), b"garbled").unwrap();
    thread::sleep(Duration::from_millis(20));
    let data = scene.v2(&format!("repositories/app/_uploads/{id}/data"));
    disk::write(data, &content).unwrap();
    let upload = app.layers().resume(&id).unwrap();
    assert!(hashstates(states.parent().unwrap().parent().unwrap()).is_empty());
    assert_eq!(upload.digest().unwrap(), Digest::sha256(&content));
}

/// What a writer may do next.
#[derive(Clone, Debug)]
enum Step {
    Write { offset: usize, length: usize, byte: u8 },
    Append { length: usize, byte: u8 },
    Truncate { length: usize },
    Settle,
    Digest,
    Resume,
    Pause,
}

fn steps() -> impl Strategy<Value = Step> {
    const MAX: usize = 7 << 20;
    prop_oneof![
        2 => (0..MAX, 1..2_000_000_usize, any::<u8>())
            .prop_map(|(offset, length, byte)| Step::Write { offset, length, byte }),
        4 => (1..4_000_000_usize, any::<u8>()).prop_map(|(length, byte)| Step::Append { length, byte }),
        1 => (0..MAX).prop_map(|length| Step::Truncate { length }),
        2 => Just(Step::Settle),
        1 => Just(Step::Digest),
        2 => Just(Step::Resume),
        2 => Just(Step::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written in whatever order, the hash that followed is that of what is read.
    #[test]
    fn the_running_hash_is_that_of_the_bytes(steps in prop::collection::vec(steps(), 1..16)) {
        let scene = scene();
        let app = scene.repository("app");
        let mut upload = scene.upload("app", "x");
        let mut model = Vec::new();
        for step in steps {
            match step {
                Step::Write { offset, length, byte } => {
                    upload.write_at(&vec![byte; length], offset as u64).unwrap();
                    model.resize(model.len().max(offset + length), 0);
                    model[offset..offset + length].fill(byte);
                }
                Step::Append { length, byte } => {
                    upload.write_at(&vec![byte; length], model.len() as u64).unwrap();
                    model.resize(model.len() + length, byte);
                }
                Step::Truncate { length } => {
                    upload.truncate(length as u64).unwrap();
                    model.resize(length, 0);
                }
                Step::Settle => upload.settle(Box::new(())),
                Step::Digest => prop_assert_eq!(upload.digest().unwrap(), Digest::sha256(&model)),
                Step::Resume => {
                    let id = upload.uuid();
                    drop(upload);
                    upload = app.layers().resume(&id).unwrap();
                }
                Step::Pause => thread::sleep(Duration::from_millis(10)),
            }
        }
        let mut read = vec![0; model.len() + 1];
        let length = upload.read_at(&mut read, 0).unwrap();
        prop_assert!(read[..length] == model, "the bytes are those written");
        let layer = upload.finish(&Digest::sha256(&model)).unwrap();
        prop_assert_eq!(layer.length(), model.len() as u64);
    }
}
