//! Notes of an upload's running hash, `regfs/states/UUID`: for who resumes it after its writer was
//! killed.
//!
//! A kept state (`states.rs`) must survive a power cut and so costs a sync of all data before it. A
//! note need not: it says where it was written, and counts for nothing elsewhere: under which boot
//! of the system, and on which mount, since a disk that was lost and is mounted anew has lost what
//! was not synced as well. As long as neither changes, what a killed process has written is all
//! there, so notes cost next to nothing and are taken often.
//!
//! What keeps a note true:
//!
//! 1. It is removed before a byte changes that it covers, and only the one who holds the upload's
//!    lock changes any. One that is not trusted when the upload is taken up is removed then.
//! 2. Who writes otherwise is noticed where that is possible, as with kept states: a note for
//!    exactly the length of the data is trusted only when the data's time of change (ctime), which
//!    nobody can set, is the one noted. Data that is longer was appended to.
//!
//! What people do to a file when it is written (chmod, chown, touch) changes that time too, so
//! [`keep_over`] brings it up to date in the note. It writes into the note that was right before and
//! makes none: if a writer removes or replaces the note meanwhile, what it writes is lost with the
//! old one. What is left is that somebody else changes bytes just between two system calls, and
//! that somebody changes attributes in another process just then, which costs the note.

use crate::model::{Digester, Error, Result, STATE_LENGTH, UploadId};
use crate::store::{
    Store,
    attributes::{attributes, stat},
    directory::Directory,
    durable::Draft,
    folder::{self, Folder},
    layout,
};
use rustix::fs::{AtFlags, OFlags, Stat, StatxFlags, statx};
use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::OnceLock,
    time::UNIX_EPOCH,
};

/// What tells one boot of the system from every other; 36 characters.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
pub(super) const BOOT_ID_LENGTH: usize = 36;
/// Of the device, and of the mount.
const MOUNT_LENGTH: usize = 2 * size_of::<u32>() + size_of::<u64>();
/// Nanoseconds since 1970.
const TIME_LENGTH: usize = size_of::<u128>();
/// A number for a mount that is never given again, where the system (6.8) has one:
/// `STATX_MNT_ID_UNIQUE`.
const MOUNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Where the time stands in a note. The state is behind it.
const TIME_AT: usize = BOOT_ID_LENGTH + MOUNT_LENGTH;
const STATE_AT: usize = TIME_AT + TIME_LENGTH;
const LENGTH: usize = STATE_AT + STATE_LENGTH;

/// The boot under which this runs; `None` where the system does not say, and then nothing is noted.
pub(super) fn boot() -> Option<&'static [u8]> {
    static BOOT: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let read = || {
        let text = fs::read(BOOT_ID).ok()?;
        text.get(..BOOT_ID_LENGTH).map(<[u8]>::to_vec)
    };
    BOOT.get_or_init(read).as_deref()
}

/// Boot and mount under which the store is open; `None` where the system does not say.
fn origin(root: &Folder) -> Option<Vec<u8>> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID | MOUNT_ID_UNIQUE;
    let known = statx(root, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    let mut origin = boot()?.to_vec();
    origin.extend(known.stx_dev_major.to_le_bytes());
    origin.extend(known.stx_dev_minor.to_le_bytes());
    origin.extend(known.stx_mnt_id.to_le_bytes());
    Some(origin)
}

/// When the data changed last, in whatever way.
fn changed(data: &Stat) -> [u8; TIME_LENGTH] {
    let since = attributes(data).changed_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_le_bytes()
}

/// Begins a note.
pub(super) fn draft(store: &Store) -> Result<Draft<'_>> {
    store.scratch()?.draft()
}

/// Notes how far the hash of an upload is, whose data is as `data` says. The caller sees to it that
/// no byte changes meanwhile.
pub(super) fn publish(
    store: &Store, draft: Draft<'_>, id: UploadId, digester: &Digester, data: &Stat,
) -> Result<()> {
    let Some(origin) = origin(&store.root) else { return Ok(()) };
    let note = [&origin[..], &changed(data), &digester.state()].concat();
    draft.file().write_all(&note).map_err(Error::io("write", draft.path()))?;
    draft.publish(store.root.place(&layout::note(id)))
}

/// What is noted of an upload that is being taken up, whose data is as `data` says, if it is to be
/// trusted; else the note is removed.
pub(super) fn take_up(store: &Store, id: UploadId, data: &Stat) -> Result<Option<Digester>> {
    let Some(note) = store.root.read(layout::note(id), LENGTH as u64 + 1)? else { return Ok(None) };
    let trusted = parse(&note, &store.root, data);
    if trusted.is_none() {
        remove(store, id)?;
    }
    Ok(trusted)
}

fn parse(note: &[u8], root: &Folder, data: &Stat) -> Option<Digester> {
    let (written, rest) = note.split_at_checked(TIME_AT)?;
    let (time, state) = rest.split_at_checked(TIME_LENGTH)?;
    let digester = Digester::from_state(state)?;
    let (noted, length) = (digester.length(), folder::length(data));
    let is_current = noted < length || (noted == length && *time == changed(data));
    (is_current && origin(root)? == written).then_some(digester)
}

/// Changes attributes of an upload's data, and sees to it that a note that was right before is right
/// after it.
pub(super) fn keep_over<T>(
    store: &Store, id: UploadId, data: &File, change: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let now = || stat(data, || layout::upload_file(id, layout::DATA));
    // Without the note everything is hashed again: no reason to refuse the change.
    let note = store.root.open_file(layout::note(id), OFlags::RDWR).ok().flatten();
    let note = note.filter(|note| {
        let mut noted = [0; TIME_LENGTH];
        let read = note.read_exact_at(&mut noted, TIME_AT as u64);
        read.is_ok() && now().is_ok_and(|before| noted == changed(&before))
    });
    let result = change();
    if let (Some(note), Ok(after)) = (note, now())
        && let Err(error) = note.write_all_at(&changed(&after), TIME_AT as u64)
    {
        log::warn!("what is hashed of upload {id} will be hashed again: {error}");
    }
    result
}

/// Forgets an upload's note.
pub(super) fn remove(store: &Store, id: UploadId) -> Result<()> {
    store.root.remove_file(layout::note(id)).map(drop)
}

/// Removes the notes of other boots. Those of another mount may be of use to who has it.
pub(super) fn sweep(root: &Folder) -> Result<()> {
    let Some(notes) = root.open_folder(layout::NOTES)? else { return Ok(()) };
    let mut directory = Directory::of(&notes)?;
    while let Some(entry) = directory.next()? {
        let name = Path::new(&entry.name);
        let note = notes.read(name, LENGTH as u64 + 1)?;
        let written = note.as_deref().and_then(|note| note.get(..BOOT_ID_LENGTH));
        if written.is_none() || written != boot() {
            notes.remove_file(name)?;
        }
    }
    Ok(())
}
