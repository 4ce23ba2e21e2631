//! `regfs verify`: shows what a verification finds, as lines or as JSON, and how far it is.

use crate::cli::output::{plain, print, write};
use crate::config;
use crate::daemon::verify::{self, Counts, Ended, Finding, Outcome, Verification, VerifyOptions};
use crate::daemon::{self, said::counted, stop};
use anyhow::{Result, anyhow};
use bytesize::ByteSize;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal as _},
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, SystemTime},
};

/// How many findings may wait to be shown.
const FINDINGS_WAITING_MAX: usize = 1024;
/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);
/// That nobody reads what is printed any more, as a signal.
const SIGPIPE: usize = 13;

pub(super) const HELP: &str = "\
Examples:
  regfs verify /srv/registry                   all of it; may be mounted and served meanwhile
  regfs verify --quarantine /srv/registry      move damaged blobs to STORE/regfs/quarantine
  regfs verify --since 25h /srv/registry       only what changed lately, as in a daily job
  regfs verify --since '2026-11-01 12:00:00' /srv/registry
  regfs verify --resume /srv/registry          go on where an interrupted run stopped
  regfs verify --json /srv/registry | jq -r '.findings[] | select(.severity == \"damage\").subject'

Every blob is read and must have the digest that names it; every link must hold a digest, the one in
its path, and lead to what is there; whatever a tag leads to must be complete. That is damage. Notes
are uploads that nobody finishes, files that belong to neither a registry nor regfs, and what nobody
misses.

Who reads a blob in quarantine through a mount gets EBADMSG, with the reason in .regfs/errors; to
push the right bytes again heals it.

Exit codes: 0 no damage; 1 damage, or something could not be read; 2 wrong usage; 130 and 143 ended
by Ctrl-C (SIGINT) and SIGTERM: --resume goes on.";

/// What `regfs verify` takes.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The folder of the registry
    store: PathBuf,
    /// Move damaged blobs to STORE/regfs/quarantine, where no registry finds them
    #[arg(long)]
    quarantine: bool,
    /// Look only at files that changed since: a duration (25h, 7days) or a time (RFC 3339)
    #[arg(long, value_name = "DURATION|TIME", value_parser = since)]
    since: Option<SystemTime>,
    /// Go on where an interrupted run stopped; as a new run when there was none
    #[arg(long, conflicts_with = "since")]
    resume: bool,
    /// Note uploads to which nobody has written for so long
    #[arg(long, value_name = "DURATION", default_value = "7days", value_parser = humantime::parse_duration)]
    uploads_older_than: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// How many threads read and hash; one for each processor if left out
    #[arg(long, value_name = "NUMBER", value_parser = super::threads)]
    threads: Option<usize>,
}

/// Verifies a store, and gives the exit code.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let is_shown = io::stderr().is_terminal();
    let options = VerifyOptions {
        quarantine: args.quarantine,
        since: args.since,
        uploads_older_than: args.uploads_older_than,
        resume: args.resume,
        threads: args.threads.unwrap_or_else(processors),
        measure: is_shown,
    };
    daemon::log_warnings()?;
    let verification = verify::open(&args.store, options)?;
    let stop = stop::watch_signals()?;
    if args.resume && verification.resumes_after().is_none() {
        eprintln!("regfs: there is no interrupted run to resume: this one begins anew");
    }
    let mut report = Report::begin(args.json, is_shown)?;
    let (sender, receiver) = mpsc::sync_channel(FINDINGS_WAITING_MAX);
    let outcome = thread::scope(|scope| {
        let run = scope.spawn(|| verification.run(&stop, sender));
        report.follow(&verification, &receiver, &stop);
        run.join().map_err(|_| anyhow!("it panicked: report this"))
    })?;
    report.end(&outcome)?;
    Ok(conclude(&outcome, &args.store))
}

/// Says where an interrupted run stopped, and gives the exit code.
fn conclude(outcome: &Outcome, store: &Path) -> ExitCode {
    let Ended::Interrupted { signal, position } = &outcome.ended else {
        if let Some(why) = &outcome.unkept {
            eprintln!("regfs: the result is not kept in the store: {why}");
        }
        return if outcome.counts.damage == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) };
    };
    let place = match position {
        Some(position) => format!("after {position}"),
        None => "before the first blob was done".to_owned(),
    };
    let further = match &outcome.unkept {
        Some(why) => format!("it cannot be resumed: {why}"),
        None => {
            let store = crate::fs::quoted(store);
            format!("regfs verify --resume {store} goes on there, and looks at all links then")
        }
    };
    eprintln!("regfs: stopped {place}; {further}");
    stop::exit_code(*signal)
}

fn processors() -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    processors.min(config::THREADS_MAX)
}

/// A time, or how long ago it was.
fn since(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return SystemTime::now().checked_sub(ago).ok_or_else(|| "that is too long ago".to_owned());
    }
    let with_time = format!("{text} 00:00:00");
    humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339_weak(&with_time))
        .map_err(|_| "a duration as 25h, or a time (UTC) as 2026-11-01T12:00:00Z".to_owned())
}

/// What is shown while it runs and at its end.
struct Report {
    as_json: bool,
    bar: Option<ProgressBar>,
    has_total: bool,
    findings: u64,
}

impl Report {
    fn begin(as_json: bool, with_bar: bool) -> Result<Self> {
        let bar = with_bar.then(ProgressBar::no_length);
        if let Some(bar) = &bar {
            let template = "{spinner} {binary_bytes} read, {binary_bytes_per_sec}, {msg}";
            bar.set_style(ProgressStyle::with_template(template)?);
        }
        if as_json {
            print("{\"findings\": [")?;
        }
        Ok(Self { as_json, bar, has_total: false, findings: 0 })
    }

    /// Shows what is found until everything is.
    fn follow(&mut self, run: &Verification, findings: &Receiver<Finding>, stop: &AtomicUsize) {
        loop {
            match findings.recv_timeout(TICK) {
                Ok(finding) => {
                    // Who reads no further has seen enough.
                    if self.show(&finding).is_err() {
                        stop.store(SIGPIPE, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.draw(run);
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, finding: &Finding) -> io::Result<()> {
        let text = match self.as_json {
            true => {
                let comma = if self.findings == 0 { "" } else { "," };
                format!("{comma}\n  {}", finding_as_json(finding))
            }
            false => format!("{}\n", line(finding)),
        };
        self.findings += 1;
        match &self.bar {
            Some(bar) => bar.suspend(|| write(&text)),
            None => write(&text),
        }
    }

    fn draw(&mut self, run: &Verification) {
        let Some(bar) = &self.bar else { return };
        let progress = run.progress();
        if let Some(total) = progress.bytes_to_read().filter(|_| !self.has_total) {
            self.has_total = true;
            let template = "{bar:30} {binary_bytes} of {binary_total_bytes}, \
                            {binary_bytes_per_sec}, {eta} left, {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_length(total);
                bar.set_style(style);
            }
        }
        let counts = progress.counts();
        bar.set_message(format!(
            "{} blobs, {} links, {} damaged",
            counts.blobs, counts.links, counts.damage
        ));
        bar.set_position(progress.bytes_read());
    }

    fn end(&self, outcome: &Outcome) -> Result<()> {
        let text = match self.as_json {
            true => {
                let members = format!("{:#}", outcome_as_json(outcome));
                format!("\n],{}\n", members.trim_start_matches('{'))
            }
            false => format!("{}\n", summary(outcome)),
        };
        print(&text)
    }
}

/// A finding on one line, whatever is in its names.
fn line(finding: &Finding) -> String {
    let Finding { kind, subject, reason, .. } = finding;
    let line = format!("{}: {subject}: {reason}; {}", kind.severity().name(), kind.remedy());
    plain(&line)
}

fn finding_as_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind,
        "severity": finding.kind.severity(),
        "subject": finding.subject,
        "path": finding.path,
        "reason": finding.reason,
        "remedy": finding.kind.remedy(),
    })
}

fn outcome_as_json(outcome: &Outcome) -> Value {
    let result = match (&outcome.ended, outcome.counts.damage) {
        (Ended::Interrupted { .. }, _) => "interrupted",
        (Ended::Whole, 0) => "clean",
        (Ended::Whole, _) => "damage",
    };
    json!({
        "result": result,
        "counts": outcome.counts,
        "bytes": outcome.counts.bytes,
        "seconds": outcome.elapsed.as_secs_f64(),
    })
}

/// What was looked at and what came of it, on one line.
fn summary(outcome: &Outcome) -> String {
    let Counts { blobs, bytes, links, manifests, repositories, damage, notes } = outcome.counts;
    let done = match outcome.ended {
        Ended::Whole => "verified",
        Ended::Interrupted { .. } => "so far",
    };
    let damage =
        if damage == 0 { "no damage".to_owned() } else { counted(damage, "damaged thing") };
    let notes = if notes == 0 { "no notes".to_owned() } else { counted(notes, "note") };
    format!(
        "{done} {} ({}), {} and {} in {}, in {:.1} s: {damage}, {notes}",
        counted(blobs, "blob"),
        ByteSize::b(bytes).display().iec(),
        counted(links, "link"),
        counted(manifests, "manifest"),
        match repositories {
            1 => "1 repository".to_owned(),
            count => format!("{count} repositories"),
        },
        outcome.elapsed.as_secs_f64(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_time() {
        let now = SystemTime::now();
        let hour = now.duration_since(since("1h").unwrap()).unwrap_or_default();
        assert!(hour.as_secs().abs_diff(3600) < 60);
        assert_eq!(since("2026-11-01"), since("2026-11-01T00:00:00Z"));
        assert!(since("2026-11-01 12:30:00").is_ok());
        assert!(since("yesterday").is_err());
    }
}
