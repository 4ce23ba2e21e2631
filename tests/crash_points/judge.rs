//! Whether what is seen after something went wrong is right, and whether anything is left behind.

use super::{
    common::{Mount, run_in},
    state::{State, look, verify},
};
use std::fmt::Write as _;

/// Says what of `seen` is neither as `before` an operation nor as `after` it. An upload may be half
/// written; a tool may have left a file of its own.
pub(crate) fn strange(seen: &State, before: &State, after: &State) -> Option<String> {
    let mut text = String::new();
    for (name, bytes) in seen {
        let known: Vec<&Vec<u8>> = [before, after].iter().filter_map(|s| s.get(name)).collect();
        let is_upload = name.contains("uploads/") || name.contains("/.");
        if known.contains(&bytes) || is_upload || is_temporary(name, bytes, before) {
            continue;
        }
        writeln!(text, "{name}: {} bytes that nobody put there", bytes.len()).unwrap();
    }
    for name in before.keys().filter(|name| after.contains_key(*name) && !seen.contains_key(*name))
    {
        writeln!(text, "{name}: lost").unwrap();
    }
    (!text.is_empty()).then_some(text)
}

/// Whether it is what ln(1) makes before it renames.
fn is_temporary(name: &str, bytes: &Vec<u8>, before: &State) -> bool {
    let file = name.rsplit('/').next().unwrap();
    file.starts_with("Cu") && before.values().any(|known| known == bytes)
}

/// Looks at a mount after something went wrong: at what is seen, and at each blob and link. Says what is
/// wrong.
pub(crate) fn examine(mount: &Mount, before: &State, after: &State) -> Result<State, String> {
    let seen = look(mount.path());
    if let Some(text) = strange(&seen, before, after) {
        return Err(text);
    }
    verify(mount.store()).map(|()| seen)
}

/// Says what is left behind in a store that was just mounted: where things are made and removed, of
/// uploads, and of tags, which a docker-registry lists by their folders.
pub(crate) fn leftovers(mount: &Mount) -> Result<(), String> {
    let left = run_in(mount.store(), "find regfs/tmp regfs/trash -mindepth 1");
    if !left.is_empty() {
        return Err(format!("left behind:\n{left}"));
    }
    let tags = "find docker/registry/v2/repositories -path '*/_manifests/tags/*' -prune";
    let left =
        run_in(mount.store(), &format!("{tags} ! -exec test -e {{}}/current/link ';' -print"));
    if !left.is_empty() {
        return Err(format!("half a tag:\n{left}"));
    }
    // What is left of an upload is swept when it is old enough to be nobody's.
    let uploads = "find docker/registry/v2/repositories -path '*/_uploads/*' -prune";
    run_in(mount.store(), &format!("{uploads} -exec touch -d '2 hours ago' {{}} +"));
    run_in(mount.path(), "find . > /dev/null");
    let left = run_in(mount.store(), &format!("{uploads} ! -exec test -e {{}}/data ';' -print"));
    if left.is_empty() { Ok(()) } else { Err(format!("left of uploads:\n{left}")) }
}
