//! `regfs gc`: removes what no repository refers to, and says what that was.

use crate::cli::output::{plain, print};
use crate::config;
use crate::daemon::{self, said, said::counted, stop};
use crate::store::{CollectEvent, CollectOptions, Collected, LocalRegistry, StoreOptions};
use anyhow::{Context as _, Result, anyhow, bail};
use bytesize::ByteSize;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::Ordering,
    time::{Duration, Instant, SystemTime},
};

/// How many folders of blobs a store has.
const BLOB_FOLDERS: u64 = 256;
/// How often the line that shows how far it is may change.
const TICK: Duration = Duration::from_millis(100);

pub(super) const HELP: &str = "\
Examples:
  regfs gc --dry-run /srv/registry      what would be removed, and how much that is
  regfs gc /srv/registry                remove it
  regfs gc --grace 7d --uploads-older-than 30d /srv/registry
  regfs gc --unreferenced-layers /srv/registry     also what only docker-registry forgot to unlink
  regfs gc --json --dry-run /srv/registry | jq .removed.bytes

Blobs that no layer, manifest or tag of any repository refers to are removed, and uploads that
nobody goes on with. Mounts and a docker-registry may go on all the time; the docker-registry must
have no cache (README, \"Beside a docker-registry\"). A manifest without a tag stays, with all it
refers to, and a layer without a manifest, too: rm them in a mount.

A docker-registry that deletes a manifest leaves the links of its layers behind, and they keep the
layers. --unreferenced-layers counts manifests only, as docker-registry garbage-collect does.

Exit codes: 0 done; 1 failed, and what was removed until then is listed; 2 wrong usage; 129, 130 and
143 ended by SIGHUP, Ctrl-C (SIGINT) and SIGTERM.";

/// What `regfs gc` takes.
#[derive(Args, Debug)]
pub(super) struct GcArgs {
    /// The folder of the registry
    store: PathBuf,
    /// Remove nothing, only say what would be
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Leave alone what has changed within this time
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Cancel uploads that nobody has written to for this time
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    uploads_older_than: Duration,
    /// Also remove layers that no manifest refers to, and that were linked before the grace period
    #[arg(long)]
    unreferenced_layers: bool,
    /// Go on although no repository has anything, so that all blobs go
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Collects, prints each thing that goes and a line of what was done, and gives the exit code.
pub(super) fn run(args: &GcArgs) -> Result<ExitCode> {
    let root = config::store(&args.store)?;
    let shown = root.display();
    if !LocalRegistry::exists(&root) {
        bail!(
            "there is no registry in {shown}: give the folder that you mount, not the mountpoint"
        );
    }
    daemon::log_warnings()?;
    let stop = stop::watch_signals()?;
    let options = CollectOptions {
        dry_run: args.dry_run,
        grace: args.grace,
        uploads_age: args.uploads_older_than,
        unreferenced_layers: args.unreferenced_layers,
        all: args.all,
    };
    let start = Instant::now();
    let store_options = StoreOptions { read_only: args.dry_run, ..StoreOptions::default() };
    let registry =
        LocalRegistry::open(&root, &store_options).with_context(|| format!("open {shown}"))?;
    let mut printer = Printer::begin(args.dry_run, args.json)?;
    let outcome = registry.collect(&options, &stop, &mut |event| printer.event(&event));
    printer.bar.finish_and_clear();
    let removed = match (printer.things, args.dry_run) {
        (0, _) | (_, true) => format!("nothing was removed from {shown}"),
        (things, false) => format!("{} removed from {shown} until then", were(things)),
    };
    let signal = stop.load(Ordering::Relaxed);
    let outcome = outcome.map_err(|error| match error.is_interrupted() {
        true => anyhow!("stopped: {removed}, all else is where it was"),
        false => anyhow::Error::new(error).context(removed),
    });
    let printed = printer.end(outcome.as_ref(), start.elapsed());
    match outcome {
        Ok(_) => printed.map(|()| ExitCode::SUCCESS),
        Err(error) if signal == 0 => Err(error),
        Err(error) => {
            eprintln!("regfs: {}", daemon::explain(&error));
            Ok(stop::exit_code(signal))
        }
    }
}

fn were(things: u64) -> String {
    let verb = if things == 1 { "was" } else { "were" };
    format!("{} {verb}", counted(things, "thing"))
}

/// Prints what goes on.
struct Printer {
    dry_run: bool,
    as_json: bool,
    bar: ProgressBar,
    /// How many were printed.
    things: u64,
    outcome: Result<()>,
}

impl Printer {
    fn begin(dry_run: bool, as_json: bool) -> Result<Self> {
        let bar = match io::stderr().is_terminal() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        bar.enable_steady_tick(TICK);
        if as_json {
            print("{\"things\": [")?;
        }
        Ok(Self { dry_run, as_json, bar, things: 0, outcome: Ok(()) })
    }

    fn doing(&self) -> &'static str {
        if self.dry_run { "would remove" } else { "removed" }
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
        let text = if self.as_json {
            let comma = if self.things == 0 { "" } else { "," };
            let at = humantime::format_rfc3339_seconds(changed_at).to_string();
            let thing = json!({"kind": kind, "name": name, "bytes": bytes, "changed_at": at});
            format!("{comma}\n  {thing}")
        } else {
            let (doing, bytes, age) = (self.doing(), ByteSize(bytes), age(changed_at));
            plain(&format!("{doing} {kind} {name}, {bytes}, untouched for {age}")) + "\n"
        };
        self.things += 1;
        if self.outcome.is_ok() {
            self.outcome = self.bar.suspend(|| print(&text));
        }
    }

    fn end(self, outcome: Result<&Collected, &anyhow::Error>, time: Duration) -> Result<()> {
        let doing = self.doing();
        self.outcome?;
        match (outcome, self.as_json) {
            (Ok(collected), false) => print(&(said::collected(doing, collected) + "\n")),
            (Err(_), false) => Ok(()),
            (outcome, true) => {
                let members = match outcome {
                    Ok(collected) => as_json(self.dry_run, collected, time),
                    Err(error) => json!({"error": daemon::explain(error)}),
                };
                let members = format!("{members:#}");
                print(&format!("\n],{}\n", members.trim_start_matches('{')))
            }
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

fn as_json(dry_run: bool, collected: &Collected, time: Duration) -> Value {
    let mut members = json!(collected);
    members["dry_run"] = dry_run.into();
    members["seconds"] = time.as_secs_f64().into();
    members
}
