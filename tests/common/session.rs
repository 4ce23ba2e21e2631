//! A shell session as a test: what the user types behind `$ `, what the user sees below it.

use super::process::{PATIENCE, finish, shell};
use std::{path::Path, process::Command};

/// Runs every `$ command` of `text` in `folder`, and compares what it prints with the lines below.
///
/// A command that fails shows a last line `[exit N]`. Spaces around lines are dropped. Where the
/// output varies, `…` stands for any part of a line, and a line `*` for any number of lines.
#[track_caller]
pub(crate) fn session(folder: impl AsRef<Path>, text: &str) {
    session_with(folder, &[], text);
}

/// A [`session`] in which `$NAME` stands for a value, in commands as in what they print.
#[track_caller]
pub(crate) fn session_with(folder: impl AsRef<Path>, variables: &[(&str, &str)], text: &str) {
    let run = |command: &str, folder: &Path| {
        assert!(folder.is_dir(), "cannot run {command:?} in {}: not a folder", folder.display());
        let mut shell = shell(command);
        shell.current_dir(folder);
        shell
    };
    session_by(&run, folder.as_ref(), variables, text);
}

/// A session whose commands are run by another shell: `run` gives it for a command and a folder.
#[track_caller]
pub(super) fn session_by(
    run: &dyn Fn(&str, &Path) -> Command, folder: &Path, variables: &[(&str, &str)], text: &str,
) {
    let mut folder = folder.to_owned();
    let mut written = String::new();
    let mut seen = String::new();
    let mut is_same = true;
    for (command, expected) in steps(text) {
        let expected: Vec<String> =
            expected.iter().map(|line| with_values(line, variables)).collect();
        let lines = match command.strip_prefix("cd ") {
            Some(to) => {
                folder = folder.join(with_values(to, variables));
                Vec::new()
            }
            None => lines_of(run(command, &folder).envs(variables.iter().copied())),
        };
        is_same &= lines_match(&expected, &lines);
        written += &block(command, &expected);
        seen += &block(command, &lines);
        if !is_same {
            break;
        }
    }
    assert!(is_same, "\n--- written in the test ---\n{written}--- seen ---\n{seen}");
}

/// Every command with the lines that are expected below it.
fn steps(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut steps: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command, Vec::new())),
            (None, Some((_, expected))) => expected.push(line),
            (None, None) => panic!("a session begins with a command, not with {line:?}"),
        }
    }
    steps
}

/// What a command prints, and how it failed if it did.
#[track_caller]
fn lines_of(command: &mut Command) -> Vec<String> {
    let (status, text) = finish(command, PATIENCE);
    let mut lines: Vec<String> =
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    if !status.success() {
        lines.push(match status.code() {
            Some(code) => format!("[exit {code}]"),
            None => format!("[{status}]"),
        });
    }
    lines
}

/// A line with the values of its `$NAME`s; longer names first, so `$LAYER2` is not `$LAYER` and 2.
fn with_values(line: &str, variables: &[(&str, &str)]) -> String {
    let mut variables = variables.to_vec();
    variables.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    variables
        .iter()
        .fold(line.to_owned(), |line, (name, value)| line.replace(&format!("${name}"), value))
}

fn block(command: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("$ {command}\n{lines}")
}

fn lines_match(expected: &[String], seen: &[String]) -> bool {
    match expected.split_first() {
        None => seen.is_empty(),
        Some((first, rest)) if first == "*" => {
            (0..=seen.len()).any(|skipped| lines_match(rest, &seen[skipped..]))
        }
        Some((first, rest)) => {
            !seen.is_empty() && line_matches(first, &seen[0]) && lines_match(rest, &seen[1..])
        }
    }
}

fn line_matches(expected: &str, seen: &str) -> bool {
    let Some((before, after)) = expected.split_once('…') else {
        return expected == seen;
    };
    let Some(rest) = seen.strip_prefix(before) else {
        return false;
    };
    let starts = rest.char_indices().map(|(start, _)| start).chain([rest.len()]);
    starts.into_iter().any(|start| line_matches(after, &rest[start..]))
}
