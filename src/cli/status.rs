//! `regfs status`: what is mounted, and how one mount fares.

use crate::cli::umount;
use crate::fs::mountinfo::{self, Answer, MountEntry};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Write},
    path::Path,
    time::Duration,
};

/// How long a mount may take to say whether it lives.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Shows all mounts, or the one at `mountpoint`.
pub(super) fn run(mountpoint: Option<&Path>, as_json: bool) -> Result<()> {
    let text = match mountpoint {
        None => all(as_json)?,
        Some(mountpoint) => one(mountpoint, as_json)?,
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `regfs status | head -1` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("could not write to stdout"),
    }
}

fn all(as_json: bool) -> Result<String> {
    let mounts = mountinfo::read().context("could not read /proc/self/mountinfo")?;
    let ours: Vec<MountEntry> = mounts.into_iter().filter(MountEntry::is_regfs).collect();
    if as_json {
        let list: Vec<Value> = ours.iter().map(mount_as_json).collect();
        return Ok(format!("{:#}\n", Value::from(list)));
    }
    if ours.is_empty() {
        return Ok(
            "nothing is mounted; regfs mount SOURCE MOUNTPOINT mounts a registry\n".to_owned()
        );
    }
    let heading = ["MOUNTPOINT", "STORE", "OPTIONS"].map(str::to_owned);
    let rows = ours.iter().map(|entry| {
        [
            entry.mountpoint.to_string_lossy().into_owned(),
            entry.source.to_string_lossy().into_owned(),
            entry.options.join(","),
        ]
    });
    Ok(table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()))
}

fn mount_as_json(entry: &MountEntry) -> Value {
    json!({
        "mountpoint": entry.mountpoint.to_string_lossy(),
        "store": entry.source.to_string_lossy(),
        "options": entry.options,
    })
}

/// Columns, each as wide as its widest cell, but for the last.
fn table(rows: &[[String; 3]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let lines = rows.iter().map(|[a, b, c]| format!("{a:first$}  {b:second$}  {c}\n"));
    lines.collect()
}

fn one(mountpoint: &Path, as_json: bool) -> Result<String> {
    let (path, entry) = umount::find(mountpoint)?;
    let shown = path.display();
    match mountinfo::probe(&path, PROBE_PATIENCE) {
        Answer::Alive => {}
        Answer::Stale => bail!(
            "the daemon of the mount at {shown} is gone: mount again (regfs mount {} {shown}), or \
             take it away (regfs umount {shown})",
            entry.source.display()
        ),
        Answer::Silent => {
            bail!("the mount at {shown} does not answer: regfs umount --lazy {shown} takes it away")
        }
    }
    let file = path.join(".regfs/status");
    let text = fs::read(&file).with_context(|| format!("could not read {}", file.display()))?;
    if as_json {
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    let status =
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let mut lines = String::new();
    describe("", &status, &mut lines);
    Ok(lines + &errors(&path))
}

/// One line `key: value` for each value, whatever it belongs to: a newer daemon may say more than is
/// known here.
fn describe(key: &str, value: &Value, lines: &mut String) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('_', " ");
                let inner = if key.is_empty() { name } else { format!("{key} {name}") };
                describe(&inner, field, lines);
            }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            let list = if items.is_empty() { "none".to_owned() } else { items.join(", ") };
            lines.push_str(&format!("{key}: {list}\n"));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            lines.push_str(&format!("{key}: {}\n", plain(value)));
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Where the refusals are, how many, and the last.
fn errors(mountpoint: &Path) -> String {
    let file = mountpoint.join(".regfs/errors");
    let Ok(text) = fs::read_to_string(&file) else { return String::new() };
    let refusals = match (text.lines().count(), text.lines().last()) {
        (0, _) | (_, None) => "no refusals".to_owned(),
        (1, Some(last)) => format!("1 refusal: {last}"),
        (count, Some(last)) => format!("{count} refusals, last: {last}"),
    };
    format!("errors: {} ({refusals})\n", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_status_is_shown_known_or_not() {
        let status = json!({
            "pid": 7, "started_at": "now", "inodes": {"in_use": 1, "max": 2},
            "list": ["a", 1], "nothing": null, "empty": []
        });
        let mut lines = String::new();
        describe("", &status, &mut lines);
        for line in [
            "pid: 7",
            "started at: now",
            "inodes in use: 1",
            "inodes max: 2",
            "list: a, 1",
            "nothing: none",
            "empty: none",
        ] {
            assert!(lines.lines().any(|one| one == line), "{line} in {lines}");
        }
    }

    #[test]
    fn refusals_are_counted_and_the_last_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(errors(dir.path()), "");
        let file = dir.path().join(".regfs/errors");
        fs::create_dir(dir.path().join(".regfs")).unwrap();
        fs::write(&file, "").unwrap();
        assert!(errors(dir.path()).ends_with("errors (no refusals)\n"));
        fs::write(&file, "one\ntwo\n").unwrap();
        assert!(errors(dir.path()).ends_with("errors (2 refusals, last: two)\n"));
    }

    #[test]
    fn a_table_is_aligned() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned(), "c".to_owned()];
        assert_eq!(table(&[row("a", "bb"), row("aaa", "b")]), "a    bb  c\naaa  b   c\n");
    }
}
