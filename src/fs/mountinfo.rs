//! What is mounted where, as `/proc/self/mountinfo` tells it.
//!
//! Nothing here asks a file system anything, except [`probe`], which does so with a deadline: a mount
//! whose daemon is gone or hangs can be looked at like any other.

use rustix::fs::{Mode, OFlags};
use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The type of our mounts: `findmnt -t fuse.regfs` lists them.
pub const MOUNT_TYPE: &str = "fuse.regfs";

/// One mount of this process's view of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Its number, which the kernel gives again once the mount is gone.
    pub id: u64,
    /// The number of the mount it lies on.
    pub parent: u64,
    /// `major:minor` of its file system. Two mounts of one file system share it.
    pub device: String,
    /// Where it is.
    pub mountpoint: PathBuf,
    /// The type: `ext4`, `fuse.regfs`.
    pub kind: String,
    /// What is mounted; for regfs the store.
    pub source: OsString,
    /// Options of the mount and of its file system, as `/proc/mounts` shows them.
    pub options: Vec<String>,
}

impl MountEntry {
    /// Whether this is one of regfs's mounts.
    pub fn is_regfs(&self) -> bool {
        self.kind == MOUNT_TYPE
    }
}

/// Every mount that this process can see, the oldest first.
pub fn read() -> io::Result<Vec<MountEntry>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// Reads the text of a `mountinfo`. Lines that are none are passed over.
pub fn parse(text: &[u8]) -> Vec<MountEntry> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mnt rw,noatime shared:1 - ext3 /dev/sda rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut words = line.split(|byte| *byte == b' ');
    let id = text(words.next()?).parse().ok()?;
    let parent = text(words.next()?).parse().ok()?;
    let device = text(words.next()?);
    let _root_within_the_file_system = words.next()?;
    let mountpoint = PathBuf::from(unescape(words.next()?));
    let mut options = list(words.next()?);
    // Any number of optional fields, up to a dash.
    words.find(|word| *word == b"-")?;
    let kind = text(words.next()?);
    let source = unescape(words.next()?);
    for option in list(words.next().unwrap_or_default()) {
        if !options.contains(&option) {
            options.push(option);
        }
    }
    Some(MountEntry { id, parent, device, mountpoint, kind, source, options })
}

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

fn list(word: &[u8]) -> Vec<String> {
    text(word).split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect()
}

/// The kernel writes space, tab, newline, `#` and backslash as `\` and three octal digits.
fn unescape(word: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            digits.iter().try_fold(0_u32, |sum, digit| {
                matches!(digit, b'0'..=b'7').then(|| sum * 8 + u32::from(digit - b'0'))
            })
        });
        match octal.and_then(|value| u8::try_from(value).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// A place in the file system, found without asking the file system that it is in.
///
/// While it is held, `umount` says that the mount is busy.
#[derive(Debug)]
pub struct Place {
    /// The place itself, opened with `O_PATH`.
    pub handle: OwnedFd,
    /// Its path without symbolic links.
    pub path: PathBuf,
    /// The number of the mount that it is in: of the topmost one, where several lie on each other.
    pub mount_id: u64,
}

impl Place {
    /// Finds `path`. Works at a mount whose daemon is gone, too, where `stat` and `realpath` fail.
    pub fn find(path: &Path) -> io::Result<Self> {
        let handle = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let number = handle.as_raw_fd();
        let path = fs::read_link(format!("/proc/self/fd/{number}"))?;
        let facts = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
        let mount_id = facts
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
            .ok_or_else(|| io::Error::other("/proc/self/fdinfo names no mount"))?;
        Ok(Self { handle, path, mount_id })
    }

    /// The mount whose root this place is, if it is the root of one.
    pub fn mount(&self) -> io::Result<Option<MountEntry>> {
        let mut entries = read()?.into_iter();
        Ok(entries.find(|entry| entry.id == self.mount_id && entry.mountpoint == self.path))
    }

    /// The mount that this place is in, wherever in it.
    pub fn surrounding(&self) -> io::Result<Option<MountEntry>> {
        Ok(read()?.into_iter().find(|entry| entry.id == self.mount_id))
    }
}

/// How a mount answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its daemon is there.
    Alive,
    /// Its daemon is gone: "Transport endpoint is not connected".
    Stale,
    /// Nothing came within the time given.
    Silent,
}

/// Asks the file system at `path` for a sign of life. `statfs` always goes to the daemon, where
/// `stat` may be answered by the kernel for one that died a moment ago.
pub fn probe(path: &Path, patience: Duration) -> Answer {
    let (sender, receiver) = mpsc::channel();
    let path = path.to_owned();
    // The thread outlives the deadline when the mount hangs; nothing waits for it.
    thread::spawn(move || sender.send(rustix::fs::statfs(path.as_path()).err()).ok());
    match receiver.recv_timeout(patience) {
        Ok(Some(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED)) => Answer::Stale,
        Ok(_) => Answer::Alive,
        Err(_) => Answer::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_line_is_read_whatever_its_names_hold() {
        let text = br"22 27 0:21 / /proc rw,relatime - proc proc rw
77 27 0:55 / /mnt/a\040b\134c rw,nosuid,nodev shared:3 master:1 - fuse.regfs /srv/x,y\011z rw,user_id=0,group_id=0
not a line
";
        let entries = parse(text);
        assert_eq!(entries.len(), 2);
        let ours = &entries[1];
        assert!(ours.is_regfs() && !entries[0].is_regfs());
        assert_eq!((ours.id, ours.parent, ours.device.as_str()), (77, 27, "0:55"));
        assert_eq!(ours.mountpoint, Path::new("/mnt/a b\\c"));
        assert_eq!(ours.source, OsStr::new("/srv/x,y\tz"));
        assert_eq!(ours.options, ["rw", "nosuid", "nodev", "user_id=0", "group_id=0"]);
    }

    #[test]
    fn an_escape_that_is_none_stays() {
        assert_eq!(unescape(br"a\1"), OsStr::new(r"a\1"));
        assert_eq!(unescape(br"a\999"), OsStr::new(r"a\999"));
        assert_eq!(unescape(br"\"), OsStr::new(r"\"));
        assert_eq!(unescape(br"\777"), OsStr::new(r"\777"));
    }

    #[test]
    fn a_place_knows_its_mount() {
        let proc = Place::find(Path::new("/proc/")).unwrap();
        assert_eq!(proc.mount().unwrap().unwrap().kind, "proc");
        let below = Place::find(Path::new("/proc/sys")).unwrap();
        assert_eq!(below.mount().unwrap(), None);
        assert_eq!(below.surrounding().unwrap().unwrap().mountpoint, Path::new("/proc"));
        assert_eq!(probe(Path::new("/proc"), Duration::from_secs(5)), Answer::Alive);
    }
}
