//! What the parts say of themselves: to who mounts or collects, in `.regfs/status` and in
//! `.regfs/metrics`.

use crate::cache::CachedRegistry;
use crate::fs::{Metric, MetricSource, StatusSource};
use crate::store::{Collected, LocalRegistry, Tally, Unclean};
use bytesize::ByteSize;
use log::Level;
use serde_json::json;
use std::{
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

/// So many things, in words.
pub(crate) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What a collection has `done` with what it found, on one line.
pub(crate) fn collected(done: &str, collected: &Collected) -> String {
    let Collected { removed, brought_back, uploads, used, young, denied, .. } = collected;
    let mut text = format!(
        "{done} {} and {}; {} in use",
        many(removed, "blob"),
        many(uploads, "upload"),
        many(used, "blob")
    );
    if young.count > 0 {
        text += &format!(", {} not, but too young", many(young, "blob"));
    }
    if brought_back.count > 0 {
        text += &format!(", {} used again meanwhile", many(brought_back, "blob"));
    }
    if denied.count > 0 {
        text += &format!(", {} left that another user has to remove", many(denied, "thing"));
    }
    if collected.is_cut_short {
        text += "; a repository was renamed meanwhile: run it again for the rest";
    }
    text
}

fn many(tally: &Tally, what: &str) -> String {
    match tally.count {
        0 => format!("no {what}s"),
        count => format!("{} ({})", counted(count, what), ByteSize(tally.bytes)),
    }
}

/// Says something to who mounts, also where nothing is logged.
fn say(level: Level, text: &str) {
    if log::log_enabled!(Level::Info) {
        log::log!(level, "{text}");
    } else {
        writeln!(io::stderr(), "regfs: {text}").ok();
    }
}

/// Who has mistyped a name wonders at an empty mount.
pub(super) fn say_new(store: &Path) {
    say(Level::Info, &format!("made a new registry in {}", store.display()));
}

/// Who has lost a machine wonders what became of the registry.
pub(super) fn say_unclean(unclean: &Unclean) {
    say(Level::Warn, &unclean_in_words(unclean));
}

fn unclean_in_words(unclean: &Unclean) -> String {
    let Unclean { machine_went_down, is_shared, made, removed, uploads } = *unclean;
    let why = if machine_went_down { "the machine went down" } else { "it was killed" };
    let mut text = format!(
        "the last mount did not end cleanly ({why}): deleted {} in the making and {removed} removed",
        counted(made, "thing")
    );
    if let Some(uploads) = uploads {
        text += &format!("; {} to go on with", counted(uploads, "upload"));
    }
    if is_shared {
        text += "; what is younger than an hour was left, as others have the store open";
    }
    text
}

pub(super) fn store_metrics(store: Arc<LocalRegistry>) -> MetricSource {
    let name = "regfs_store_hashed_bytes_total";
    let help = "Bytes of uploads hashed; what a kept state covers is not hashed again.";
    Box::new(move || {
        vec![Metric { name, help, is_counter: true, value: store.counters().bytes_hashed() }]
    })
}

pub(super) fn cache_metrics(cache: Arc<CachedRegistry>) -> MetricSource {
    Box::new(move || {
        let now = cache.counters();
        let metric = |name, help, is_counter, value| Metric { name, help, is_counter, value };
        vec![
            metric("regfs_cache_hits_total", "Answers from the cache.", true, now.hits),
            metric("regfs_cache_misses_total", "Answers from the store.", true, now.misses),
            metric("regfs_cache_evictions_total", "Entries pushed out.", true, now.evictions),
            metric("regfs_cache_bytes", "Bytes of manifests in the cache.", false, now.bytes),
            metric("regfs_cache_open_files", "Blobs kept open.", false, now.open_files),
        ]
    })
}

pub(super) fn cache_status(cache: Arc<CachedRegistry>) -> StatusSource {
    Box::new(move || {
        let now = cache.counters();
        let status = json!({
            "bytes": now.bytes,
            "open_files": now.open_files,
            "hits": now.hits,
            "misses": now.misses,
        });
        ("cache", status)
    })
}

pub(super) fn verify_status(store: Arc<LocalRegistry>) -> StatusSource {
    Box::new(move || ("last_verify", json!(store.last_verify())))
}

pub(super) fn collection_status(store: Arc<LocalRegistry>) -> StatusSource {
    Box::new(move || ("last_gc", json!(store.last_collection())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([counted(1, "blob"), counted(2, "blob")], ["1 blob", "2 blobs"]);
    }

    #[test]
    fn an_unclean_end_is_one_line() {
        let unclean = Unclean { made: 3, removed: 2, uploads: Some(1), ..Unclean::default() };
        assert_eq!(
            unclean_in_words(&unclean),
            "the last mount did not end cleanly (it was killed): deleted 3 things in the making and 2 \
             removed; 1 upload to go on with"
        );
        let unclean = Unclean { machine_went_down: true, is_shared: true, ..Unclean::default() };
        assert!(unclean_in_words(&unclean).contains("(the machine went down)"));
        assert!(unclean_in_words(&unclean).ends_with("others have the store open"));
    }
}
