//! The texts of the control files.

use crate::fs::RegistryFs;
use crate::fs::node::{CONTROL_NAME, ControlFile, Node};
use crate::model::RepositoryName;
use crate::registry::LayerUpload;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

/// A number for `.regfs/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name, with unit and, for counters, `_total`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Whether it only grows.
    pub is_counter: bool,
    /// How many.
    pub value: u64,
}

/// Gives the counters of another part of the program.
pub type MetricSource = Box<dyn Fn() -> Vec<Metric> + Send + Sync>;

/// Gives what another part of the program says in `.regfs/status`, under which name.
pub type StatusSource = Box<dyn Fn() -> (&'static str, Value) + Send + Sync>;

/// How many open uploads a status has.
const UPLOADS_SHOWN_MAX: usize = 100;

impl RegistryFs {
    /// What a control file reads as now.
    pub(super) fn control_text(&self, file: ControlFile) -> String {
        match file {
            ControlFile::Errors => self.legend() + &self.refusals.text(),
            ControlFile::Metrics => self.metrics(),
            ControlFile::Status => self.status(),
            ControlFile::Version => format!("regfs {}\n", env!("CARGO_PKG_VERSION")),
        }
    }

    /// What stands above the refusals: what leaves no line there, because the kernel refuses it by
    /// itself, or because tools ask for it all the time and go on without it.
    fn legend(&self) -> String {
        let mut text = String::from(LEGEND);
        let (source, at) = (&self.options.source, quoted(&self.options.mountpoint));
        let reason = if self.options.read_only {
            let source = quoted(Path::new(source));
            format!("this is mounted with -o ro: regfs umount {at} && regfs mount {source} {at}")
        } else if self.options_now().split(',').any(|option| option == "ro") {
            format!("this was made so by remount; as root: mount -i -o remount,rw {at}")
        } else {
            return text;
        };
        put(&mut text, format_args!("#   Read-only file system      {reason}\n"));
        text
    }

    /// The options that hold now, as they would be typed.
    fn options_now(&self) -> String {
        self.mounted.options(&self.options.options)
    }

    fn status(&self) -> String {
        let uptime = SystemTime::now().duration_since(self.started_at).unwrap_or_default();
        let mut status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "source": self.options.source,
            "mountpoint": self.options.mountpoint,
            "options": self.options_now(),
            "mounted_with": self.options.options,
            "started_at": humantime::format_rfc3339_seconds(self.started_at).to_string(),
            "uptime_seconds": uptime.as_secs(),
            "open_files": self.handles.count(),
            "open_uploads": self.uploads.count(),
            "uploads": self.open_uploads(),
            "known_inodes": self.inodes.count(),
            "refusals": self.refusals.count(),
            "last_refusal": self.refusals.last(),
            "errors": errors_file(&self.options.mountpoint),
        });
        for (name, value) in self.options.status.iter().map(|source| source()) {
            status[name] = value;
        }
        format!("{status:#}\n")
    }

    /// Uploads that somebody has open, each with how far it is.
    fn open_uploads(&self) -> Vec<Value> {
        let open = self.uploads.some(UPLOADS_SHOWN_MAX);
        let shown = |(name, upload): (RepositoryName, Arc<dyn LayerUpload>)| {
            // It may be finished by now.
            let stat = upload.stat().ok()?;
            Some(json!({
                "path": self.path(&Node::Upload(name, stat.uuid)),
                "bytes": stat.length,
                "started_at": humantime::format_rfc3339_seconds(stat.started_at).to_string(),
            }))
        };
        open.into_iter().filter_map(shown).collect()
    }

    /// The counters in Prometheus' text form.
    fn metrics(&self) -> String {
        let counter = |name, help, value| Metric { name, help, is_counter: true, value };
        let gauge = |name, help, value: usize| Metric {
            name,
            help,
            is_counter: false,
            value: value as u64,
        };
        let (read, written, copied) = self.counters.bytes();
        let open_files = self.handles.count();
        // Asked for after the files: a file is under way before it counts as closed.
        let under_way = self.busy.load(Ordering::Acquire);
        let mut metrics = vec![
            counter("regfs_bytes_read_total", "Bytes read, without passthrough.", read),
            counter("regfs_bytes_written_total", "Bytes written.", written),
            counter("regfs_bytes_copied_total", "Bytes copied between open files.", copied),
            counter("regfs_refusals_total", "Refused operations.", self.refusals.count()),
            gauge("regfs_open_files", "Open files and folders.", open_files),
            gauge(
                "regfs_calls_under_way",
                "Calls that go on, and last closes of files.",
                under_way,
            ),
            gauge("regfs_open_uploads", "Uploads with an open file.", self.uploads.count()),
            gauge("regfs_known_inodes", "Inodes that the kernel holds.", self.inodes.count()),
        ];
        metrics.extend(self.options.metrics.iter().flat_map(|source| source()));
        let mut text = String::new();
        for Metric { name, help, is_counter, value } in metrics {
            let kind = if is_counter { "counter" } else { "gauge" };
            put(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            put(&mut text, format_args!("{name} {value}\n"));
        }
        for (name, help, failures) in [
            ("regfs_operations_total", "Requests from the kernel.", false),
            ("regfs_operation_errors_total", "Requests that ended with an error.", true),
        ] {
            put(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} counter\n"));
            for (operation, done, failed) in self.counters.operations() {
                let value = if failures { failed } else { done };
                let operation = operation.name();
                put(&mut text, format_args!("{name}{{operation=\"{operation}\"}} {value}\n"));
            }
        }
        text
    }
}

/// The first lines of `.regfs/errors`, each an error as tools print it.
const LEGEND: &str = "\
# What was refused, the last at the end: TIME pid PID OPERATION PATH: ERRNO: REASON; WHAT TO DO
# These leave no line, as the kernel or the tool decides by itself:
#   Permission denied          ls -ld shows who may; the owner and root may chmod and chown
#   Operation not permitted    only the owner and root change mode, owner and times
#   File exists                the name is taken; layers, manifests and uploads always are
#   Invalid cross-device link  content is copied between repositories and disks: cp, then rm
#   Stale file handle          it was removed, renamed or replaced, or many have it open: again, or cd out and in
#   Operation not supported    there are no access lists (chmod instead), and nothing is reserved
#   Input/output error         when reading: the kernel reads layers from the disk, see dmesg
";

/// Where the refusals of the mount at `mountpoint` are.
pub fn errors_file(mountpoint: &Path) -> std::path::PathBuf {
    mountpoint.join(CONTROL_NAME).join(ControlFile::Errors.name())
}

/// A path as a person can paste it behind a command.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Writing to a String cannot fail.
fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ignored = text.write_fmt(line);
}
