//! `regfs status`: what is mounted, and how one mount fares.

use crate::cli::output;
use crate::cli::owner::Owner;
use crate::cli::umount;
use crate::fs::mountinfo::{self, Answer, MountEntry, Place};
use crate::fs::{errors_file, quoted};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, io::ErrorKind, path::Path, thread, time::Duration};

/// How long a mount may take to say whether it lives.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// What opening anything below a dead mount gives.
const DEAD: [ErrorKind; 2] = [ErrorKind::NotConnected, ErrorKind::ConnectionAborted];

/// Shows all mounts, or the one at `mountpoint`.
pub(super) fn run(mountpoint: Option<&Path>, as_json: bool) -> Result<()> {
    let text = match mountpoint {
        None => all(as_json)?,
        Some(mountpoint) => one(mountpoint, as_json)?,
    };
    let lines: String = text.lines().map(|line| output::plain(line) + "\n").collect();
    output::print(&lines)
}

/// How one mount fares.
enum State {
    /// What its control file says.
    Alive(Value),
    /// The kernel lets in only its owner, who is another.
    Hidden(String),
    /// Why nothing is known, and what to do.
    Unknown(String),
}

impl State {
    fn of(entry: &MountEntry) -> Self {
        let path = &entry.mountpoint;
        let at = quoted(path);
        match mountinfo::probe(path, PROBE_PATIENCE) {
            Answer::Alive => {}
            Answer::Stale => {
                let source = quoted(Path::new(&entry.source));
                return Self::Unknown(format!(
                    "the daemon of the mount at {at} is gone: mount again (regfs mount {source} \
                     {at}), or take it away (regfs umount {at})"
                ));
            }
            Answer::Silent => {
                return Self::Unknown(format!(
                    "the mount at {at} does not answer: regfs umount --lazy {at} takes it away"
                ));
            }
        }
        let file = path.join(".regfs/status");
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let owner = Owner::of(entry).map(|owner| owner.to_string());
                return Self::Hidden(owner.unwrap_or_else(|| "that user".to_owned()));
            }
            Err(error) => {
                return Self::Unknown(format!("could not read {}: {error}", quoted(&file)));
            }
        };
        match serde_json::from_slice::<Value>(&text) {
            Ok(Value::Object(mut fields)) => {
                // As it is seen from here: what was mounted may be bound to another place.
                let errors = errors_file(path).display().to_string();
                fields.insert("errors".to_owned(), Value::from(errors));
                Self::Alive(Value::Object(fields))
            }
            Ok(_) | Err(_) => Self::Unknown(format!("{} is not JSON", quoted(&file))),
        }
    }

    fn refusals(&self) -> u64 {
        match self {
            Self::Alive(status) => status["refusals"].as_u64().unwrap_or(0),
            Self::Hidden(_) | Self::Unknown(_) => 0,
        }
    }

    /// What is known of the mount at `path`, or why nothing is, and what to do.
    fn known(&self, path: &Path) -> Result<&Value> {
        match self {
            Self::Alive(status) => Ok(status),
            Self::Hidden(owner) => bail!(
                "the mount at {} lets in only the user who mounted it: ask as {owner}, or let \
                 others in (regfs mount -o allow_other)",
                quoted(path)
            ),
            Self::Unknown(why) => bail!("{why}"),
        }
    }
}

/// Asks all at once: each that hangs takes until its deadline.
fn states(mounts: &[MountEntry]) -> Vec<State> {
    thread::scope(|scope| {
        let asked: Vec<_> =
            mounts.iter().map(|entry| scope.spawn(move || State::of(entry))).collect();
        let unknown = |_| State::Unknown("it could not be asked".to_owned());
        asked.into_iter().map(|thread| thread.join().unwrap_or_else(unknown)).collect()
    })
}

fn all(as_json: bool) -> Result<String> {
    let mounts = mountinfo::read().context("could not read /proc/self/mountinfo")?;
    let ours: Vec<MountEntry> = mounts.into_iter().filter(MountEntry::is_regfs).collect();
    let states = states(&ours);
    let mounts = || ours.iter().zip(&states);
    if as_json {
        let list: Vec<Value> = mounts().map(|(entry, state)| mount_as_json(entry, state)).collect();
        return Ok(format!("{:#}\n", Value::from(list)));
    }
    if ours.is_empty() {
        return Ok(
            "nothing is mounted; regfs mount SOURCE MOUNTPOINT mounts a registry\n".to_owned()
        );
    }
    let heading = ["MOUNTPOINT", "STORE", "OPTIONS", "REFUSALS"].map(str::to_owned);
    let rows = mounts().map(|(entry, state)| {
        [
            entry.mountpoint.to_string_lossy().into_owned(),
            entry.source.to_string_lossy().into_owned(),
            entry.options.join(","),
            match (state, state.refusals()) {
                (State::Alive(_), 0) => "none".to_owned(),
                (State::Alive(_), count) => count.to_string(),
                (State::Hidden(_), _) => "hidden".to_owned(),
                (State::Unknown(_), _) => "?".to_owned(),
            },
        ]
    });
    let mut text = table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
    let refused = mounts().filter(|(_, state)| state.refusals() > 0);
    let files: Vec<String> =
        refused.map(|(entry, _)| quoted(&errors_file(&entry.mountpoint))).collect();
    if !files.is_empty() {
        text += &format!("\nwhat was refused, why, and what to do: cat {}\n", files.join(" "));
    }
    text += &hidden(&states);
    for (_, state) in mounts() {
        if let State::Unknown(why) = state {
            text += &format!("\n{why}\n");
        }
    }
    Ok(text)
}

/// One line for all the mounts of other users: there may be many, and they are well.
fn hidden(states: &[State]) -> String {
    let owner = |state: &State| match state {
        State::Hidden(owner) => Some(owner.clone()),
        State::Alive(_) | State::Unknown(_) => None,
    };
    let owners: BTreeSet<String> = states.iter().filter_map(owner).collect();
    if owners.is_empty() {
        return String::new();
    }
    let owners: Vec<String> = owners.into_iter().collect();
    format!("\nhidden: only the user who mounted it sees more: ask as {}\n", owners.join(", "))
}

fn mount_as_json(entry: &MountEntry, state: &State) -> Value {
    let known = state.known(&entry.mountpoint);
    let of = |field: &str| known.as_ref().map_or(&Value::Null, |status| &status[field]);
    json!({
        "mountpoint": entry.mountpoint.to_string_lossy(),
        "store": entry.source.to_string_lossy(),
        "options": entry.options,
        "refusals": of("refusals"),
        "last_refusal": of("last_refusal"),
        "errors": errors_file(&entry.mountpoint),
        "problem": known.as_ref().err().map(ToString::to_string),
    })
}

/// Columns, each as wide as its widest cell, but for the last.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn one(mountpoint: &Path, as_json: bool) -> Result<String> {
    let entry = mount_around(mountpoint)?;
    let state = State::of(&entry);
    let status = state.known(&entry.mountpoint)?;
    if as_json {
        return Ok(format!("{status:#}\n"));
    }
    let mut lines = String::new();
    describe("", &without_refusals(status), &mut lines);
    Ok(lines + &refusals(status))
}

/// The mount that `path` is in: who stands somewhere in one asks for it as `.`.
fn mount_around(path: &Path) -> Result<MountEntry> {
    let found = match Place::find(path) {
        Ok(place) => place.surrounding()?.filter(MountEntry::is_regfs),
        // Below a mount whose daemon is gone, or ends just now, nothing can be opened.
        Err(error) if DEAD.contains(&error.kind()) => mount_above(path),
        Err(_) => None,
    };
    match found {
        Some(entry) => Ok(entry),
        // Says what is there instead.
        None => umount::find(path).map(|(_, entry)| entry),
    }
}

/// The mount of ours that `path` lies in by its name alone.
fn mount_above(path: &Path) -> Option<MountEntry> {
    // Of a folder that the kernel has given up, getcwd(2) knows nothing any more.
    let path = fs::read_link("/proc/self/cwd").ok()?.join(path);
    let mounts = mountinfo::read().ok()?.into_iter().filter(MountEntry::is_regfs);
    mounts
        .filter(|entry| path.starts_with(&entry.mountpoint))
        .max_by_key(|entry| entry.mountpoint.components().count())
}

/// The fields that are shown last, all in one place.
const REFUSAL_FIELDS: [&str; 3] = ["refusals", "last_refusal", "errors"];

fn without_refusals(status: &Value) -> Value {
    let fields = status.as_object().into_iter().flatten();
    let others = fields.filter(|(name, _)| !REFUSAL_FIELDS.contains(&name.as_str()));
    Value::Object(others.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// How much was refused, the last of it, and where the rest is.
fn refusals(status: &Value) -> String {
    let [count, last, errors] = REFUSAL_FIELDS.map(|name| &status[name]);
    let file = quoted(Path::new(errors.as_str().unwrap_or_default()));
    match (count.as_u64(), last.as_str()) {
        (Some(0) | None, _) => format!("refusals: none\nerrors: cat {file}\n"),
        (Some(count), last) => format!(
            "refusals: {count}\nlast refusal: {}\nerrors: cat {file} tells each, why, and what to \
             do\n",
            last.unwrap_or("unknown")
        ),
    }
}

/// Fails unless somebody serves the mount at `path`.
pub(super) fn check_alive(path: &Path, entry: &MountEntry) -> Result<()> {
    let shown = path.display();
    match mountinfo::probe(path, PROBE_PATIENCE) {
        Answer::Alive => Ok(()),
        Answer::Stale => bail!(
            "the daemon of the mount at {shown} is gone: mount again (regfs mount {} {shown}), or \
             take it away (regfs umount {shown})",
            entry.source.display()
        ),
        Answer::Silent => {
            bail!("the mount at {shown} does not answer: regfs umount --lazy {shown} takes it away")
        }
    }
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
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            for item in items {
                lines.push_str(&format!("{key}: {}\n", plain(item)));
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
        Value::String(text) => output::plain(text),
        Value::Null => "none".to_owned(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                format!("{} {}", name.replace('_', " "), plain(value))
            };
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_status_is_shown_known_or_not() {
        let status = json!({
            "pid": 7, "started_at": "now", "inodes": {"in_use": 1, "max": 2},
            "list": ["a", 1], "nothing": null, "empty": [],
            "uploads": [{"path": "a/uploads/\u{1b}", "bytes": 3}]
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
            "uploads: bytes 3, path a/uploads/\\u{1b}",
        ] {
            assert!(lines.lines().any(|one| one == line), "{line} in {lines}");
        }
    }

    #[test]
    fn refusals_are_counted_and_their_file_can_be_pasted() {
        let status = json!({ "pid": 7, "refusals": 0, "last_refusal": null, "errors": "/m/e" });
        assert_eq!(refusals(&status), "refusals: none\nerrors: cat /m/e\n");
        let status = json!({ "refusals": 2, "last_refusal": "two", "errors": "/my m/e" });
        let text = refusals(&status);
        assert!(text.starts_with("refusals: 2\nlast refusal: two\n"), "{text}");
        assert!(text.contains("cat '/my m/e' "), "{text}");
        assert_eq!(without_refusals(&status), json!({}));
    }

    #[test]
    fn a_table_is_aligned() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned(), "c".to_owned()];
        assert_eq!(table(&[row("a", "bb"), row("aaa", "b")]), "a    bb  c\naaa  b   c\n");
    }
}
