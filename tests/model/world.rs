//! A store with its mounts, a docker-registry perhaps, and the model of it all: one step is done in
//! both, and they are compared.

use super::disk;
use super::eye::{Eye, Scope};
use super::outcome::Outcome;
use super::peer::Peer;
use super::real::{self, Slots};
use super::reference::Reference;
use super::step::{Slot, Step};
use super::tree::{area_of, differences};
use super::words::Path;
use crate::common::Mount;
use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

/// What a world has beside one mount.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setting<'a> {
    /// A second mount of the store.
    pub(crate) two_mounts: bool,
    /// A docker-registry that serves the store.
    pub(crate) peer: Option<&'a Peer>,
    pub(crate) looks: Looks,
    /// A repository in which the registry pushes all the time.
    pub(crate) foreign: Option<&'static str>,
}

/// How much is looked at after each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Looks {
    /// Everything, so that it is clear which step it was.
    #[default]
    Everywhere,
    /// What the step is about; and everything now and then, which goes ten times faster.
    Near,
}

/// A store with its mounts.
pub(crate) struct World<'a> {
    // Files go before the mounts: an open file would keep a mount busy.
    slots: Slots,
    /// In which area the files in the slots were opened.
    opened_in: BTreeMap<Slot, String>,
    mounts: Vec<Mount>,
    /// One for each mount.
    eyes: Vec<Eye>,
    looks: Looks,
    steps: usize,
    /// The mount in which steps are done.
    on: usize,
    peer: Option<&'a Peer>,
    reference: Reference,
    /// When others were last told of something, and how long they may be behind.
    behind: Duration,
}

/// How long tags, uploads and new layers of others may stay unseen.
const OTHERS_BEHIND_MAX: Duration = Duration::from_secs(1);
/// How long it may stay unseen that others have removed a layer.
const REMOVALS_BEHIND_MAX: Duration = Duration::from_secs(5);
/// How many steps pass between two looks at everything.
const LOOK_EVERYWHERE_STEPS: usize = 16;
/// How long to wait between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(2);

impl<'a> World<'a> {
    pub(crate) fn new(setting: Setting<'a>) -> Self {
        let mut mounts = vec![Mount::empty()];
        if setting.two_mounts {
            mounts.push(Mount::of_store(mounts[0].store()));
        }
        if let Some(peer) = setting.peer {
            peer.serve(mounts[0].store());
        }
        let mut eyes: Vec<Eye> = mounts.iter().map(|_| Eye::new()).collect();
        eyes.iter_mut().for_each(|eye| eye.passes_over(setting.foreign));
        Self {
            slots: Slots::new(),
            opened_in: BTreeMap::new(),
            eyes,
            looks: setting.looks,
            steps: 0,
            mounts,
            on: 0,
            peer: setting.peer,
            reference: Reference::default(),
            behind: Duration::ZERO,
        }
    }

    /// The processes of the mounts.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.mounts.iter().map(Mount::pid).collect()
    }

    /// Does one step, in the mount and in the model, and compares.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        let expected = self.reference.apply(step);
        let patience = self.patience(step);
        let seen = self.really(step);
        if expected != seen {
            return Err(format!("    model: {expected:?}\n    mount: {seen:?}\n"));
        }
        if let Step::On(_) = step {
            return self.compare_all();
        }
        self.behind = self.behind.max(removal_of(step));
        // What may be seen too long is not expected, and so has to be looked for.
        let near = self.scope(step);
        let scope = if patience.is_zero() { near } else { Scope::Everything };
        self.compare(self.on, patience, &scope)
    }

    /// Where to look after a step.
    fn scope(&mut self, step: &Step) -> Scope {
        self.steps += 1;
        if self.looks == Looks::Everywhere || self.steps.is_multiple_of(LOOK_EVERYWHERE_STEPS) {
            return Scope::Everything;
        }
        if let Step::Open(slot, _, path) = step
            && let Some(area) = area_of(&path.0)
        {
            self.opened_in.insert(*slot, area.to_owned());
        }
        let in_slot = |slot| self.opened_in.get(slot).cloned();
        let in_path = |path: &Path| area_of(&path.0).map(str::to_owned);
        let places = match step {
            Step::Rename(from, to, _) | Step::Link(from, to) | Step::Copy(from, to) => {
                vec![in_path(from), in_path(to)]
            }
            Step::Mkdir(path)
            | Step::Rmdir(path)
            | Step::Unlink(path)
            | Step::Put(_, path)
            | Step::Append(_, path)
            | Step::Chmod(_, path)
            | Step::Chown(_, path)
            | Step::Touch(_, path)
            | Step::Setxattr(_, path)
            | Step::Removexattr(path)
            | Step::Resize(_, path)
            | Step::Open(_, _, path) => vec![in_path(path)],
            Step::Write(slot, ..)
            | Step::Truncate(slot, _)
            | Step::Read(slot)
            | Step::Sync(slot)
            | Step::Flush(slot)
            | Step::Close(slot) => vec![in_slot(slot)],
            Step::Remount
            | Step::Kill
            | Step::PushBlob(..)
            | Step::PushManifest(..)
            | Step::DeleteBlob(..)
            | Step::DeleteManifest(..)
            | Step::On(_) => vec![None],
        };
        // About repositories themselves, or about all of them.
        let places: Option<BTreeSet<String>> = places.into_iter().collect();
        places.map_or(Scope::Everything, Scope::Areas)
    }

    /// How long what is seen may differ after a step.
    fn patience(&mut self, step: &Step) -> Duration {
        let lingers = self.reference.take_lingering();
        match step {
            Step::PushBlob(..) | Step::PushManifest(..) => OTHERS_BEHIND_MAX,
            Step::DeleteBlob(..) | Step::DeleteManifest(..) => REMOVALS_BEHIND_MAX,
            _ => lingers,
        }
    }

    fn really(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Remount => {
                let slots: Vec<_> = self.slots.keys().copied().collect();
                let outcomes = slots.into_iter().map(|slot| self.really(&Step::Close(slot)));
                let first = |one, other| if one == Outcome::Done { other } else { one };
                let outcome = outcomes.collect::<Vec<_>>().into_iter().fold(Outcome::Done, first);
                self.mounts[self.on].remount();
                outcome
            }
            Step::Kill => {
                self.mounts[self.on].kill_daemon();
                self.slots.clear();
                self.mounts[self.on].mount(&[]);
                Outcome::Done
            }
            Step::On(mount) => {
                self.on = mount % self.mounts.len();
                Outcome::Done
            }
            Step::PushBlob(..)
            | Step::PushManifest(..)
            | Step::DeleteBlob(..)
            | Step::DeleteManifest(..) => {
                let peer = self.peer.unwrap_or_else(|| panic!("{step} needs a docker-registry"));
                peer.apply(step)
            }
            _ => real::apply(self.mounts[self.on].path(), &mut self.slots, step),
        }
    }

    /// Compares what is seen in one mount with the model. A look that begins later than `patience`
    /// from now must show the same.
    fn compare(&mut self, mount: usize, patience: Duration, scope: &Scope) -> Result<(), String> {
        let model = scope.of(self.reference.tree());
        let start = Instant::now();
        loop {
            let is_last = start.elapsed() >= patience;
            let seen = self.eyes[mount].look(self.mounts[mount].path(), scope, &model);
            if seen == model {
                return Ok(());
            }
            if is_last {
                return Err(differences(&model, &seen));
            }
            thread::sleep(LOOK_PAUSE);
        }
    }

    /// Compares every mount, when those that did nothing have had time to see it.
    fn compare_all(&mut self) -> Result<(), String> {
        let patience = std::mem::take(&mut self.behind).max(OTHERS_BEHIND_MAX);
        if self.mounts.len() > 1 {
            // A look asks for what is there, and not for all that may be believed to be there.
            thread::sleep(OTHERS_BEHIND_MAX);
        }
        for mount in 0..self.mounts.len() {
            let patience = if self.mounts.len() == 1 { Duration::ZERO } else { patience };
            let compared = self.compare(mount, patience, &Scope::Everything);
            compared.map_err(|text| format!("mount {mount}:\n{text}"))?;
        }
        Ok(())
    }

    /// What holds whenever nothing is going on: everybody sees the same, on disk and by HTTP, too.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.compare_all()?;
        let expected = self.reference.links();
        let mut text = disk::faults(self.mounts[0].store(), &expected);
        if let Some(peer) = self.peer {
            text += &peer.faults(&expected);
        }
        if text.is_empty() { Ok(()) } else { Err(text) }
    }

    /// Does in the model what a docker-registry has done meanwhile.
    pub(crate) fn follow(&mut self, steps: Vec<(Step, Outcome)>) -> Result<(), String> {
        self.eyes.iter_mut().for_each(|eye| eye.passes_over(None));
        for (step, seen) in steps {
            let expected = self.reference.apply(&step);
            if expected != seen {
                return Err(format!("{step}:\n    model: {expected:?}\n    registry: {seen:?}\n"));
            }
        }
        self.compare(self.on, OTHERS_BEHIND_MAX, &Scope::Everything)
    }
}

/// How long another mount may not notice what a step has removed.
fn removal_of(step: &Step) -> Duration {
    match step {
        Step::Unlink(path) | Step::Rename(path, ..) if path.is_layer() => REMOVALS_BEHIND_MAX,
        _ => Duration::ZERO,
    }
}
