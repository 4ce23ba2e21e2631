//! The command line as typed: what there is, its help with examples, and which part does it.

mod gc;
mod output;
mod owner;
mod remount;
mod status;
mod umount;
mod verify;

use crate::config::{self, ConfigError, MountConfig, MountOptions};
use crate::daemon;
use anyhow::Result;
use clap::{ArgAction, Args, Parser, Subcommand};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Names under which mount(8) starts this program for `-t regfs` and `-t fuse.regfs`.
const HELPER_NAMES: [&str; 2] = ["mount.regfs", "mount.fuse.regfs"];

const HELP: &str = "\
Examples:
  regfs mount /srv/registry /mnt        mount a registry; a new one is made if there is none
  ls /mnt/library/alpine/manifests      its tags
  cat /mnt/library/alpine/manifests/3.19
  cp layer.tar.gz /mnt/library/alpine/layers/sha256:4c0d…
  regfs status                          what is mounted
  regfs umount /mnt
  regfs verify /srv/registry            check every blob and link

Exit codes: 0 done; 1 failed, the message says why and what to do; 2 wrong usage.";

const HELP_MOUNT: &str = "\
Examples:
  regfs mount /srv/registry /mnt                   as yourself, for yourself
  regfs mount -o ro,allow_other /srv/registry /mnt     for all users, to read only
  regfs mount -o uid=alice,umask=027 /srv/registry /mnt    shown as alice's
  regfs mount -f -v /srv/registry /mnt             in the foreground, with a log
  regfs mount --log /var/log/regfs.log /srv/registry /mnt
  regfs mount --gc-interval 1d /srv/registry /mnt      removes each day what nobody refers to

In /etc/fstab, with a link /sbin/mount.regfs to this program:
  /srv/registry  /mnt  regfs  allow_other,_netdev  0 0

Mount options:
  ro, rw          read only; read and write (the default)
  allow_other     let other users in (a user who is not root needs user_allow_other in
                  /etc/fuse.conf)
  relaxed         take manifests whose layers are not there yet
  uid=, gid=      show everything as owned by this user, group: a number or a name
  umask=          take these permission bits from everything, in octal
  gc_interval=    after each such time (12h, 1d) remove what nobody refers to, as regfs gc does;
                  what has changed within gc_grace= (1d) stays
  exec, noexec, atime, noatime, nodiratime, relatime, sync, dirsync, nosymfollow
                  as in mount(8); nodev, nosuid and default_permissions always hold
What fstab may hold for others (noauto, user, nofail, _netdev, x-…) is passed over.

The command returns when the mount answers. From then on the daemon's log goes to the file that
--log names, or nowhere; refused operations are in MOUNTPOINT/.regfs/errors, each with its reason
and what to do. SIGTERM unmounts. RUST_LOG chooses what is logged, as in RUST_LOG=regfs=debug.

Exit codes: 0 mounted; 1 failed; 2 wrong usage.";

const HELP_UMOUNT: &str = "\
Examples:
  regfs umount /mnt
  regfs umount --lazy /mnt      although files on it are open, or its daemon hangs

It waits until the daemon has ended, so that the store is at rest when it returns.

Exit codes: 0 unmounted; 1 failed, for example because it is in use; 2 wrong usage.";

const HELP_STATUS: &str = "\
Examples:
  regfs status                  all regfs mounts
  regfs status /mnt             one of them, in detail
  regfs status .                the one that this folder is in
  regfs status --json /mnt | jq .pid

Exit codes: 0 done; 1 failed, for example because the mount's daemon is gone; 2 wrong usage.";

/// Mount a container registry as files: ls lists tags, cp pulls and pushes layers, mv finishes
/// uploads, ln tags.
#[derive(Parser, Debug)]
#[command(name = "regfs", version, after_help = HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Mount a registry
    #[command(after_help = HELP_MOUNT)]
    Mount(MountArgs),
    /// Unmount a registry
    #[command(visible_alias = "unmount", after_help = HELP_UMOUNT)]
    Umount(UmountArgs),
    /// Show what is mounted, and how it fares
    #[command(after_help = HELP_STATUS)]
    Status(StatusArgs),
    /// Remove what no repository refers to
    #[command(after_help = gc::HELP)]
    Gc(gc::GcArgs),
    /// Check a registry: every blob against its digest, every link against its target
    #[command(after_help = verify::HELP)]
    Verify(verify::VerifyArgs),
}

#[derive(Args, Debug)]
struct MountArgs {
    /// The folder of the registry, in the layout of docker-registry; made if it is new, in one that is
    /// there
    source: PathBuf,
    /// The folder to mount it on
    mountpoint: PathBuf,
    /// Mount options, separated by commas
    #[arg(short = 'o', value_name = "OPTIONS", action = ArgAction::Append)]
    options: Vec<String>,
    /// Remove what nobody refers to after each such time, as regfs gc does (-o gc_interval=)
    #[arg(long, value_name = "TIME")]
    gc_interval: Option<String>,
    /// Stay in the foreground, with the log on stderr
    #[arg(short, long)]
    foreground: bool,
    /// Append the log to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Log more; twice for everything that is asked
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// How many threads serve requests
    #[arg(long, hide = true, default_value_t = config::THREADS_DEFAULT, value_parser = threads)]
    threads: usize,
}

#[derive(Args, Debug)]
struct UmountArgs {
    /// Where it is mounted
    mountpoint: PathBuf,
    /// Take it away at once, also when it is in use; who has files open keeps them until then
    #[arg(short, long)]
    lazy: bool,
}

#[derive(Args, Debug)]
struct StatusArgs {
    /// Where it is mounted, or any place in the mount; all mounts if left out
    mountpoint: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What mount(8) calls: `mount.regfs SOURCE MOUNTPOINT [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.
#[derive(Parser, Debug)]
#[command(name = "mount.regfs", version, about = "Mount a registry, for mount(8) and fstab")]
struct HelperArgs {
    source: PathBuf,
    mountpoint: PathBuf,
    /// Mount options, separated by commas
    #[arg(short = 'o', value_name = "OPTIONS", action = ArgAction::Append)]
    options: Vec<String>,
    /// Pass over unknown options
    #[arg(short = 's')]
    sloppy: bool,
    /// Only check
    #[arg(short = 'f')]
    fake: bool,
    /// Do not write /etc/mtab; nothing does
    #[arg(short = 'n')]
    no_mtab: bool,
    /// Log more
    #[arg(short = 'v', action = ArgAction::Count)]
    verbose: u8,
    /// The type, which is known
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<String>,
}

/// What went wrong, as it may be shown on a terminal.
pub fn shown(error: &anyhow::Error) -> String {
    output::plain(&daemon::explain(error))
}

/// Runs what `args` ask for, and gives the exit code.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let name = args.first().and_then(|name| Path::new(name).file_name());
    let is_helper = HELPER_NAMES.iter().any(|helper| name == Some(OsStr::new(helper)));
    if is_helper {
        return parsed(HelperArgs::try_parse_from(args), |args| done(mount_as_helper(args)));
    }
    parsed(Cli::try_parse_from(args), |cli| match cli.command {
        Command::Mount(args) => done(mount(args)),
        Command::Umount(args) => done(umount::run(&args.mountpoint, args.lazy)),
        Command::Status(args) => done(status::run(args.mountpoint.as_deref(), args.json)),
        Command::Gc(args) => gc::run(&args),
        Command::Verify(args) => verify::run(&args),
    })
}

/// clap prints its own errors, and help, and knows their exit codes: 2 and 0.
fn parsed<T>(
    outcome: clap::error::Result<T>, run: impl FnOnce(T) -> Result<ExitCode>,
) -> Result<ExitCode> {
    match outcome {
        Ok(args) => run(args),
        Err(error) => {
            error.print()?;
            Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)))
        }
    }
}

/// The exit code of what has none of its own.
fn done(outcome: Result<()>) -> Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
}

fn mount(args: MountArgs) -> Result<()> {
    let mut lists = args.options;
    lists.extend(args.gc_interval.map(|interval| format!("gc_interval={interval}")));
    let options = MountOptions::parse(&lists, false)?;
    if options.remount {
        return remount::run(&whole(&args.mountpoint)?, &options);
    }
    let config = MountConfig {
        store: config::store(&args.source)?,
        mountpoint: whole(&args.mountpoint)?,
        options,
        foreground: args.foreground,
        log: args.log,
        threads: args.threads,
        fake: false,
    };
    daemon::mount(config, args.verbose)
}

fn mount_as_helper(args: HelperArgs) -> Result<()> {
    let options = MountOptions::parse(&args.options, args.sloppy)?;
    if options.remount && args.fake {
        return umount::find(&args.mountpoint).map(drop);
    }
    if options.remount {
        return remount::run(&whole(&args.mountpoint)?, &options);
    }
    let config = MountConfig {
        store: config::store(&args.source)?,
        mountpoint: whole(&args.mountpoint)?,
        options,
        foreground: false,
        log: None,
        threads: config::THREADS_DEFAULT,
        fake: args.fake,
    };
    daemon::mount(config, args.verbose)
}

/// From the root, as the daemon has no working folder. Links stay: at a dead mount nothing can be
/// resolved.
fn whole(mountpoint: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(mountpoint).map_err(|error| ConfigError::path(mountpoint, &error))
}

fn threads(text: &str) -> Result<usize, String> {
    let max = config::THREADS_MAX;
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("a number from 1 to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn cli(line: &str) -> clap::error::Result<Cli> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_lines_hold_together() {
        Cli::command().debug_assert();
        HelperArgs::command().debug_assert();
    }

    #[test]
    fn every_example_of_the_help_is_understood() {
        let examples =
            [HELP, HELP_MOUNT, HELP_UMOUNT, HELP_STATUS, gc::HELP, verify::HELP].join("\n");
        let mut count = 0;
        for line in examples.lines().filter_map(|line| line.strip_prefix("  ")) {
            let command = line.split("    ").next().unwrap().split(" | ").next().unwrap();
            if command.starts_with("regfs ") {
                let words = shell_words(command.trim());
                let parsed =
                    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                if let Command::Mount(args) = parsed.command {
                    MountOptions::parse(&args.options, true).ok();
                }
                count += 1;
            }
        }
        assert!(count >= 18, "{count} examples");
    }

    /// The words of a command as a shell takes them: what is quoted is one.
    fn shell_words(command: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut is_quoted = false;
        for character in command.chars() {
            match character {
                '\'' => is_quoted = !is_quoted,
                ' ' if !is_quoted => words.push(String::new()),
                other => words.last_mut().unwrap().push(other),
            }
        }
        words
    }

    #[test]
    fn options_may_come_before_and_after() {
        let Command::Mount(args) =
            cli("regfs mount -o ro src at -o uid=1,gid=2 -f").unwrap().command
        else {
            panic!("it is a mount")
        };
        assert_eq!(args.options, ["ro", "uid=1,gid=2"]);
        assert!(args.foreground);
        assert_eq!((args.source, args.mountpoint), ("src".into(), "at".into()));
        assert!(cli("regfs mount --threads 0 src at").is_err());
        assert!(cli("regfs mount src").is_err());
    }

    #[test]
    fn the_order_of_mount_8_is_understood() {
        let line = "mount.regfs /srv/registry /mnt -sfnv -o rw,noatime -t fuse.regfs";
        let args = HelperArgs::try_parse_from(line.split(' ')).unwrap();
        assert!(args.sloppy && args.fake && args.no_mtab && args.verbose == 1);
        assert_eq!(args.options, ["rw,noatime"]);
    }
}
