//! Links: files that hold a digest and nothing else, by which a repository has content.
//!
//! What a link says decides, not where it lies: the link of a sha512 holds the canonical sha256.

use crate::model::{Digest, Error, Result};
use crate::store::{
    attributes::{self, Carried},
    durable::{Draft, Scratch},
    folder::{Folder, Place},
};
use rustix::fs::{OFlags, Stat};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

/// More than the longest link has.
const BYTES_MAX: usize = 256;
/// How often a link is read that holds no digest: docker-registry 2.8 empties it before it writes.
const READS_MAX: u32 = 6;
/// How long to wait between two such reads.
const READ_PAUSE: Duration = Duration::from_millis(10);
/// How long ago a link may have changed that somebody may still be writing. One that is damaged for
/// longer is not waited for: after a power cut there may be thousands in a folder.
const WRITE_AGE_MAX: Duration = Duration::from_secs(2);

/// What a link says, and what the system knows of its file.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) digest: Digest,
    pub(super) stat: Stat,
}

/// Reads the link at `at`. Errors: `LinkDamaged` when it holds no digest and nobody is writing it.
pub(super) fn read(folder: &Folder, at: impl AsRef<Path>) -> Result<Option<Link>> {
    let at = at.as_ref();
    for _ in 0..READS_MAX {
        let Some(file) = folder.open_quietly(at, OFlags::RDONLY)? else { return Ok(None) };
        let stat = attributes::stat(&file, || folder.path_of(at))?;
        if let Some(digest) = digest_in(file, folder, at)? {
            return Ok(Some(Link { digest, stat }));
        }
        if !is_changing(&stat) {
            break;
        }
        thread::sleep(READ_PAUSE);
    }
    Err(Error::LinkDamaged { path: folder.path_of(at) })
}

/// What the link at `at` says, and nothing else: for who reads many. Errors: as [`read`].
pub(super) fn read_digest(folder: &Folder, at: &Path) -> Result<Option<Digest>> {
    let Some(file) = folder.open_quietly(at, OFlags::RDONLY)? else { return Ok(None) };
    match digest_in(file, folder, at)? {
        Some(digest) => Ok(Some(digest)),
        None => Ok(read(folder, at)?.map(|link| link.digest)),
    }
}

/// The digest that a link holds now. One call brings all of a file that is as short.
fn digest_in(mut file: File, folder: &Folder, at: &Path) -> Result<Option<Digest>> {
    let mut text = [0; BYTES_MAX];
    let length = file.read(&mut text).map_err(Error::io("read", folder.path_of(at)))?;
    Ok(std::str::from_utf8(&text[..length]).ok().and_then(|text| text.parse().ok()))
}

/// Whether somebody may be about to write a file, or into a folder. A clock that was set back makes it
/// look so, too.
pub(super) fn is_changing(stat: &Stat) -> bool {
    let changed_at = attributes::attributes(stat).changed_at;
    SystemTime::now().duration_since(changed_at).map_or(true, |age| age < WRITE_AGE_MAX)
}

/// Begins a link: everything that can fail for want of room is done here, so that publishing it
/// is one rename.
pub(super) fn draft<'a>(
    scratch: &'a Scratch, digest: &Digest, carried: &Carried,
) -> Result<Draft<'a>> {
    let draft = begin(scratch, digest, carried)?;
    draft.sync()?;
    Ok(draft)
}

/// As [`draft`], for who syncs it together with others.
pub(super) fn begin<'a>(
    scratch: &'a Scratch, digest: &Digest, carried: &Carried,
) -> Result<Draft<'a>> {
    let draft = scratch.draft()?;
    fill(draft.file(), &draft.path(), digest, carried)?;
    Ok(draft)
}

/// Makes a link where nothing lies, in a folder that nobody sees yet; it is not synced.
pub(super) fn create(at: Place<'_>, digest: &Digest, carried: &Carried) -> Result<File> {
    if let Some(parent) = at.at.parent() {
        at.folder.make_folders(parent)?;
    }
    let file = at.folder.create_file(at.at)?;
    fill(&file, &at.path(), digest, carried)?;
    Ok(file)
}

fn fill(mut file: &File, path: &Path, digest: &Digest, carried: &Carried) -> Result<()> {
    file.write_all(digest.to_string().as_bytes()).map_err(Error::io("write", path))?;
    carried.put_on(file, path)
}

/// Makes the link at `to` say `digest`, at once, with the attributes `carried`.
pub(super) fn write(
    scratch: &Scratch, to: Place<'_>, digest: &Digest, carried: &Carried,
) -> Result<()> {
    draft(scratch, digest, carried)?.publish(to)
}

/// Removes the link at `at`, and the folder of its digest with it. `false` when it is not there.
pub(super) fn remove(folder: &Folder, at: &Path) -> Result<bool> {
    let removed = folder.remove_file(at)?;
    if removed && let Some(parent) = at.parent() {
        folder.remove_folder(parent)?;
    }
    Ok(removed)
}
