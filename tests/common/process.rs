//! Running a command so that a hung mount fails the test and does not hang it.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs::File,
    io::{Read as _, Seek as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long one command may take. Far more than any needs, far less than a person waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `command`, which must succeed within [`PATIENCE`], and gives what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let (status, text) = finish(command, PATIENCE);
    assert!(status.success(), "{command:?}: {status}\n{text}");
    text
}

/// Runs a shell command in a folder; it must succeed. For the parts of a test that are no session.
#[track_caller]
pub(crate) fn run_in(folder: &Path, command: &str) -> String {
    run(shell(command).current_dir(folder))
}

/// As [`run_in`], for a command that may take as long as `patience`.
#[track_caller]
pub(crate) fn run_within(patience: Duration, folder: &Path, command: &str) -> String {
    let (status, text) = finish(shell(command).current_dir(folder), patience);
    assert!(status.success(), "{command}: {status}\n{text}");
    text
}

/// Runs a shell command in a folder that may well fail: its exit code, and what it printed.
#[track_caller]
pub(crate) fn try_in(
    folder: &Path, variables: &[(&str, &str)], command: &str,
) -> (Option<i32>, String) {
    let mut shell = shell(command);
    let (status, text) =
        finish(shell.current_dir(folder).envs(variables.iter().copied()), PATIENCE);
    (status.code(), text)
}

/// A shell that runs `command` with the surroundings that every test has.
pub(super) fn shell(command: &str) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_regfs")).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(binary).chain(std::env::split_paths(&path));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env("PATH", std::env::join_paths(folders).unwrap())
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    shell
}

/// Runs `command` to its end; gives how it ended, and what it printed on both streams in the order
/// of printing. A command that takes longer than `patience` is killed, and the test fails.
#[track_caller]
pub(super) fn finish(command: &mut Command, patience: Duration) -> (ExitStatus, String) {
    // A file and not a pipe: a child that was left in the background does not keep us waiting.
    let mut output = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut child = spawn(command, &output);
    let Some(status) = wait(&mut child, patience) else {
        kill_with_children(&mut child);
        panic!("{command:?} did not end within {patience:?}\n{}", text_of(&mut output));
    };
    (status, text_of(&mut output))
}

fn spawn(command: &mut Command, output: &File) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output.try_clone().unwrap())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits for a child; `None` when it still runs after `patience`.
pub(super) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > patience {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Kills a child that [`finish`] started, and whatever it started itself. A process that waits
/// for a file system cannot die before the answer, so this does not wait for long.
fn kill_with_children(child: &mut Child) {
    if let Some(group) = Pid::from_raw(i32::try_from(child.id()).unwrap()) {
        kill_process_group(group, Signal::KILL).ok();
    }
    wait(child, Duration::from_secs(1));
}

fn text_of(output: &mut File) -> String {
    let mut bytes = Vec::new();
    output.rewind().unwrap();
    output.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a process exists and has not ended.
pub(crate) fn is_running(pid: u32) -> bool {
    // The state stands behind the last parenthesis: a program's name may have parentheses in it.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|line| line.rsplit(')').next()?.trim_start().chars().next())
        .is_some_and(|state| state != 'Z' && state != 'X')
}

/// Whether any process of a group still runs. One that has ended counts no more, though nobody may
/// have asked how it ended.
pub(crate) fn group_is_running(leader: u32) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok()).any(
        |line| {
            let mut fields = line.rsplit(')').next().unwrap_or_default().split_whitespace();
            let (state, group) = (fields.next(), fields.nth(1));
            group == Some(&leader.to_string()) && !matches!(state, Some("Z" | "X"))
        },
    )
}

/// A child that is ended with the test.
pub(crate) struct Background(pub(crate) Child);

impl Background {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

/// `cat >> FILE`, fed by the test through a pipe.
pub(crate) fn writer(file: &Path) -> Background {
    let file = File::options().create(true).append(true).open(file).unwrap();
    let mut cat = Command::new("cat");
    cat.stdin(Stdio::piped()).stdout(file).stderr(Stdio::null());
    Background::start(&mut cat)
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill().ok();
        // It may wait for a file system that does not answer, and the test is to end all the same.
        wait(&mut self.0, Duration::from_secs(5));
    }
}
