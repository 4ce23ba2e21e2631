//! The same done on a mount and on a plain folder beside it, and whether the same comes of it.

use std::{collections::BTreeMap, fmt::Write as _};

/// A table of operations, each done in several scenes.
pub(crate) struct Table<'a> {
    /// How what a case finds is made: run by the owner in a folder of the case's own, with `$SIDE`
    /// saying on which side.
    pub(crate) made: &'a str,
    /// Each scene with a name, and with what the owner does to it in the end.
    pub(crate) scenes: &'a [(&'a str, &'a str)],
    /// Operations that are done one after the other in the same folder.
    pub(crate) groups: &'a [&'a [&'a str]],
}

/// What came of every operation in every scene, on one side.
pub(crate) type Outcomes = BTreeMap<(usize, usize, usize), String>;

/// The two sides of a table.
pub(crate) struct Sides {
    /// On the mount.
    pub(crate) mount: Outcomes,
    /// On the plain folder.
    pub(crate) disk: Outcomes,
}

/// What stands before the outcome of each operation.
const MARK: &str = "=#=";

impl Table<'_> {
    fn cases(&self) -> impl Iterator<Item = (usize, usize)> {
        let scenes = self.scenes.len();
        (0..self.groups.len()).flat_map(move |group| (0..scenes).map(move |scene| (group, scene)))
    }

    /// The commands by which the owner makes all cases.
    pub(crate) fn making(&self) -> String {
        let mut script = "set -e\n".to_owned();
        for (group, scene) in self.cases() {
            let (made, changed) = (self.made, self.scenes[scene].1);
            write!(script, "mkdir c{group}-{scene}; (cd c{group}-{scene}; {made}\n {changed}\n)\n")
                .unwrap();
        }
        script
    }

    /// The commands of who is let in, or is not.
    pub(crate) fn doing(&self) -> String {
        let mut script = String::new();
        for (group, scene) in self.cases() {
            for (number, operation) in self.groups[group].iter().enumerate() {
                writeln!(script, "echo '{MARK} {group} {scene} {number}'").unwrap();
                writeln!(script, "(cd c{group}-{scene} && {operation}) 2>&1; echo \"[$?]\"")
                    .unwrap();
            }
        }
        script
    }

    /// What [`Self::doing`] printed, for each operation; lines in order, since listings have none.
    pub(crate) fn outcomes(&self, printed: &str) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for part in printed.split(MARK).skip(1) {
            let (head, body) = part.split_once('\n').unwrap();
            let numbers: Vec<usize> =
                head.split_whitespace().map(|number| number.parse().unwrap()).collect();
            let mut lines: Vec<&str> = body.lines().collect();
            lines.sort_unstable();
            outcomes.insert((numbers[0], numbers[1], numbers[2]), lines.join("\n"));
        }
        outcomes
    }

    /// Fails unless both sides say the same of every operation.
    #[track_caller]
    pub(crate) fn assert_same(&self, sides: &Sides) {
        let operations: usize = self.groups.iter().map(|group| group.len()).sum();
        assert_eq!(sides.disk.len(), operations * self.scenes.len(), "every operation was done");
        let mut differences = String::new();
        for (place, disk) in &sides.disk {
            let mount = sides.mount.get(place).map_or("(nothing)", String::as_str);
            if mount != disk {
                let (group, scene, number) = *place;
                let (scene, operation) = (self.scenes[scene].0, self.groups[group][number]);
                write!(
                    differences,
                    "{scene}\n$ {operation}\n--- on the disk\n{disk}\n--- on the mount\n{mount}\n\n"
                )
                .unwrap();
            }
        }
        assert!(differences.is_empty(), "\n{differences}");
    }

    /// What came of each operation in each scene, as rows of a table for people.
    pub(crate) fn rows(&self, outcomes: &Outcomes) -> String {
        let mut rows = String::new();
        for (group, operations) in self.groups.iter().enumerate() {
            for (number, operation) in operations.iter().enumerate() {
                let typed = operation.split(" && stat ").next().unwrap();
                write!(rows, "| `{}` |", typed.replace("../../files/", "")).unwrap();
                for scene in 0..self.scenes.len() {
                    let outcome = &outcomes[&(group, scene, number)];
                    write!(rows, " {} |", short(outcome)).unwrap();
                }
                rows.push('\n');
            }
        }
        rows
    }
}

/// An outcome in a word.
fn short(outcome: &str) -> &'static str {
    let errors = [
        ("Permission denied", "EACCES"),
        ("Operation not permitted", "EPERM"),
        ("No such file", "ENOENT"),
    ];
    let error = errors.iter().find(|(text, _)| outcome.contains(text));
    match (outcome.contains("[0]"), error) {
        (true, _) => "yes",
        (false, Some((_, name))) => name,
        (false, None) => "no",
    }
}
