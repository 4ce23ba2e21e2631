//! pjdfstest: what POSIX says of each call and of each of its errors.
//!
//! `pjdfstest.expected` names every case that does not pass, with the reason in the design. A case
//! that differs fails the test, also one that passes and is named there.

use crate::common::{self, Household, find_program, needs};
use std::{collections::BTreeMap, fmt, fs, path::Path, time::Duration};

/// nobody and daemon are everywhere.
const CONFIG: &str = r#"
[features]
posix_fallocate = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.02
allow_remount = REMOUNT
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passes,
    Fails,
    IsSkipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Passes => "passes",
            Self::Fails => "fails",
            Self::IsSkipped => "is skipped",
        })
    }
}

#[test]
fn a_folder_of_uploads_is_what_posix_says_but_for_what_is_written_down() {
    needs!("fuse", "root", "pjdfstest", "nsenter", "setpriv", "mount", "findmnt");
    // Some cases make the mount read-only, as a user does.
    let household = Household::with_fstab("/home/root/store /home/root/mnt regfs allow_other 0 0");
    let home = household.home_outside("root");
    fs::copy(find_program(Path::new("pjdfstest")).unwrap(), home.join("pjdfstest")).unwrap();
    for remount in ["true", "false"] {
        let config = CONFIG.replace("REMOUNT", remount);
        fs::write(home.join(format!("remount-{remount}.toml")), config).unwrap();
    }
    household.run("root", "mkdir mnt; mount mnt; mkdir mnt/a mnt/a/layers/.staging");
    for folder in ["a/uploads", "a/layers/.staging"] {
        assert_as_expected(folder, &cases(&household, folder));
        let left = household.run("root", &format!("ls -A mnt/{folder}"));
        assert_eq!(left, "", "left in {folder}");
    }
    household.run("root", "umount mnt");
}

#[track_caller]
fn assert_as_expected(folder: &str, cases: &BTreeMap<String, (Outcome, String)>) {
    let expected = expected(include_str!("pjdfstest.expected"));
    let mut differences = Vec::new();
    for (case, (outcome, reason)) in cases {
        let wanted = expected.get(case).copied().unwrap_or(Outcome::Passes);
        if *outcome != wanted {
            differences.push(format!("{case} {outcome}, and not {wanted}: {reason}"));
        }
    }
    for case in expected.keys().filter(|case| !cases.contains_key(*case)) {
        differences.push(format!("{case} is no case"));
    }
    assert!(differences.is_empty(), "in {folder}:\n{}", differences.join("\n"));
    assert!(cases.len() > 390, "only {} cases", cases.len());
}

/// Runs every case in a folder; gives how each ended, with what it says. Those that make the mount
/// read-only run by themselves: others leave files open for writing.
fn cases(household: &Household, folder: &str) -> BTreeMap<String, (Outcome, String)> {
    let mut cases = run(household, folder, "--configuration-file remount-false.toml");
    cases.extend(run(household, folder, "--configuration-file remount-true.toml erofs"));
    cases
}

fn run(
    household: &Household, folder: &str, arguments: &str,
) -> BTreeMap<String, (Outcome, String)> {
    // Renaming and linking between file systems needs a second one.
    let command =
        format!("NO_COLOR=1 ./pjdfstest --path mnt/{folder} --secondary-fs /home/root {arguments}");
    let text = household.try_within(Duration::from_secs(300), "root", &command);
    let mut cases = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let mut words = line.split_whitespace();
        let outcome = match (words.next(), words.next(), words.next()) {
            (Some(case), Some("ok"), None) => (case, Outcome::Passes),
            (Some(case), Some("FAILED"), None) => (case, Outcome::Fails),
            (Some(case), Some("skipped"), None) => (case, Outcome::IsSkipped),
            _ => continue,
        };
        let (case, outcome) = outcome;
        let reason = lines.peek().filter(|next| next.starts_with('\t')).map_or("", |it| it.trim());
        cases.insert(case.to_owned(), (outcome, reason.to_owned()));
    }
    assert!(text.contains("Summary: "), "{text}");
    cases
}

/// What the file says: below a line `# FAILS: reason` or `# SKIPPED: reason` the cases, one in a
/// line, and behind a case the kinds of files of which that is said.
fn expected(text: &str) -> BTreeMap<String, Outcome> {
    let mut expected = BTreeMap::new();
    let mut outcome = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(heading) = line.strip_prefix("# ") {
            outcome = match heading.split_once(": ") {
                Some(("FAILS", _)) => Some(Outcome::Fails),
                Some(("SKIPPED", _)) => Some(Outcome::IsSkipped),
                _ => outcome,
            };
            continue;
        }
        let (case, kinds) = line.split_once(' ').unwrap_or((line, ""));
        let kinds: Vec<&str> = kinds.split_whitespace().collect();
        let names = match &kinds[..] {
            [] => vec![case.to_owned()],
            kinds => kinds.iter().map(|kind| format!("{case}::{kind}")).collect(),
        };
        for name in names {
            let outcome =
                outcome.unwrap_or_else(|| panic!("{line}: a case stands below its reason"));
            assert!(expected.insert(name, outcome).is_none(), "{line} is there twice");
        }
    }
    expected
}
