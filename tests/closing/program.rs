//! Programs that print what each call said.

use crate::common::{Mount, run_in};
use std::fs;

/// What every program has: `attempt` prints `WHAT ok` or `WHAT ERRNO`, `layer` is the name that
/// content has, `show` what a name holds, and `Map` a shared memory map without a descriptor of its
/// own, as C programs have it.
const PRELUDE: &str = r#"
import ctypes, errno, hashlib, os, signal, subprocess, sys, time

def layer(content, repository='a'):
    return f'{repository}/layers/sha256:' + hashlib.sha256(content).hexdigest()

def attempt(what, call, *arguments):
    try:
        result = call(*arguments)
        print(what, 'ok')
        return result
    except OSError as error:
        print(what, errno.errorcode[error.errno])

def show(path):
    try:
        with open(path, 'rb') as file:
            print('there:', file.read().rstrip(b'\0').decode())
    except OSError as error:
        print('not there:', errno.errorcode[error.errno])

def create(path, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
    return os.open(path, flags, 0o644)

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]

class Map:
    def __init__(self, descriptor, length):
        self.length = length
        self.at = libc.mmap(None, length, 3, 1, descriptor, 0)
        self.check(self.at == ctypes.c_void_p(-1).value)

    def check(self, failed):
        if failed:
            raise OSError(ctypes.get_errno(), 'refused')

    def write(self, content, offset=0):
        ctypes.memmove(self.at + offset, content, len(content))

    def sync(self):
        self.check(libc.msync(ctypes.c_void_p(self.at), ctypes.c_size_t(self.length), 4) != 0)

    def unmap(self):
        self.check(libc.munmap(ctypes.c_void_p(self.at), ctypes.c_size_t(self.length)) != 0)
"#;

/// Runs `program` in the mount, and compares what it prints, with what every `$NAME` stands for.
#[track_caller]
pub(crate) fn program(mount: &Mount, program: &str, expected: &str) {
    let file = mount.beside().join("program.py");
    fs::write(&file, PRELUDE.to_owned() + &unindented(program)).unwrap();
    let seen = run_in(mount.path(), &format!("python3 {}", file.display()));
    let lines = |text: &str| text.lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>();
    let expected: Vec<String> =
        lines(expected).into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines(&seen), expected, "\n{}\nprinted\n{seen}", unindented(program));
}

/// The text without the spaces that all its lines begin with.
fn unindented(text: &str) -> String {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let spaces = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines().map(|line| format!("{}\n", &line[spaces..])).collect()
}

/// A mount with an empty repository `a`.
pub(crate) fn mount() -> Mount {
    let mount = Mount::empty();
    fs::create_dir(mount.path().join("a")).unwrap();
    mount
}
