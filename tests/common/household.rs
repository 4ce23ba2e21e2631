//! A machine as its users see it: two of them, a `/dev/fuse` for everybody, `/home`, and files in
//! `/etc` that a test may write; all of that in a mount namespace that nobody else sees.

use super::process::{Background, finish, run};
use super::session::session_by;
use super::{eventually, scratch};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// The namespace, for as long as this lives. Its users are `root`, `alice` and `bob`; alice is in the
/// group `team`, too. Their programs are those of the machine, and `regfs`.
pub(crate) struct Household {
    holder: Background,
    folder: tempfile::TempDir,
}

/// Numbers that no Debian gives to anybody by itself.
const ACCOUNTS: [(&str, u32); 2] = [("alice", 64_711), ("bob", 64_712)];
const TEAM: u32 = 64_713;

/// Run by root in the new namespace, in a folder of its own. What else is mounted with regfs is of
/// other tests: a copy of it would outlive them here.
const SET_UP: &str = r#"
    set -e
    findmnt -rno TARGET -t fuse.regfs | while read -r other; do umount -l "$other" || :; done
    mkdir -p home/bin etc dev
    mount -t tmpfs -o mode=755 tmpfs dev
    mknod -m 666 dev/fuse c 10 229
    mount --bind dev/fuse /dev/fuse
    for file in passwd group fuse.conf fstab; do
        [ -e /etc/$file ] || continue
        cp /etc/$file etc/$file; chmod 644 etc/$file; mount --bind etc/$file /etc/$file
    done
    : > /etc/fuse.conf
    : > /etc/fstab
    echo "$ACCOUNTS" | while read -r name number; do
        echo "$name:x:$number:$number::/home/$name:/bin/sh" >> /etc/passwd
        echo "$name:x:$number:" >> /etc/group
    done
    echo "team:x:$TEAM:alice" >> /etc/group
    chmod 755 home home/bin
    install -m 755 "$REGFS" home/bin/regfs
    mount --bind home /home
    for name in alice bob root; do
        mkdir -m 755 /home/$name; chown $name:$name /home/$name
    done
    : > ready
    exec sleep 600
"#;

impl Household {
    /// A new one.
    pub(crate) fn new() -> Self {
        let folder = scratch();
        let accounts: Vec<String> =
            ACCOUNTS.iter().map(|(name, number)| format!("{name} {number}")).collect();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", SET_UP])
            .current_dir(folder.path())
            .env("REGFS", env!("CARGO_BIN_EXE_regfs"))
            .env("ACCOUNTS", accounts.join("\n"))
            .env("TEAM", TEAM.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut holder = Background::start(&mut command);
        let ready = folder.path().join("ready");
        eventually(Duration::from_secs(20), "the namespace is made", || {
            if holder.0.try_wait().unwrap().is_some() {
                panic!("{}", fs::read_to_string(folder.path().join("log")).unwrap());
            }
            ready.exists()
        });
        Self { holder, folder }
    }

    /// A new one in which mount(8) knows regfs, and an fstab. mount(8) looks for its helpers in
    /// `/sbin` only, so that is another one here: with all that it had, and the link.
    pub(crate) fn with_fstab(fstab: &str) -> Self {
        let household = Self::new();
        household.run(
            "root",
            "sbin=$(realpath /sbin); mkdir .sbin; mount --bind $sbin .sbin
             mount -t tmpfs -o mode=755 tmpfs $sbin; ln -s /home/root/.sbin/* $sbin/
             ln -s /home/bin/regfs $sbin/mount.regfs",
        );
        household.run("root", &format!("cat > /etc/fstab <<'END'\n{fstab}\nEND"));
        household
    }

    /// Runs a session as a user, in that user's home.
    #[track_caller]
    pub(crate) fn session(&self, user: &str, variables: &[(&str, &str)], text: &str) {
        let run = |command: &str, folder: &Path| self.shell(user, folder, command);
        session_by(&run, &home(user), variables, text);
    }

    /// Runs a command as a user, in that user's home; it must succeed. Gives what it prints.
    #[track_caller]
    pub(crate) fn run(&self, user: &str, command: &str) -> String {
        run(&mut self.shell(user, &home(user), command))
    }

    /// As `run`, for a command that may fail, and may take as long as `patience`.
    #[track_caller]
    pub(crate) fn try_within(&self, patience: Duration, user: &str, command: &str) -> String {
        finish(&mut self.shell(user, &home(user), command), patience).1
    }

    /// A command of a user in a folder. Variables that are set on it reach the command.
    pub(crate) fn shell(&self, user: &str, folder: &Path, command: &str) -> Command {
        let mut shell = Command::new("nsenter");
        shell
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.0.id()))
            .args(["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--", "sh", "-c"])
            .arg(r#"cd "$1" && exec sh -c "$2""#)
            .args(["sh".as_ref(), folder.as_os_str(), command.as_ref()])
            .env_clear()
            .env("HOME", home(user))
            .env("USER", user)
            .env("PATH", "/home/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        shell
    }

    /// The user's home, seen from outside: what is mounted on it is not.
    pub(crate) fn home_outside(&self, user: &str) -> PathBuf {
        self.folder.path().join("home").join(user)
    }

    /// Every process in the namespace but the one that holds it.
    fn inhabitants(&self) -> Vec<Pid> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let holder = self.holder.0.id().to_string();
        let Some(ours) = namespace(&holder) else { return Vec::new() };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| *name != holder && namespace(name).as_ref() == Some(&ours))
            .filter_map(|name| Pid::from_raw(name.parse().ok()?))
            .collect()
    }
}

impl Drop for Household {
    fn drop(&mut self) {
        // A session that failed may have left its mount; nothing may wait for it.
        let unmount =
            "findmnt -rno TARGET -t fuse.regfs | while read -r it; do umount -l $it; done";
        finish(&mut self.shell("root", Path::new("/"), unmount), Duration::from_secs(20));
        for pid in self.inhabitants() {
            kill_process(pid, Signal::KILL).ok();
        }
        self.holder.0.kill().ok();
        self.holder.0.wait().ok();
    }
}

fn home(user: &str) -> PathBuf {
    Path::new("/home").join(user)
}
