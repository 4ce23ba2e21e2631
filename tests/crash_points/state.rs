//! What a mount shows, and what `regfs verify` says of its store.

use super::common::{digest_of, try_in};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Every name in a mount with the bytes of the file; folders have none.
pub(crate) type State = BTreeMap<String, Vec<u8>>;

/// Looks at everything that is listed. Fails when a layer has not the bytes that it names.
#[track_caller]
pub(crate) fn look(mount: &Path) -> State {
    let mut state = State::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(mount.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let at = folder.join(entry.file_name());
            let name = at.to_str().unwrap().to_owned();
            if entry.file_type().unwrap().is_dir() {
                state.insert(name + "/", Vec::new());
                folders.push(at);
                continue;
            }
            let bytes = fs::read(mount.join(&at)).unwrap_or_else(|error| panic!("{name}: {error}"));
            if folder.ends_with("layers") && !name.contains("/.") {
                assert!(name.ends_with(&digest_of(&bytes)), "{name} has other bytes");
            }
            state.insert(name, bytes);
        }
    }
    state
}

/// What `regfs verify` says against a store.
pub(crate) fn verify(store: &Path) -> Result<(), String> {
    match try_in(store, &[], "regfs verify .") {
        (Some(0), _) => Ok(()),
        (code, text) => Err(format!("regfs verify: {code:?}\n{text}")),
    }
}

/// The names of a state, for people.
pub(crate) fn names(state: &State) -> String {
    state.iter().fold(String::new(), |mut text, (name, bytes)| {
        writeln!(text, "  {name} {}", bytes.len()).unwrap();
        text
    })
}
