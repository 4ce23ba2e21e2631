//! The collections that a mount makes by itself, one after another.

use crate::config::MountConfig;
use crate::daemon::said;
use crate::store::{CollectOptions, LocalRegistry};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Collects now and then, for as long as this lives.
pub(super) struct Collector {
    stop: Arc<AtomicUsize>,
    /// Dropped to wake the thread.
    sender: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts a thread that collects in `store` after each `interval`.
    fn start(
        store: Arc<LocalRegistry>, interval: Duration, options: CollectOptions,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let stop = Arc::new(AtomicUsize::new(0));
        let is_stopped = Arc::clone(&stop);
        let work = move || {
            while let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(interval) {
                collect(&store, &options, &is_stopped);
            }
        };
        let thread = thread::Builder::new().name("collector".to_owned()).spawn(work)?;
        Ok(Self { stop, sender: Some(sender), thread: Some(thread) })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Any number but zero; a collection brings back what is out, and ends.
        self.stop.store(1, Ordering::Relaxed);
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Starts the collections that the mount is to make, if it is. Without them it goes on as well.
pub(super) fn start(config: &MountConfig, store: Arc<LocalRegistry>) -> Option<Collector> {
    let mount = &config.options;
    let interval = mount.gc_interval.filter(|_| !mount.read_only())?;
    let usual = CollectOptions::default();
    let options = CollectOptions { grace: mount.gc_grace.unwrap_or(usual.grace), ..usual };
    let started = Collector::start(store, interval, options);
    started.inspect_err(|error| log::error!("garbage is not collected: {error}")).ok()
}

/// What goes wrong here goes wrong again the next time: the log says so, and the mount goes on.
fn collect(store: &LocalRegistry, options: &CollectOptions, stop: &AtomicUsize) {
    match store.collect(options, stop, &mut |_| {}) {
        Ok(collected) => log::info!("garbage: {}", said::collected("removed", &collected)),
        Err(error) if stop.load(Ordering::Relaxed) != 0 => log::debug!("{error}"),
        Err(error) => log::warn!("garbage was not collected: {error}"),
    }
}
