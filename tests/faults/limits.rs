//! A daemon that may not have more files open, more threads, or more memory.

use super::{
    common::{
        self, Mount, Strace, digest_of, is_running, needs, noise, reliability_row, run_in,
        session_with, try_in,
    },
    state::{look, verify},
};
use std::fs;

/// Opens as many uploads as it may, looks at what it cannot any more, and closes them.
const OPEN_MANY: &str = "import os
files, refused = [], set()
for number in range(100):
    try:
        file = os.open(f'a/uploads/{number}', os.O_WRONLY | os.O_CREAT)
        files.append(file)
        os.write(file, b'hello')
    except OSError as error: refused.add(error.strerror)
try: os.listdir('a/layers')
except OSError as error: refused.add(error.strerror)
for file in files: os.close(file)
print(len(files) > 3, len(files) < 100, *refused)
";

#[test]
fn a_daemon_without_descriptors_refuses_and_goes_on_when_files_are_closed() {
    needs!("fuse", "python3", "prlimit");
    let mut mount = Mount::unmounted();
    mount.mount_by("prlimit --nofile=60:60 regfs mount", &[]);
    let bytes = noise(1, 100_000);
    fs::write(mount.beside().join("file"), &bytes).unwrap();
    fs::write(mount.beside().join("many.py"), OPEN_MANY).unwrap();
    session_with(
        &mount,
        &[("DIGEST", &digest_of(&bytes))],
        "
        $ mkdir a
        $ python3 ../many.py
        True True Too many open files
        $ cat a/uploads/0; echo
        hello
        $ rm a/uploads/*
        $ cp ../file a/uploads/x && mv a/uploads/x a/layers/$DIGEST
        $ cmp ../file a/layers/$DIGEST
        $ ls a/uploads
        ",
    );
    mount.assert_error(&["create a/uploads", "EMFILE", "ulimit -n"]);
    assert!(is_running(mount.pid()));
    verify(mount.store()).unwrap();
    reliability_row(
        "a daemon that may open 60 files, asked for 100",
        1,
        "refused with EMFILE; all as before when some were closed",
        "cargo test --release --test faults descriptors",
    );
}

#[test]
fn a_daemon_that_gets_no_thread_does_the_work_with_those_it_has() {
    needs!("fuse", "root", "strace");
    let mount = Mount::empty();
    let bytes = noise(1, 3 << 20);
    fs::write(mount.beside().join("file"), &bytes).unwrap();
    let refuse = ["-e".to_owned(), "inject=clone,clone3:error=EAGAIN".to_owned()];
    let strace = Strace::attach(mount.pid(), &refuse, &mount.beside().join("trace"));
    session_with(
        &mount,
        &[("DIGEST", &digest_of(&bytes))],
        "
        $ mkdir a
        $ cp ../file a/uploads/x && mv a/uploads/x a/layers/$DIGEST
        $ cmp ../file a/layers/$DIGEST
        $ rm a/layers/$DIGEST
        ",
    );
    strace.detach();
    let trace = fs::read_to_string(mount.beside().join("trace")).unwrap();
    assert!(trace.contains("(INJECTED)"), "it asks for a thread");
    session_with(
        &mount,
        &[("DIGEST", &digest_of(&bytes))],
        "
        $ cp ../file a/layers/$DIGEST
        $ cmp ../file a/layers/$DIGEST
        ",
    );
}

/// Memory that is refused ends a program in Rust. That is like any other kill.
#[test]
fn a_daemon_without_memory_harms_nothing() {
    needs!("fuse", "prlimit");
    let mut ends = 0u64;
    let rooms = [0, 1, 2, 4, 8, 16];
    for room in rooms {
        let mut mount = Mount::unmounted();
        mount.mount_by("regfs mount --threads 2", &[]);
        let layer = mount.push_layer("a", &noise(1, 3000));
        run_in(mount.path(), "printf hello > a/uploads/x; sync a/uploads/x");
        let before = look(mount.path());
        let pid = mount.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        let limit = (size << 10) + (room << 20);
        run_in(mount.beside(), &format!("prlimit --pid {pid} --as={limit}:"));
        let work = "for n in $(seq 60); do
                (head -c 4000000 /dev/zero; sleep 0.3) > a/manifests/t$n &
            done; wait; head -c 9000000 /dev/zero > a/uploads/big; ls -R . > /dev/null";
        try_in(mount.path(), &[("LAYER", &layer)], work);
        if is_running(pid) {
            run_in(mount.beside(), &format!("prlimit --pid {pid} --as=unlimited:"));
        } else {
            ends += 1;
            mount.kill_daemon();
            mount.mount(&[]);
        }
        run_in(mount.path(), "rm -f a/uploads/big");
        assert_eq!(look(mount.path()), before, "with {room} MiB");
        verify(mount.store()).unwrap();
    }
    eprintln!("{ends} of {} daemons ended", rooms.len());
    reliability_row(
        "a daemon that may have hardly more memory than it has",
        rooms.len() as u64,
        &format!("nothing harmed, the same when mounted again; it ended {ends} times"),
        "cargo test --release --test faults memory",
    );
}
