//! Trying one tool at one place, and finding out what comes of it.

use super::bench::Bench;
use super::common::{eventually, run_within};
use super::snapshot::Snapshot;
use super::table::{Place, Tool};
use std::{fs, path::Path, time::Duration};

/// How long a cell may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a tool at a place.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// The command's exit code.
    pub(crate) exit: i32,
    /// What it printed.
    pub(crate) text: String,
    /// What `.regfs/errors` says about it; each reason once.
    pub(crate) reasons: Vec<Reason>,
}

/// In one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is as it would be on a disk.
    Works,
    /// It fails, and nothing has changed, just as on a disk.
    FailsAsOnADisk,
    /// It fails, and nothing has changed.
    Refused,
    /// It fails; what it did before that is right.
    RefusedInPart,
    /// It fails, and what was there before is gone: the tool has removed it.
    RefusedAfterRemoval,
    /// Nothing has changed, and the tool does not say so.
    RefusedUnsaid,
    /// A file in which nothing was written is none here, and is forgotten; an old one stays.
    Forgotten,
    /// Anything else; what it is.
    Wrong(String),
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reason {
    pub(crate) errno: String,
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

/// Tries `tool` at `place`, in folders that are called `name`.
pub(crate) fn run_cell(bench: &Bench, tool: &Tool, place: &Place, name: &str) -> Outcome {
    let (mounted, plain) = bench.sides(name);
    let result = result(&plain.root, tool, place);
    let result = result.as_deref();
    plain.prepare(place, result);
    mounted.prepare(place, result);
    let before = plain.snapshot(tool.keeps_time, &Snapshot::default());
    let prepared = mounted.snapshot(tool.keeps_time, &before);
    let command = plain.command(tool.on_a_disk(place), place, result);
    let (plain_exit, plain_text) = shell(&plain.root, &command);
    let expected = plain.snapshot(tool.keeps_time, &before);
    let command = mounted.command(tool.command, place, result);
    let (exit, text) = shell(&mounted.root, &command);
    let (plain_text, text) = (plain.normal(&plain_text), mounted.normal(&text));
    let found = mounted.snapshot(tool.keeps_time, &expected);
    let mut reasons = reasons(&bench.errors(name));
    let seen = Seen { before: &before, expected: &expected, found: &found };
    let mut verdict = seen.verdict((plain_exit, &plain_text), (exit, &text), &reasons);
    if prepared != before {
        verdict = Verdict::Wrong(format!("before:\n{}", before.differences(&prepared)));
    }
    let is_refused =
        !matches!(verdict, Verdict::Works | Verdict::FailsAsOnADisk | Verdict::Forgotten);
    if is_refused && reasons.is_empty() {
        match ordinary_reason(&text) {
            Some(reason) => reasons.push(reason),
            None => verdict = seen.wrong("refused, and nothing says why"),
        }
    }
    if matches!(verdict, Verdict::Wrong(_)) {
        return Outcome { verdict, exit, text, reasons };
    }
    let what = format!("{command}: nothing is left in the store that is not seen");
    eventually(PATIENCE, &what, || bench.stored_uploads(name) == found.uploads());
    Outcome { verdict, exit, text, reasons }
}

/// What the tool makes of `FILE` on a disk, where nothing is before, or that itself when it makes
/// nothing; for the name of a layer.
fn result(root: &Path, tool: &Tool, place: &Place) -> Option<Vec<u8>> {
    if !place.to.contains("@result") {
        return None;
    }
    let trial = root.with_extension("trial");
    let file = trial.join("file");
    let content = super::bench::bytes(place.file, None);
    fs::create_dir_all(&trial).unwrap();
    fs::write(&file, content).unwrap();
    let trial_text = trial.display().to_string();
    let command = tool.command.replace("FILE", "DISK/file").replace("DISK", &trial_text);
    let (exit, _) = shell(&trial, &command.replace("PLACE", "result"));
    let made = fs::read(trial.join("result")).ok().filter(|_| exit == 0);
    Some(made.unwrap_or_else(|| content.to_vec()))
}

/// Runs a command; gives its exit code and what it printed.
fn shell(folder: &Path, command: &str) -> (i32, String) {
    let text =
        run_within(PATIENCE, folder, &format!("umask 022\n(\n{command}\n)\nprintf '\\n[%s]' $?"));
    let (text, exit) = text.rsplit_once("\n[").expect("the last line is ours");
    (exit.trim_end_matches(']').parse().unwrap(), text.to_owned())
}

/// The trees that a verdict is made from.
struct Seen<'a> {
    /// Both, before the tool ran.
    before: &'a Snapshot,
    /// The disk, after it.
    expected: &'a Snapshot,
    /// The mount, after it.
    found: &'a Snapshot,
}

impl Seen<'_> {
    fn verdict(
        &self, plain: (i32, &str), (exit, text): (i32, &str), reasons: &[Reason],
    ) -> Verdict {
        let lies = self.found.lies();
        if !lies.is_empty() {
            return Verdict::Wrong(format!("another content under a digest: {lies:?}"));
        }
        if reasons.iter().any(|reason| reason.remedy.is_empty()) {
            return Verdict::Wrong("a refusal without a remedy".to_owned());
        }
        let is_done = self.found == self.expected;
        let is_undone = self.found == self.before;
        match exit {
            _ if is_done && (exit, text) == plain => {
                if exit == 0 {
                    Verdict::Works
                } else {
                    Verdict::FailsAsOnADisk
                }
            }
            0 if is_undone && !reasons.is_empty() => Verdict::RefusedUnsaid,
            0 if is_undone && self.expected.differs_by_an_empty_file(self.before) => {
                Verdict::Forgotten
            }
            0 => self.wrong(&format!("expected ({})\n{}", plain.0, plain.1)),
            _ if is_undone => Verdict::Refused,
            _ if self.found.is_between(self.before, self.expected) => Verdict::RefusedInPart,
            _ if self.found.clone().with(&self.before.missing_from(self.found)) == *self.before => {
                Verdict::RefusedAfterRemoval
            }
            _ => self.wrong("neither done nor undone"),
        }
    }

    fn wrong(&self, what: &str) -> Verdict {
        let differences = self.expected.differences(self.found);
        Verdict::Wrong(format!("{what}\n  expected | found:\n{differences}"))
    }
}

/// What any file system may answer, and what tools expect of one, so that `.regfs/errors` has no line
/// for it: what the tool prints, the error, the reason here, and what to do.
const ORDINARY: &[(&str, &str, &str, &str)] = &[
    (
        "Invalid cross-device link",
        "EXDEV",
        "a new name in another file system, registry or repository would be a copy",
        "copy it, as mv does",
    ),
    (
        "cannot create directory",
        "EEXIST",
        "a repository has its three folders from the beginning, and this tool makes every folder \
         that it copies",
        "mkdir NEW, then cp -a OLD/. NEW; or rsync -a OLD/ NEW",
    ),
    ("File exists", "EEXIST", "the name is taken", "remove it first"),
    ("Operation not supported", "EOPNOTSUPP", "a registry does not keep this", "do without"),
    ("Not a directory", "ENOTDIR", "a file is no folder", "name a folder"),
    ("Is a directory", "EISDIR", "a folder is no file", "name a file in it"),
    ("No such device", "ENODEV", "a file is not changed through memory here", "write it"),
];

/// The reason for what `.regfs/errors` does not tell, by what a tool printed.
fn ordinary_reason(text: &str) -> Option<Reason> {
    let (_, errno, reason, remedy) = ORDINARY.iter().find(|(said, ..)| text.contains(said))?;
    let [errno, reason, remedy] = [errno, reason, remedy].map(|text| (*text).to_owned());
    Some(Reason { errno, reason, remedy })
}

/// The reasons of some lines of `.regfs/errors`, each once.
fn reasons(lines: &[String]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for line in lines {
        let parts = line.split_once(": ").and_then(|(_, rest)| rest.split_once(": "));
        let (errno, rest) = parts.unwrap_or_else(|| panic!("no line of .regfs/errors: {line}"));
        let (reason, remedy) = rest.split_once("; ").unwrap_or((rest, ""));
        let reason = Reason {
            errno: errno.to_owned(),
            reason: super::document::plain_words(reason),
            remedy: remedy.to_owned(),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}
