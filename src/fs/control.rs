//! The texts of the control files.

use crate::fs::RegistryFs;
use crate::fs::node::ControlFile;
use std::{fmt::Write as _, time::SystemTime};

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

impl RegistryFs {
    /// What a control file reads as now.
    pub(super) fn control_text(&self, file: ControlFile) -> String {
        match file {
            ControlFile::Errors => self.refusals.text(),
            ControlFile::Metrics => self.metrics(),
            ControlFile::Status => self.status(),
            ControlFile::Version => format!("regfs {}\n", env!("CARGO_PKG_VERSION")),
        }
    }

    fn status(&self) -> String {
        let uptime = SystemTime::now().duration_since(self.started_at).unwrap_or_default();
        let status = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "source": self.options.source,
            "mountpoint": self.options.mountpoint,
            "options": self.options.options,
            "started_at": humantime::format_rfc3339_seconds(self.started_at).to_string(),
            "uptime_seconds": uptime.as_secs(),
            "open_files": self.handles.count(),
            "open_uploads": self.uploads.count(),
            "known_inodes": self.inodes.count(),
            "refusals": self.refusals.count(),
            "last_refusal": self.refusals.last(),
        });
        format!("{status:#}\n")
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
        let mut metrics = vec![
            counter("regfs_bytes_read_total", "Bytes read, without passthrough.", read),
            counter("regfs_bytes_written_total", "Bytes written.", written),
            counter("regfs_bytes_copied_total", "Bytes copied between open files.", copied),
            counter("regfs_refusals_total", "Refused operations.", self.refusals.count()),
            gauge("regfs_open_files", "Open files and folders.", self.handles.count()),
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

/// Writing to a String cannot fail.
fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ignored = text.write_fmt(line);
}
