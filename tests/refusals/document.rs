//! `docs/errors.md`: what was seen, one section for each refusal.

use crate::common::keep_document;
use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

const DOCUMENT: &str = "docs/errors.md";

const HEAD: &str = "\
# What each tool says when it is refused

Written by the tests (`cargo test --test refusals`): every row was typed on a real mount, and shows what
was seen there. `FILE` is a file of another disk, `COPY` one that is moved in, `UPLOAD` one in
`a/uploads`, and `TARGET` the name in the mount that is meant. After every row the tests look that
nothing wrong is stored, that what was there before is still there, and that nothing is left behind.

The short text is the tool's. The line below each table is from `MOUNTPOINT/.regfs/errors`, which has one
for each refusal: when, which process, what it did, to what, the error, the reason, what to do.
`regfs status` says how many there are, and where.
";

/// Every section in the order of the document, each written by the test of its name.
pub(crate) const SECTIONS: &[&str] = &[
    "EBADMSG: a layer under another digest",
    "EBADMSG: a layer that is no archive",
    "EBADMSG, EPERM: over a layer that is there",
    "EBADMSG: a manifest under another digest",
    "EBADMSG: what is stored is damaged",
    "EINVAL: no name for a layer",
    "EINVAL: no name for a tag",
    "EINVAL: no name for a repository",
    "EINVAL: no manifest",
    "EINVAL: a signed manifest in another place",
    "ENOLINK: a manifest before its layers",
    "EKEYREJECTED: a signature that does not hold",
    "ENOKEY: no signatures",
    "EFBIG: a long manifest",
    "EPERM: no such thing in a registry",
    "EBUSY: a layer that is being written",
    "EBUSY: an upload that another mount writes",
    "ENOTEMPTY: a repository with something in it",
    "EROFS: mounted read-only",
    "ENOSPC: a full disk",
    "EDQUOT: over a quota",
    "EIO: a disk that failed",
    "ENOTCONN: the daemon is gone",
];

/// One writer at a time; the tests of one program run beside each other.
static WRITING: Mutex<()> = Mutex::new(());

/// Compares the section `title` with `body`, as this run found it. Where they differ the document is
/// written anew, and the test fails.
#[track_caller]
pub(crate) fn keep_section(title: &str, body: &str) {
    assert!(SECTIONS.contains(&title), "{title}: name it in SECTIONS, where its place is");
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        let body = if *section == title { body } else { body_of(&kept, section) };
        if !body.trim().is_empty() {
            write!(text, "\n## {section}\n\n{}\n", body.trim()).unwrap();
        }
    }
    keep_document(DOCUMENT, &text);
}

/// What stands below the heading `section`, up to the next one.
fn body_of<'a>(text: &'a str, section: &str) -> &'a str {
    let heading = format!("\n## {section}\n");
    let Some((_, rest)) = text.split_once(heading.as_str()) else { return "" };
    rest.split("\n## ").next().unwrap()
}
