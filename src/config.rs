//! The command line as needed: checked values, and every limit of the program's life with its reason.
//!
//! What a user types is in `cli/`; here it has become paths, flags and numbers that cannot be wrong.

use crate::fs::mount::FLAGS;
use rustix::mount::MountFlags;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Threads that serve requests. Many more than there are cores, since a thread may wait for a disk:
/// 31 requests that hang still leave one that lists folders. Few of them are awake at once
/// (`fs/turns.rs`).
pub const THREADS_DEFAULT: usize = 32;
/// Each thread has a buffer of 16 MiB.
pub const THREADS_MAX: usize = 64;
/// How far the kernel reads ahead: what one request of it can carry. Layers are read in order.
pub const READ_AHEAD_KIB: u32 = 1024;
/// How long a new mount may take to answer its first `ls`. It has nothing to do by then.
pub const READY_WAIT: Duration = Duration::from_secs(20);
/// How long the end of a mount is waited for: who has files open keeps it alive.
pub const UNMOUNT_WAIT: Duration = Duration::from_secs(10);
/// How often, while waiting, the daemon looks whether any file is still open.
pub const UNMOUNT_PAUSE: Duration = Duration::from_millis(50);
/// Files that a daemon makes are for its user to write and for all to read.
pub const DAEMON_UMASK: u32 = 0o022;

/// `regfs mount`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountConfig {
    /// The folder with the registry, by its whole path. It need not exist; the one above it must.
    pub store: PathBuf,
    /// Where to mount, by its whole path.
    pub mountpoint: PathBuf,
    /// What `-o` says.
    pub options: MountOptions,
    /// Whether to stay in the foreground.
    pub foreground: bool,
    /// Where the daemon's log goes.
    pub log: Option<PathBuf>,
    /// How many threads serve requests.
    pub threads: usize,
    /// Only check whether it could be mounted.
    pub fake: bool,
}

/// What `-o` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// Flags to the kernel, read-only among them.
    pub flags: MountFlags,
    /// Whether users other than the one who mounts may enter.
    pub allow_other: bool,
    /// Whether manifests are taken whose layers are not there.
    pub relaxed: bool,
    /// Shown as the owner of everything.
    pub uid: Option<u32>,
    /// Shown as the group of everything.
    pub gid: Option<u32>,
    /// Permission bits that nothing shows.
    pub umask: Option<u32>,
    /// How often what nobody refers to is removed; never when `None`.
    pub gc_interval: Option<Duration>,
    /// What has changed within this time is left alone then.
    pub gc_grace: Option<Duration>,
    /// Whether it is mounted already, and is to be changed.
    pub remount: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            flags: MountFlags::empty(),
            allow_other: false,
            relaxed: false,
            uid: None,
            gid: None,
            umask: None,
            gc_interval: None,
            gc_grace: None,
            remount: false,
        }
    }
}

/// Why the command line cannot be followed. It is for exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// `path` cannot be found out.
    pub fn path(path: &Path, error: &std::io::Error) -> Self {
        Self(format!("cannot find {}: {error}", path.display()))
    }
}

/// All that `-o` takes, for the message that refuses the rest.
const OPTIONS_KNOWN: &str = "ro, rw, allow_other, relaxed, uid=, gid=, umask=, gc_interval=, gc_grace=, exec, noexec, atime, noatime, \
     diratime, nodiratime, relatime, strictatime, lazytime, sync, async, dirsync, nosymfollow";

/// What fstab may hold that is for others, or is so anyway.
const OPTIONS_IGNORED: &[&str] = &[
    "defaults",
    "default_permissions",
    "nodev",
    "nosuid",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "norelatime",
    "nostrictatime",
    "nolazytime",
    "silent",
    "loud",
];

/// The same for options with a value, and for families of options.
const OPTIONS_IGNORED_BY_PREFIX: &[&str] =
    &["x-", "X-", "comment=", "fsname=", "subtype=", "user=", "helper="];

/// Options that take a flag of the kernel back.
const OPTIONS_CLEARING: &[(&str, &str)] = &[
    ("rw", "ro"),
    ("exec", "noexec"),
    ("atime", "noatime"),
    ("diratime", "nodiratime"),
    ("async", "sync"),
    ("symfollow", "nosymfollow"),
];

impl MountOptions {
    /// Reads the lists that were given with `-o`. Of options that contradict each other the last
    /// one holds, as in mount(8). With `sloppy`, options that nobody knows are passed over.
    pub fn parse<S: AsRef<str>>(lists: &[S], sloppy: bool) -> Result<Self, ConfigError> {
        let mut options = Self::default();
        let words = || lists.iter().flat_map(|list| list.as_ref().split(',')).map(str::trim);
        // mount(8) repeats all that the kernel shows of the mount.
        let sloppy = sloppy || words().any(|option| option == "remount");
        for option in words() {
            if !option.is_empty() && !options.take(option)? && !sloppy {
                return Err(ConfigError(format!(
                    "there is no mount option {option:?}; there are: {OPTIONS_KNOWN}"
                )));
            }
        }
        Ok(options)
    }

    /// Takes one option in, or gives false for one that is unknown.
    fn take(&mut self, option: &str) -> Result<bool, ConfigError> {
        if OPTIONS_IGNORED.contains(&option)
            || OPTIONS_IGNORED_BY_PREFIX.iter().any(|prefix| option.starts_with(prefix))
        {
            return Ok(true);
        }
        if let Some(flag) = flag(option) {
            self.flags.insert(flag);
            return Ok(true);
        }
        if let Some((_, set)) = OPTIONS_CLEARING.iter().find(|(clearing, _)| *clearing == option) {
            self.flags.remove(flag(set).unwrap_or(MountFlags::empty()));
            return Ok(true);
        }
        match option.split_once('=') {
            None => self.take_word(option),
            Some(("uid", name)) => known(&mut self.uid, account("passwd", "user", name)?),
            Some(("gid", name)) => known(&mut self.gid, account("group", "group", name)?),
            Some(("umask", mask)) => known(&mut self.umask, umask(mask)?),
            Some(("gc_interval", text)) => {
                self.gc_interval = Some(time(option, text)?).filter(|time| !time.is_zero());
                Ok(true)
            }
            Some(("gc_grace", text)) => known(&mut self.gc_grace, time(option, text)?),
            Some(_) => Ok(false),
        }
    }

    fn take_word(&mut self, option: &str) -> Result<bool, ConfigError> {
        let refused = match option {
            "allow_other" => {
                self.allow_other = true;
                return Ok(true);
            }
            "relaxed" => {
                self.relaxed = true;
                return Ok(true);
            }
            "remount" => {
                self.remount = true;
                return Ok(true);
            }
            "allow_root" => {
                "allow_root: the kernel lets in either the user who mounts or everybody; use \
                 allow_other, and the permissions of the files keep others out"
            }
            "dev" => "dev: a registry holds no devices; leave it out",
            "suid" => "suid: a registry holds no programs to run as another user; leave it out",
            "gc_interval" | "gc_grace" => {
                return Err(ConfigError(format!("{option} needs a value: {option}=1d")));
            }
            "uid" | "gid" | "umask" => {
                return Err(ConfigError(format!("{option} needs a value: {option}=1000")));
            }
            _ => return Ok(false),
        };
        Err(ConfigError(format!("cannot mount with {refused}")))
    }

    /// What of these a mount that was made with `made` cannot become, in words.
    pub fn fixed_since(&self, made: &Self) -> Option<&'static str> {
        let differs = |wanted: Option<u32>, is: Option<u32>| wanted.is_some() && wanted != is;
        let since =
            |wanted: Option<Duration>, is: Option<Duration>| wanted.is_some() && wanted != is;
        [
            (made.read_only() && !self.read_only(), "that it is read-only"),
            (self.allow_other && !made.allow_other, "who may enter (allow_other)"),
            (self.relaxed && !made.relaxed, "what manifests it takes (relaxed)"),
            (differs(self.uid, made.uid), "the owner that it shows (uid=)"),
            (differs(self.gid, made.gid), "the group that it shows (gid=)"),
            (differs(self.umask, made.umask), "the permissions that it shows (umask=)"),
            (since(self.gc_interval, made.gc_interval), "when it removes garbage (gc_interval=)"),
            (since(self.gc_grace, made.gc_grace), "what garbage it leaves (gc_grace=)"),
        ]
        .into_iter()
        .find_map(|(is_so, what)| is_so.then_some(what))
    }

    /// Whether nothing is to be written.
    pub fn read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }

    /// The options that change something, as they would be typed.
    pub fn summary(&self) -> String {
        let mut words = vec![if self.read_only() { "ro".to_owned() } else { "rw".to_owned() }];
        let flags = FLAGS.iter().filter(|(name, flag)| *name != "ro" && self.flags.contains(*flag));
        words.extend(flags.map(|(name, _)| (*name).to_owned()));
        words.extend(self.allow_other.then(|| "allow_other".to_owned()));
        words.extend(self.relaxed.then(|| "relaxed".to_owned()));
        words.extend(self.uid.map(|uid| format!("uid={uid}")));
        words.extend(self.gid.map(|gid| format!("gid={gid}")));
        words.extend(self.umask.map(|umask| format!("umask={umask:03o}")));
        let short = |time| humantime::format_duration(time).to_string().replace(' ', "");
        words.extend(self.gc_interval.map(|time| format!("gc_interval={}", short(time))));
        words.extend(self.gc_grace.map(|time| format!("gc_grace={}", short(time))));
        words.join(",")
    }
}

fn flag(name: &str) -> Option<MountFlags> {
    FLAGS.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
}

fn known<T>(place: &mut Option<T>, value: T) -> Result<bool, ConfigError> {
    *place = Some(value);
    Ok(true)
}

fn umask(text: &str) -> Result<u32, ConfigError> {
    u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777).ok_or_else(|| {
        ConfigError(format!("umask={text} is not an octal number from 0 to 777; try umask=022"))
    })
}

fn time(option: &str, text: &str) -> Result<Duration, ConfigError> {
    humantime::parse_duration(text)
        .map_err(|_| ConfigError(format!("{option} is not a length of time; try 1d, or 12h 30m")))
}

/// A number, or the number that the system has for a name. `getent` asks whatever the machine keeps
/// its users in, as `id` does.
fn account(database: &str, kind: &str, name: &str) -> Result<u32, ConfigError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let looked_up = (!name.is_empty() && !name.starts_with('-'))
        .then(|| Command::new("getent").args([database, name]).stderr(Stdio::null()).output().ok())
        .flatten();
    looked_up
        .and_then(|output| String::from_utf8(output.stdout).ok()?.split(':').nth(2)?.parse().ok())
        .ok_or_else(|| {
            ConfigError(format!("there is no {kind} {name:?} on this machine; give its number"))
        })
}

/// Where a store is: a folder, by its whole path. Later also the address of a registry.
pub fn store(source: &Path) -> Result<PathBuf, ConfigError> {
    if source.to_string_lossy().contains("://") {
        return Err(ConfigError(format!(
            "cannot mount {}: SOURCE is a folder so far; copy from a remote registry into it with \
             skopeo or docker-registry",
            source.display()
        )));
    }
    real_path(source)
}

/// Refuses to mount a store onto itself: each request would wait for itself.
pub fn check_apart(store: &Path, mountpoint: &Path) -> Result<(), ConfigError> {
    if store.starts_with(mountpoint) || mountpoint.starts_with(store) {
        let relation = if store == mountpoint { "are the same" } else { "lie within each other" };
        return Err(ConfigError(format!(
            "the store {} and the mountpoint {} {relation}: take a mountpoint outside the store",
            store.display(),
            mountpoint.display()
        )));
    }
    Ok(())
}

/// `path` from the root, without symbolic links as far as it exists.
pub fn real_path(path: &Path) -> Result<PathBuf, ConfigError> {
    let bad = |error: std::io::Error| ConfigError::path(path, &error);
    let whole = std::path::absolute(path).map_err(bad)?;
    let existing = whole.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let rest = whole.strip_prefix(existing).unwrap_or(Path::new(""));
    let real = existing.canonicalize().map_err(bad)?;
    Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, ConfigError> {
        MountOptions::parse(&[list], false)
    }

    fn refusal(list: &str) -> String {
        parse(list).unwrap_err().to_string()
    }

    #[test]
    fn the_line_of_an_fstab_is_understood() {
        let options = parse(
            "rw,noatime,noauto,user,_netdev,nofail,x-systemd.automount,allow_other,uid=1000,umask=027",
        )
        .unwrap();
        assert_eq!(options.flags, MountFlags::NOATIME);
        assert!(options.allow_other && !options.read_only() && !options.relaxed);
        assert_eq!((options.uid, options.gid, options.umask), (Some(1000), None, Some(0o027)));
        assert_eq!(options.summary(), "rw,noatime,allow_other,uid=1000,umask=027");
        assert_eq!(parse("defaults").unwrap(), MountOptions::default());
        assert_eq!(parse("gc_interval=36h").unwrap().summary(), "rw,gc_interval=1day12h");
        assert_eq!(parse("gc_interval=1day12h,gc_interval=0").unwrap(), MountOptions::default());
        assert_eq!(parse("").unwrap(), MountOptions::default());
    }

    #[test]
    fn the_last_of_two_options_holds() {
        assert!(parse("rw,ro").unwrap().read_only());
        assert!(!MountOptions::parse(&["ro", "rw"], false).unwrap().read_only());
        assert_eq!(parse("noexec,exec").unwrap().flags, MountFlags::empty());
    }

    #[test]
    fn users_and_groups_have_names() {
        let options = parse("uid=root,gid=root").unwrap();
        assert_eq!((options.uid, options.gid), (Some(0), Some(0)));
        assert!(refusal("uid=nobody-at-all").contains("no user \"nobody-at-all\""));
        assert!(refusal("gid=-i").contains("no group"));
        assert!(refusal("uid").contains("uid=1000"));
    }

    #[test]
    fn what_is_refused_says_why_or_what_there_is() {
        assert!(refusal("allow_root").contains("allow_other"));
        assert!(refusal("dev").contains("no devices"));
        assert!(refusal("suid").contains("leave it out"));
        assert!(refusal("umask=999").contains("octal"));
        assert!(refusal("umask=7777").contains("octal"));
        assert!(refusal("gc_interval=daily").contains("try 1d"));
        let unknown = refusal("ro,alow_other");
        assert!(unknown.contains("\"alow_other\"") && unknown.contains("allow_other, relaxed"));
        assert!(MountOptions::parse(&["ro,alow_other"], true).unwrap().read_only());
    }

    #[test]
    fn every_option_that_is_named_is_taken() {
        for name in OPTIONS_KNOWN.split(", ") {
            let option = if name.ends_with('=') { format!("{name}0") } else { name.to_owned() };
            assert!(parse(&option).is_ok(), "{option}");
        }
        for (name, _) in FLAGS {
            let named = OPTIONS_KNOWN.split(", ").any(|known| known == *name);
            assert!(named || OPTIONS_IGNORED.contains(name), "{name}");
        }
    }

    #[test]
    fn a_remount_changes_flags_and_nothing_else() {
        let made = parse("rw,allow_other,uid=5").unwrap();
        let fixed = |list: &str| parse(list).unwrap().fixed_since(&made);
        assert!(parse("remount,ro").unwrap().remount);
        assert_eq!(fixed("remount,ro"), None);
        assert_eq!(fixed("rw,nosuid,user_id=0,group_id=0,allow_other,remount,ro"), None);
        assert!(fixed("remount,uid=6").unwrap().contains("uid="));
        assert!(fixed("remount,relaxed").unwrap().contains("relaxed"));
        let read_only = parse("ro").unwrap();
        assert!(
            parse("remount,rw").unwrap().fixed_since(&read_only).unwrap().contains("read-only")
        );
    }

    #[test]
    fn a_store_and_its_mountpoint_are_apart() {
        let apart = |store: &str, at: &str| check_apart(Path::new(store), Path::new(at)).is_ok();
        assert!(apart("/srv/a", "/srv/ab") && apart("/srv/ab", "/srv/a"));
        assert!(!apart("/srv/a", "/srv/a"));
        assert!(!apart("/srv/a", "/srv/a/mnt"));
        assert!(!apart("/srv/a/store", "/srv/a"));
    }

    #[test]
    fn a_store_that_is_not_there_yet_has_a_real_path_too() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        let real = store(&dir.path().join("link/new/store")).unwrap();
        assert_eq!(real, dir.path().canonicalize().unwrap().join("new/store"));
        assert!(store(Path::new("https://registry.example/v2")).is_err());
    }
}
