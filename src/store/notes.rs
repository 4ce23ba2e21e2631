//! Notes of an upload's running hash, `regfs/states/UUID`: for who resumes it after its writer was
//! killed.
//!
//! A kept state (`states.rs`) must survive a power cut and so costs a sync of all data before it. A
//! note need not: it says under which boot of the system it was written, and counts for nothing
//! under another. While the system runs, what a killed process has written is all there, so notes
//! cost next to nothing and are taken often.
//!
//! What keeps a note true is what keeps a state true: it is removed before a byte changes that it
//! covers, and only the one who holds the upload's lock changes any.

use crate::model::{Digester, Error, Result, STATE_LENGTH, UploadId};
use crate::store::{Store, directory::Directory, durable::Draft, folder::Folder, layout};
use std::{fs, io::Write as _, path::Path, sync::OnceLock};

/// What tells one boot of the system from every other; 36 characters.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const BOOT_ID_LENGTH: usize = 36;

/// The boot under which this runs; `None` where the system does not say, and then nothing is noted.
fn boot() -> Option<&'static [u8]> {
    static BOOT: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let read = || {
        let text = fs::read(BOOT_ID).ok()?;
        text.get(..BOOT_ID_LENGTH).map(<[u8]>::to_vec)
    };
    BOOT.get_or_init(read).as_deref()
}

/// A note ready to be published at `layout::note`.
pub(super) fn draft<'a>(store: &'a Store, digester: &Digester) -> Result<Option<Draft<'a>>> {
    let Some(boot) = boot() else { return Ok(None) };
    let draft = store.scratch()?.draft()?;
    let note = [boot, &digester.state()].concat();
    draft.file().write_all(&note).map_err(Error::io("write", draft.path()))?;
    Ok(Some(draft))
}

/// What is noted of an upload of `length` bytes, when it is of this boot.
pub(super) fn read(store: &Store, id: UploadId, length: u64) -> Result<Option<Digester>> {
    let bytes = store.root.read(layout::note(id), LENGTH as u64 + 1)?;
    let digester = bytes.as_deref().and_then(parse);
    Ok(digester.filter(|digester| digester.length() <= length))
}

/// Forgets an upload's note.
pub(super) fn remove(store: &Store, id: UploadId) -> Result<()> {
    store.root.remove_file(layout::note(id)).map(drop)
}

/// Removes the notes of other boots.
pub(super) fn sweep(root: &Folder) -> Result<()> {
    let Some(notes) = root.open_folder(layout::NOTES)? else { return Ok(()) };
    let mut directory = Directory::of(&notes)?;
    while let Some(entry) = directory.next()? {
        let name = Path::new(&entry.name);
        let note = notes.read(name, LENGTH as u64 + 1)?;
        if note.as_deref().and_then(parse).is_none() {
            notes.remove_file(name)?;
        }
    }
    Ok(())
}

const LENGTH: usize = BOOT_ID_LENGTH + STATE_LENGTH;

fn parse(note: &[u8]) -> Option<Digester> {
    let (written, state) = note.split_at_checked(BOOT_ID_LENGTH)?;
    (written == boot()?).then(|| Digester::from_state(state))?
}
