//! Everything put together, and its life: open the store, wrap it, mount it, serve until somebody
//! ends it, and leave no mount behind.
//!
//! The only place that names every part. How a process goes to the background is in
//! `background.rs`, where its log goes in `logging.rs`, what the parts say in `said.rs`. A verification is put together in `verify.rs`.

mod background;
mod collector;
mod logging;
mod memory;
pub(crate) mod said;
pub(crate) mod stop;
pub(crate) mod verify;

pub(crate) use background::wait_for_end;

use crate::cache::{CacheLimits, CachedRegistry};
use crate::config::{self, ConfigError, MountConfig};
use crate::fs::mount::{self, MountSettings, Unmounter};
use crate::fs::{FsOptions, RegistryFs};
use crate::model::{Error, without_number};
use crate::registry::ReferenceCheck;
use crate::store::{LocalRegistry, StoreOptions};
use anyhow::{Context, Result, anyhow};
use background::{Child, Refused, Side};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{self, IsTerminal as _},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Instant,
};

/// What ends a program on request. Without a handler each of them would leave a dead mount. SIGHUP does
/// when it says that the terminal is gone which the program was started on.
const ENDING_SIGNALS: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];

/// Mounts as `config` says. Comes back when the mount answers, or in the foreground when it is gone.
pub(crate) fn mount(config: MountConfig, verbose: u8) -> Result<()> {
    if config.fake {
        check(&config)?;
        return Ok(());
    }
    if config.foreground {
        logging::start(verbose, "info", config.log.as_deref())?;
        return serve(&config, || notify(NotifyState::Ready));
    }
    background::close_inherited();
    let usual = if config.log.is_some() { "info" } else { "warn" };
    logging::start(verbose, usual, config.log.as_deref())?;
    // From here to the fork nothing may start a thread.
    match background::split().context("could not start the daemon")? {
        Side::Parent(parent) => parent.wait_until_ready(&config.mountpoint),
        Side::Child(child) => {
            run_child(&config, child);
            Ok(())
        }
    }
}

/// The daemon's life. Whoever started it learns of a failure through the link, later ones are for
/// the log.
fn run_child(config: &MountConfig, child: Child) {
    let mut link = Some(child);
    let outcome = serve(config, || link.take().map_or(Ok(()), Child::announce));
    if let Err(error) = outcome {
        match link {
            Some(child) => child.refuse(exit_code(&error), &explain(&error)),
            None => log::error!("{}", explain(&error)),
        }
    }
}

/// What mounting needs, checked before anything is made: where the store is and where it will be.
fn check(config: &MountConfig) -> Result<PathBuf> {
    let mountpoint = mount::prepare(&config.mountpoint)?;
    config::check_apart(&config.store, &mountpoint)?;
    Ok(mountpoint)
}

/// Mounts and serves. `announce` is called once the kernel can send requests.
fn serve(config: &MountConfig, announce: impl FnOnce() -> Result<()>) -> Result<()> {
    panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    memory::keep_large_pieces_apart();
    rustix::process::umask(config::DAEMON_UMASK.into());
    raise_file_limit();
    let mountpoint = check(config)?;
    let (sender, events) = mpsc::channel();
    let on_terminal = config.foreground && io::stdin().is_terminal();
    watch_signals(sender.clone(), on_terminal).context("could not watch for signals")?;

    let settings = MountSettings {
        mountpoint,
        source: config.store.clone().into_os_string(),
        flags: config.options.flags,
        allow_other: config.options.allow_other,
        threads: config.threads,
        read_ahead_kib: config::READ_AHEAD_KIB,
    };
    let parts = compose(config, &settings)?;
    let fs = &parts.fs;
    let mount = mount::mount(Arc::clone(fs), &settings)?;
    let unmounter = mount.unmounter();
    let session = move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| mount.run()));
        let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("it panicked; see the log")));
        sender.send(Event::Ended(outcome)).ok();
    };
    thread::Builder::new().name("session".to_owned()).spawn(session)?;
    log::info!("mounted {} at {}", config.store.display(), settings.mountpoint.display());

    if let Err(error) = announce() {
        unmount(&unmounter, fs, &events);
        return Err(error);
    }
    let collector = collector::start(config, Arc::clone(&parts.store));
    let outcome = loop {
        match events.recv() {
            Ok(Event::Forget) => parts.forget(),
            Ok(Event::Signal(name)) => {
                log::info!("{name}: unmounting");
                unmount(&unmounter, fs, &events);
                break Ok(());
            }
            Ok(Event::Ended(Ok(()))) => {
                // By regfs umount or by another program: the kernel does not say.
                log::info!("unmounted");
                break Ok(());
            }
            Ok(Event::Ended(Err(error))) => break Err(error).context("the session ended"),
            Err(_) => break Err(anyhow!("the session ended without a word")),
        }
    };
    drop(collector);
    finish_calls(fs);
    outcome
}

/// The parts that the daemon goes on having to do with.
struct Parts {
    fs: Arc<RegistryFs>,
    cache: Arc<CachedRegistry>,
    store: Arc<LocalRegistry>,
}

impl Parts {
    /// Forgets what need not be remembered, and gives back what it took.
    fn forget(&self) {
        self.cache.forget();
        self.store.forget();
        memory::give_back();
        log::info!("SIGHUP: forgot what was remembered");
    }
}

/// However it ended, nobody was killed.
impl Drop for Parts {
    fn drop(&mut self) {
        if let Err(error) = self.store.close() {
            log::warn!("the next mount will say that this one did not end cleanly: {error}");
        }
    }
}

/// Everything that users have open is open here, too, where a login allows 1,024 files at first.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Waits for calls that are still under way though nobody waits for their answer: a close that
/// removes what was not published, say.
fn finish_calls(fs: &RegistryFs) {
    let deadline = Instant::now() + config::UNMOUNT_WAIT;
    while fs.is_busy() && Instant::now() < deadline {
        thread::sleep(config::UNMOUNT_PAUSE);
    }
}

/// The parts, each around the one before: the store, the cache, the file system.
fn compose(config: &MountConfig, settings: &MountSettings) -> Result<Parts> {
    let options = &config.options;
    let reference_check =
        if options.relaxed { ReferenceCheck::Relaxed } else { ReferenceCheck::Strict };
    let store_options =
        StoreOptions { reference_check, read_only: options.read_only(), is_mount: true };
    let store = LocalRegistry::open(&config.store, &store_options)
        .map_err(|error| refused_store(config, error))?;
    if store.is_new() {
        said::say_new(&config.store);
    }
    if let Some(unclean) = store.unclean() {
        said::say_unclean(&unclean);
    }
    let store = Arc::new(store);
    let registry = Arc::new(CachedRegistry::new(store.clone(), CacheLimits::default()));
    let cache = Arc::clone(&registry);
    let many_are_forgotten = memory::keeper({
        let cache = Arc::clone(&cache);
        move || cache.forget_links()
    })?;
    let shown = FsOptions {
        uid: options.uid,
        gid: options.gid,
        umask: options.umask,
        gives_files_away: rustix::process::geteuid().is_root(),
        groups: own_groups(),
        source: config.store.to_string_lossy().into_owned(),
        mountpoint: settings.mountpoint.clone(),
        options: options.summary(),
        read_only: options.read_only(),
        metrics: vec![
            said::store_metrics(Arc::clone(&store)),
            said::cache_metrics(Arc::clone(&cache)),
        ],
        status: vec![
            said::cache_status(Arc::clone(&cache)),
            said::verify_status(Arc::clone(&store)),
            said::collection_status(Arc::clone(&store)),
        ],
        many_are_forgotten: Some(many_are_forgotten),
    };
    Ok(Parts { fs: Arc::new(RegistryFs::new(registry, shown)), cache, store })
}

/// Why a store could not be opened, and what to do.
fn refused_store(config: &MountConfig, error: Error) -> anyhow::Error {
    let (at, read_only) = (config.store.display(), config.options.read_only());
    let kind = if let Error::Io { source, .. } = &error { Some(source.kind()) } else { None };
    if let Error::StoreVersion { .. } = &error {
        return anyhow!("{error}: use a newer regfs");
    }
    match kind {
        Some(io::ErrorKind::NotFound) if read_only => {
            anyhow!("there is no registry in {at}: mount it without -o ro once, which makes one")
        }
        Some(io::ErrorKind::NotFound) => {
            match config.store.parent().filter(|above| !above.exists()) {
                Some(above) => anyhow!(
                    "there is no directory {0} to make the registry {at} in: if the name is right, make \
                 it first (mkdir -p {0})",
                    above.display()
                ),
                None => error.into(),
            }
        }
        Some(io::ErrorKind::PermissionDenied) if read_only => {
            anyhow!("{error}; let this user read the store {at}, or mount as root")
        }
        Some(io::ErrorKind::PermissionDenied) => anyhow!(
            "{error}; the store {at} has to belong to who mounts it (chown -R): mount as its owner \
             or as root, or with -o ro if reading it is enough"
        ),
        Some(io::ErrorKind::ReadOnlyFilesystem) => {
            anyhow!("{error}; the disk is read-only: mount with -o ro")
        }
        Some(_) | None => error.into(),
    }
}

/// The groups that who mounts may give files to.
fn own_groups() -> Vec<u32> {
    let others = rustix::process::getgroups().unwrap_or_default();
    let own = rustix::process::getegid();
    others.into_iter().chain([own]).map(rustix::process::Gid::as_raw).collect()
}

/// What the daemon waits for.
enum Event {
    /// Somebody wants it to forget what it remembers.
    Forget,
    /// Somebody wants it to end.
    Signal(&'static str),
    /// The mount is gone, or cannot be served any more.
    Ended(io::Result<()>),
}

fn watch_signals(sender: Sender<Event>, on_terminal: bool) -> io::Result<()> {
    let mut signals = Signals::new(ENDING_SIGNALS.iter().chain(&[SIGHUP]))?;
    let watch = move || {
        for signal in signals.forever() {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            let is_end = signal != SIGHUP || on_terminal;
            let event = if is_end { Event::Signal(name) } else { Event::Forget };
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(())
}

/// Takes the mount away and waits for those who have files open, but not forever, and no longer than
/// until a second signal. Who merely stands in a folder of the mount is not waited for.
fn unmount(unmounter: &Unmounter, fs: &RegistryFs, events: &Receiver<Event>) {
    if let Err(error) = notify(NotifyState::Stopping) {
        log::debug!("{error:#}");
    }
    if let Err(error) = unmounter.unmount() {
        log::error!("{error}");
    }
    let deadline = Instant::now() + config::UNMOUNT_WAIT;
    loop {
        match events.recv_timeout(config::UNMOUNT_PAUSE) {
            Ok(Event::Forget) => {}
            Ok(Event::Ended(Ok(()))) => return log::info!("unmounted"),
            Ok(Event::Ended(Err(error))) => return log::error!("the session ended: {error}"),
            Ok(Event::Signal(name)) => {
                return log::warn!("{name} again: files that are open are cut off");
            }
            Err(RecvTimeoutError::Timeout) if fs.is_idle() => return,
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(RecvTimeoutError::Timeout) => {
                return log::warn!("files that are still open are cut off");
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Tells systemd, where it listens.
fn notify(state: NotifyState<'_>) -> Result<()> {
    sd_notify::notify(&[state]).context("could not tell the service manager")
}

/// The exit code for an error: 2 when another command line would help, 1 otherwise.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return refused.code;
    }
    if error.downcast_ref::<ConfigError>().is_some() { 2 } else { 1 }
}

/// A command that is no daemon says on stderr what it passes over.
pub(crate) fn log_warnings() -> Result<()> {
    logging::start(0, "warn", None)
}

/// An error and its causes on one line, none of them twice.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let cause = without_number(&cause);
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
