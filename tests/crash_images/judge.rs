//! What a store that a crash has left shows, and whether that may be.

use super::{
    common::Mount,
    disk::Kind,
    scenario::{Durable, Recording, Step, files},
    state::{State, look, verify},
};
use regfs::{
    model::{AttributesChange, Digest, Reference, UploadName},
    registry::{LayerUpload, Registry, Repository},
    store::{LocalRegistry, StoreOptions},
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// For each name, the first state that it may still be in: what was acknowledged, or synced.
pub(crate) struct Floors<'a> {
    recording: &'a Recording,
    steps: &'a [Step],
    /// How many steps were acknowledged.
    pub(crate) done: usize,
    everything: usize,
    names: BTreeMap<&'static str, usize>,
}

impl<'a> Floors<'a> {
    pub(crate) fn new(recording: &'a Recording, steps: &'a [Step]) -> Self {
        Self { recording, steps, done: 0, everything: 0, names: BTreeMap::new() }
    }

    /// Notes that so many steps were acknowledged.
    pub(crate) fn pass(&mut self, done: usize) {
        self.done = done;
        match done.checked_sub(1).map(|last| self.steps[last].durable) {
            Some(Durable::Everything) => self.everything = done,
            Some(Durable::Name(name)) => _ = self.names.insert(name, done),
            Some(Durable::Nothing) | None => {}
        }
    }

    /// Says what is wrong with what is seen after a crash.
    pub(crate) fn compare(&self, seen: &State, kind: Kind) -> Result<(), String> {
        let states = &self.recording.states;
        let names = states.iter().flat_map(State::keys).chain(seen.keys());
        for name in names.filter(|name| !name.ends_with('/')) {
            let synced = || self.names.get(name.as_str()).map_or(0, |floor| *floor);
            let floor = if kind == Kind::Kill { self.done } else { self.everything.max(synced()) };
            let last = (self.done + 1).min(states.len() - 1);
            let allowed: Vec<_> =
                states[floor..=last].iter().map(|state| state.get(name)).collect();
            let is_changing = allowed.iter().any(|state| *state != allowed[0]);
            // What was not synced of an upload may be anything, and a tool leave a file of its own.
            let is_loose = name.contains("uploads/") || name.contains("/Cu");
            if !allowed.contains(&seen.get(name))
                && !(is_loose && (is_changing || allowed[0].is_none()))
            {
                let lengths = |state: &Option<&Vec<u8>>| state.map(Vec::len);
                let allowed: Vec<_> = allowed.iter().map(lengths).collect();
                return Err(format!("{name}: {:?} of {allowed:?}", seen.get(name).map(Vec::len)));
            }
        }
        Ok(())
    }
}

/// Opens what a crash has left, looks at all there is, goes on with it, and says what is wrong.
pub(crate) fn examine(store: &Path) -> Result<State, String> {
    let registry = LocalRegistry::open(store, &StoreOptions::default()).map_err(say("open"))?;
    for left in ["regfs/tmp", "regfs/trash"] {
        let mut entries = std::fs::read_dir(store.join(left)).unwrap();
        if let Some(entry) = entries.next() {
            return Err(format!("left behind: {:?}", entry.unwrap().path()));
        }
    }
    let mut seen = State::new();
    let repositories =
        registry.repositories().and_then(|mut all| all.collect()).map_err(say("list"))?;
    for name in repositories {
        see(&*registry.repository(&name), &mut seen)?;
    }
    verify(store)?;
    for name in ["a", "new"] {
        go_on(&*registry.repository(&name.parse().unwrap()))?;
    }
    verify(store)?;
    Ok(seen)
}

fn say<E: std::fmt::Display>(doing: &str) -> impl Fn(E) -> String + '_ {
    move |error| format!("{doing}: {error}")
}

/// What a repository shows, under the names that a mount gives it.
fn see(repository: &dyn Repository, seen: &mut State) -> Result<(), String> {
    let (name, layers, manifests) =
        (repository.name(), repository.layers(), repository.manifests());
    for digest in layers.digests().and_then(|mut all| all.collect()).map_err(say("list layers"))? {
        seen.insert(format!("{name}/layers/{digest}"), layer(repository, &digest)?);
    }
    for tag in manifests.tags().and_then(|mut all| all.collect()).map_err(say("list tags"))? {
        // A name is listed by its folder: that has its link, whatever has happened.
        let manifest = manifests.get(&Reference::Tag(tag.clone())).map_err(say(tag.as_str()))?;
        seen.insert(format!("{name}/manifests/{}", tag.as_str()), manifest.bytes().to_vec());
    }
    for upload in layers.uploads().map_err(say("list uploads"))? {
        let reader = layers.read_upload(&upload.uuid).map_err(say("open an upload"))?;
        let mut bytes = vec![0; usize::try_from(upload.length).unwrap()];
        reader.read_at(&mut bytes, 0).map_err(say("read an upload"))?;
        let file = match upload.name {
            Some(name) if name.area().name() == "uploads" => name.file().display().to_string(),
            // A layer that is being written is seen by nobody.
            Some(_) => continue,
            None => upload.uuid.to_string(),
        };
        seen.insert(format!("{name}/uploads/{file}"), bytes);
    }
    Ok(())
}

/// The bytes of a layer, which hash to its name.
fn layer(repository: &dyn Repository, digest: &Digest) -> Result<Vec<u8>, String> {
    let layer = repository.layers().fetch(digest).map_err(say("fetch"))?;
    let mut bytes = vec![0; usize::try_from(layer.length()).unwrap()];
    layer.read_at(&mut bytes, 0).map_err(say("read"))?;
    match Digest::sha256(&bytes) == *digest {
        true => Ok(bytes),
        false => Err(format!("{digest} has other bytes")),
    }
}

/// Goes on with each upload as if it were one of the files, and pushes all of them anew.
fn go_on(repository: &dyn Repository) -> Result<(), String> {
    let layers = repository.layers();
    for upload in layers.uploads().map_err(say("list uploads"))? {
        for (_, _, bytes) in files() {
            let digest = Digest::sha256(&bytes);
            let resumed = match layers.resume(&upload.uuid) {
                Ok(resumed) => resumed,
                Err(error) if error.is_unknown() => break,
                Err(error) => return Err(format!("resume: {error}")),
            };
            if resumed.finish(&digest).is_ok() {
                layer(repository, &digest)?;
            }
        }
    }
    for (_, name, bytes) in files().iter().filter(|(_, name, _)| ["new", "base"].contains(name)) {
        let file = format!("again-{name}");
        let name = UploadName::new(regfs::model::Area::Uploads, file.as_ref()).unwrap();
        let upload: Arc<dyn LayerUpload> =
            layers.upload(&name, &AttributesChange::default()).map_err(say("begin"))?;
        upload.write_at(bytes, 0).map_err(say("write"))?;
        let digest = Digest::sha256(bytes);
        upload.finish(&digest).map(drop).map_err(say("finish"))?;
        layer(repository, &digest)?;
    }
    Ok(())
}

/// The files that a mount of it shows.
pub(crate) fn mounted(store: &Path) -> State {
    let mount = Mount::of_store(store);
    look(mount.path()).into_iter().filter(|(name, _)| !name.ends_with('/')).collect()
}
