//! `regfs gc`: removes what no repository refers to, and says what that was.

use crate::store::{CollectEvent, CollectOptions, Collected, LocalRegistry, StoreOptions, Tally};
use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

/// How many folders of blobs a store has.
const BLOB_FOLDERS: u64 = 256;
/// How often the line that shows how far it is may change.
const TICK: Duration = Duration::from_millis(100);

/// What was asked for.
pub(super) struct GcConfig {
    pub(super) store: PathBuf,
    pub(super) options: CollectOptions,
    pub(super) as_json: bool,
}

/// Collects, and prints each thing that goes and a line of what was done.
pub(super) fn run(config: &GcConfig) -> Result<()> {
    let shown = config.store.display();
    if !LocalRegistry::exists(&config.store) {
        bail!(
            "there is no registry in {shown}: give the folder that you mount, not the mountpoint"
        );
    }
    let start = Instant::now();
    let read_only = config.options.dry_run;
    let options = StoreOptions { read_only, ..StoreOptions::default() };
    let registry =
        LocalRegistry::open(&config.store, &options).with_context(|| format!("open {shown}"))?;
    let mut printer = Printer::new(config);
    let collected = registry.collect(&config.options, &mut |event| printer.event(&event));
    printer.bar.finish_and_clear();
    let collected = collected.with_context(|| format!("nothing was removed from {shown}"))?;
    printer.outcome?;
    let text = match config.as_json {
        true => as_json(config, &collected, &printer.things, start.elapsed()),
        false => summary(config.options, &collected),
    };
    print(&text)
}

/// Prints what goes on.
struct Printer {
    dry_run: bool,
    as_json: bool,
    bar: ProgressBar,
    /// For JSON, which is printed whole.
    things: Vec<Value>,
    outcome: Result<()>,
}

impl Printer {
    fn new(config: &GcConfig) -> Self {
        let bar = match io::stderr().is_terminal() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        bar.enable_steady_tick(TICK);
        Self {
            dry_run: config.options.dry_run,
            as_json: config.as_json,
            bar,
            things: Vec::new(),
            outcome: Ok(()),
        }
    }

    fn event(&mut self, event: &CollectEvent) {
        match event {
            CollectEvent::Marking(links) => {
                self.bar.set_message(format!("following links: {links}"));
            }
            CollectEvent::Sweeping(folders) => {
                if self.bar.length() != Some(BLOB_FOLDERS) {
                    self.bar.set_length(BLOB_FOLDERS);
                    self.bar.set_style(sweeping());
                }
                self.bar.set_position(*folders);
            }
            CollectEvent::Blob { digest, bytes, changed_at } => {
                self.thing("blob", &digest.to_string(), *bytes, *changed_at);
            }
            CollectEvent::Upload { path, bytes, changed_at } => {
                self.thing("upload", &path.display().to_string(), *bytes, *changed_at);
            }
        }
    }

    fn thing(&mut self, kind: &'static str, name: &str, bytes: u64, changed_at: SystemTime) {
        if self.as_json {
            let at = humantime::format_rfc3339_seconds(changed_at).to_string();
            self.things.push(json!({"kind": kind, "name": name, "bytes": bytes, "changed_at": at}));
            return;
        }
        let doing = if self.dry_run { "would remove" } else { "removed" };
        let age = age(changed_at);
        let line = format!("{doing} {kind} {name}, {}, untouched for {age}\n", ByteSize(bytes));
        if self.outcome.is_ok() {
            self.outcome = self.bar.suspend(|| print(&line));
        }
    }
}

fn sweeping() -> ProgressStyle {
    ProgressStyle::with_template("looking through blobs [{bar:40}] {percent} %, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// As a person says it: its two largest units.
fn age(time: SystemTime) -> String {
    let seconds = time.elapsed().unwrap_or_default().as_secs();
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn summary(options: CollectOptions, collected: &Collected) -> String {
    let Collected { removed, brought_back, uploads, used, young, .. } = collected;
    let done = if options.dry_run { "would remove" } else { "removed" };
    let mut text = format!("{done} {} and {}; ", many(removed, "blob"), many(uploads, "upload"));
    text += &format!("{} in use", many(used, "blob"));
    if young.count > 0 {
        text += &format!(", {} not, but too young", many(young, "blob"));
    }
    if brought_back.count > 0 {
        text += &format!(", {} used again meanwhile", many(brought_back, "blob"));
    }
    text + "\n"
}

fn many(tally: &Tally, what: &str) -> String {
    let Tally { count, bytes } = tally;
    let plural = if *count == 1 { "" } else { "s" };
    match count {
        0 => format!("no {what}s"),
        _ => format!("{count} {what}{plural} ({})", ByteSize(*bytes)),
    }
}

fn as_json(config: &GcConfig, collected: &Collected, things: &[Value], time: Duration) -> String {
    let tally = |tally: &Tally| json!({"count": tally.count, "bytes": tally.bytes});
    let value = json!({
        "store": config.store,
        "dry_run": config.options.dry_run,
        "links": collected.links,
        "manifests": collected.manifests,
        "used": tally(&collected.used),
        "young": tally(&collected.young),
        "removed": tally(&collected.removed),
        "brought_back": tally(&collected.brought_back),
        "uploads": tally(&collected.uploads),
        "things": things,
        "seconds": time.as_secs_f64(),
    });
    format!("{value:#}\n")
}

fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `regfs gc --dry-run | head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("could not write to stdout"),
    }
}
