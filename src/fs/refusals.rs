//! The last refused operations, each with its reason and remedy: what `.regfs/errors` shows.

use crate::fs::{errno, fault::Fault};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

/// How many refusals are kept: enough to find one's own, little enough to read.
pub(super) const REFUSALS_MAX: usize = 1000;

/// An operation that was refused.
#[derive(Clone, Debug)]
struct Refusal {
    at: SystemTime,
    pid: u32,
    operation: &'static str,
    path: String,
    errno: String,
    reason: String,
    remedy: &'static str,
    /// How often it came in a row.
    times: u64,
}

/// The ring of refusals. Its lock is held for a push or a copy only.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    ring: Mutex<VecDeque<Refusal>>,
    count: AtomicU64,
}

impl Refusals {
    /// Chooses the number for `fault`, and keeps and logs it when it is worth a line.
    pub(super) fn note(
        &self, operation: &'static str, pid: u32, path: impl FnOnce() -> String, fault: &Fault,
    ) -> i32 {
        let explanation = errno::explain(fault);
        if explanation.is_refusal {
            let refusal = Refusal {
                at: SystemTime::now(),
                pid,
                operation,
                path: path(),
                errno: explanation.name(),
                reason: fault.to_string(),
                remedy: explanation.remedy,
                times: 1,
            };
            log::info!("refused: {}", refusal.line());
            self.count.fetch_add(1, Ordering::Relaxed);
            self.keep(refusal);
        }
        explanation.number
    }

    /// The kernel asks twice or three times before it gives up, and every close of a file that is
    /// wrong is refused: that is one line, so that nothing else is pushed out.
    fn keep(&self, refusal: Refusal) {
        let mut ring = self.ring.lock();
        if let Some(last) = ring.back_mut().filter(|last| last.is_like(&refusal)) {
            *last = Refusal { times: last.times + 1, ..refusal };
            return;
        }
        if ring.len() == REFUSALS_MAX {
            ring.pop_front();
        }
        ring.push_back(refusal);
    }

    /// How many operations were refused since the mount began.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The last refusal as one line.
    pub(super) fn last(&self) -> Option<String> {
        self.ring.lock().back().map(Refusal::line)
    }

    /// One line for each refusal that is kept, the oldest first.
    pub(super) fn text(&self) -> String {
        let ring = self.ring.lock().clone();
        let mut text = String::new();
        for refusal in &ring {
            text.push_str(&refusal.line());
            text.push('\n');
        }
        text
    }
}

impl Refusal {
    /// Whether the same process was refused the same, for the same reason.
    fn is_like(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.pid, it.operation);
        key(self) == key(other)
            && self.path == other.path
            && self.errno == other.errno
            && self.reason == other.reason
    }

    /// `TIME pid PID OPERATION PATH: ERRNO: REASON; REMEDY`, on one line whatever is in the path.
    fn line(&self) -> String {
        let mut line = String::new();
        let at = humantime::format_rfc3339_seconds(self.at);
        let path = self.path.escape_debug();
        let reason = self.reason.replace('\n', " ");
        // Writing to a String cannot fail.
        let _ignored = write!(
            line,
            "{at} pid {} {} {path}: {}: {reason}; {}",
            self.pid, self.operation, self.errno, self.remedy
        );
        if self.times > 1 {
            let _ignored = write!(line, " ({} times)", self.times);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Error;

    #[test]
    fn a_refusal_is_one_line_with_reason_and_remedy() {
        let refusals = Refusals::default();
        let fault = Fault::Registry(Error::ReadOnly);
        refusals.note("create", 7, || "a/uploads/new\nline".to_owned(), &fault);
        let text = refusals.text();
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.ends_with(
                "pid 7 create a/uploads/new\\nline: EROFS: the registry is mounted read-only; \
                 unmount it, and mount it again without -o ro\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn only_the_last_thousand_are_kept() {
        let refusals = Refusals::default();
        for pid in 0..REFUSALS_MAX as u32 + 5 {
            refusals.note("create", pid, String::new, &Fault::Registry(Error::ReadOnly));
        }
        assert_eq!(refusals.text().lines().count(), REFUSALS_MAX);
        assert!(refusals.text().starts_with(|_| true) && refusals.text().contains("pid 5 "));
        assert!(!refusals.text().contains("pid 4 "));
        assert_eq!(refusals.count(), REFUSALS_MAX as u64 + 5);
    }

    #[test]
    fn the_same_again_is_one_line() {
        let refusals = Refusals::default();
        let refuse = |path: &str| {
            refusals.note("close", 7, || path.to_owned(), &Fault::Registry(Error::ReadOnly))
        };
        for path in ["a", "a", "a", "b"] {
            refuse(path);
        }
        let text = refusals.text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().next().unwrap().ends_with(" (3 times)"), "{text}");
        assert!(refusals.last().unwrap().ends_with("without -o ro"));
        assert_eq!(refusals.count(), 4);
    }

    #[test]
    fn what_does_not_exist_leaves_no_line() {
        let refusals = Refusals::default();
        assert_eq!(refusals.note("lookup", 1, String::new, &Fault::NoEntry), libc::ENOENT);
        assert_eq!(refusals.text(), "");
    }
}
