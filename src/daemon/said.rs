//! What the parts say of themselves: to who mounts, in `.regfs/status` and in `.regfs/metrics`.

use crate::cache::CachedRegistry;
use crate::fs::{Metric, MetricSource, StatusSource};
use crate::store::{LocalRegistry, Unclean};
use log::Level;
use serde_json::json;
use std::{
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

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
    let many = |count: u64, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let mut text = format!(
        "the last mount did not end cleanly ({why}): deleted {} in the making and {removed} removed",
        many(made, "thing")
    );
    if let Some(uploads) = uploads {
        text += &format!("; {} to go on with", many(uploads, "upload"));
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
