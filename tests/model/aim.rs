//! Steps that are drawn blindly mostly miss: there is no such file. Most of them are made to meet
//! what is there when it is their turn, as the model has it.

use super::outcome::Outcome;
use super::reference::Reference;
use super::step::{Access, Replacing, Slot, Step};
use super::tree::{Kind, Tree, area_of};
use super::words::{Path, Spot, called};
use regfs::model::Area;

/// Numbers that look random: xorshift64*.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of the first `count` numbers.
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % count
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }
}

/// The same program with most steps aimed at what is there. Gives the outcome of each in the model.
pub(crate) fn aimed(program: Vec<Step>, seed: u64) -> Vec<(Step, Outcome)> {
    let mut numbers = Numbers::new(seed);
    let mut reference = Reference::default();
    let aim = |step| {
        // A quarter stays as it is: names that are not there matter, too.
        let step = if numbers.below(4) == 0 { step } else { aim(step, &reference, &mut numbers) };
        let step = without_wandering_ends(step);
        let outcome = reference.apply(&step);
        (step, outcome)
    };
    program.into_iter().map(aim).collect()
}

/// Files are kept open to append where they are uploads. Where the end of a tag or layer is that is
/// renamed while somebody writes it is the kernel's to say: it goes by the name, the writer does not.
fn without_wandering_ends(mut step: Step) -> Step {
    if let Step::Open(_, access, path) = &mut step
        && let Spot::File { area, folder: None, file, .. } = path.spot()
        && area != Area::Uploads
        && !file.starts_with('.')
    {
        access.append = false;
    }
    step
}

fn aim(mut step: Step, reference: &Reference, numbers: &mut Numbers) -> Step {
    let tree = reference.tree();
    if let Some(slot) = slot_of(&mut step) {
        let open = reference.slots();
        if open.contains(slot) {
            return step;
        }
        let Some(other) = numbers.one_of(&open) else { return open_some(*slot, &tree, numbers) };
        *slot = *other;
        return step;
    }
    match &mut step {
        Step::Removexattr(path) => {
            let coloured = |kind: &Kind| match kind {
                Kind::Folder(marks) | Kind::File { marks, .. } => marks.colour.is_some(),
                Kind::Refused(_) => false,
            };
            let found = tree.iter().filter(|(_, entry)| coloured(&entry.kind));
            let found: Vec<&String> = found.map(|(path, _)| path).collect();
            if let Some(found) = numbers.one_of(&found) {
                path.0.clone_from(found);
            }
        }
        Step::Unlink(path)
        | Step::Rmdir(path)
        | Step::Chmod(_, path)
        | Step::Chown(_, path)
        | Step::Touch(_, path)
        | Step::Setxattr(_, path)
        | Step::Resize(_, path) => aim_path(path, &tree, numbers),
        Step::Open(_, access, path) if !access.create => aim_path(path, &tree, numbers),
        Step::Rename(from, to, Replacing::Exchange) => {
            let other = |path: &str| path.strip_suffix("v1").map(|start| format!("{start}v2"));
            let pairs = tree.keys().filter_map(|path| {
                let other = other(path).filter(|other| tree.contains_key(other))?;
                Some((path.clone(), other))
            });
            if let Some((one, other)) = numbers.one_of(&pairs.collect::<Vec<_>>()) {
                (from.0, to.0) = (one.clone(), other.clone());
            }
        }
        Step::Rename(from, to, _) | Step::Link(from, to) | Step::Copy(from, to) => {
            aim_pair(from, to, &tree, numbers);
        }
        _ => {}
    }
    step
}

/// Opens a file that is there, to have one open.
fn open_some(slot: Slot, tree: &Tree, numbers: &mut Numbers) -> Step {
    let is_file = |path: &&String| matches!(tree[*path].kind, Kind::File { .. });
    let files: Vec<&String> = tree.keys().filter(is_file).collect();
    let letters = *numbers.one_of(&["r", "rw", "w", "wt", "rwct", "wa"]).unwrap_or(&"r");
    let path = numbers.one_of(&files).map_or("a", |path| path);
    Step::Open(slot, Access::of(letters), Path::from(path))
}

/// At something of the same kind that is there.
fn aim_path(path: &mut Path, tree: &Tree, numbers: &mut Numbers) {
    if tree.contains_key(&path.0) {
        return;
    }
    let kind = kind_of(&path.0);
    let alike: Vec<&String> = tree.keys().filter(|there| kind_of(there) == kind).collect();
    if let Some(found) = numbers.one_of(&alike) {
        path.0.clone_from(found);
    }
}

/// The area, and whether it is a path in it, or the area itself.
fn kind_of(path: &str) -> Option<(&str, bool)> {
    let area = area_of(path)?;
    Some((area.rsplit('/').next()?, area == path))
}

/// The first at something that is there, and the second to fit: it is in the same repository if it
/// was, and an upload is often given its own digest.
fn aim_pair(from: &mut Path, to: &mut Path, tree: &Tree, numbers: &mut Numbers) {
    let before = from.clone();
    aim_path(from, tree, numbers);
    if let (Some(old), Some(new), Some(other)) =
        (repository_of(&before.0), repository_of(&from.0), repository_of(&to.0))
    {
        let is_layer_to_layer = from.is_layer() && to.is_layer();
        if old == other {
            to.0 = format!("{new}{}", &to.0[other.len()..]);
        } else if is_layer_to_layer {
            let repository = other.to_owned();
            to.0 = format!("{repository}{}", &from.0[new.len()..]);
        }
    }
    if let Some(entry) = tree.get(&from.0)
        && let Kind::File { content: Ok(bytes), .. } = &entry.kind
        && to.is_layer()
        && !from.is_layer()
        && called(bytes).starts_with('@')
        && numbers.below(3) > 0
    {
        let repository = repository_of(&to.0).unwrap_or_default().to_owned();
        to.0 = format!("{repository}/layers/{}", called(bytes));
    }
}

fn repository_of(path: &str) -> Option<&str> {
    area_of(path)?.rsplit_once('/').map(|(repository, _)| repository)
}

fn slot_of(step: &mut Step) -> Option<&mut Slot> {
    match step {
        Step::Write(slot, ..)
        | Step::Truncate(slot, _)
        | Step::Read(slot)
        | Step::Sync(slot)
        | Step::Flush(slot)
        | Step::Close(slot) => Some(slot),
        _ => None,
    }
}
