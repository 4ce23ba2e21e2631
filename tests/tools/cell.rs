//! Trying one tool at one place, and finding out what comes of it.

use super::bench::Bench;
use super::common::{eventually, try_in};
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
    let plain_text = plain.normal(&plain_text, place, result);
    let text = mounted.normal(&text, place, result);
    let found = mounted.snapshot(tool.keeps_time, &before.clone().with(&expected));
    bench.settle();
    let mut reasons = reasons(&bench.errors(name), name);
    let seen = Seen { before: &before, expected: &expected, found: &found };
    let mut verdict = seen.verdict((plain_exit, &plain_text), (exit, &text), &reasons);
    if prepared != before {
        verdict = Verdict::Wrong(format!("before:\n{}", before.differences(&prepared)));
    }
    let is_refused = !matches!(verdict, Verdict::Works | Verdict::FailsAsOnADisk);
    if is_refused && reasons.is_empty() {
        match bench.ordinary_reason(&text) {
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
    // Not the last command, so that the shell stays, and waits for what is in the background.
    let (exit, text) = try_in(folder, &[], &format!("umask 022\n{command}\nexit $?"));
    (exit.expect("nobody kills the shell"), text)
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
            0 if is_done && (exit, text) == plain => Verdict::Works,
            _ if is_done && exit != 0 && plain.0 != 0 => Verdict::FailsAsOnADisk,
            0 if is_undone && !reasons.is_empty() => Verdict::RefusedUnsaid,
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

/// The reasons of some lines of `.regfs/errors` about the cell `name`, each once.
fn reasons(lines: &[String], name: &str) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for line in lines {
        let parts = line.split_once(": ").and_then(|(_, rest)| rest.split_once(": "));
        let (errno, rest) = parts.unwrap_or_else(|| panic!("no line of .regfs/errors: {line}"));
        let (reason, remedy) = rest.split_once("; ").unwrap_or((rest, ""));
        let reason = Reason {
            errno: errno.to_owned(),
            reason: without_name(&reason.replace(&format!("{name}/"), "")),
            remedy: without_count(remedy).to_owned(),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

/// The reason for a name, with `NAME` in its place.
fn without_name(reason: &str) -> String {
    let parts = reason.strip_prefix('"').and_then(|reason| reason.split_once("\" is not a "));
    match parts {
        Some((_, rest)) => format!("`NAME` is not a {rest}"),
        None => super::document::plain_words(reason),
    }
}

/// The remedy of a line that stands for several.
fn without_count(remedy: &str) -> &str {
    match remedy.rsplit_once(" (") {
        Some((remedy, count)) if count.ends_with(" times)") => remedy,
        _ => remedy,
    }
}
