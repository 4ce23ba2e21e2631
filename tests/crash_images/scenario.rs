//! What is done to a store while its daemon is watched: step by step, each acknowledged before the next.

use super::{
    common::{Mount, digest_of, eventually, is_running, manifest_of, noise, run_in, try_in},
    recording::{CALLS, Op, SHOW, operations},
    state::{State, look},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, time::Duration};

/// A step, as a shell command in the mount, and what survives a power cut once it was acknowledged.
pub(crate) struct Step {
    command: &'static str,
    pub(crate) durable: Durable,
}

/// What was synced.
#[derive(Clone, Copy)]
pub(crate) enum Durable {
    Nothing,
    /// This name.
    Name(&'static str),
    Everything,
}

use Durable::{Everything, Name, Nothing};

/// Everything that a person does to a store.
pub(crate) const LIFE: &[Step] = &[
    step("mkdir a b", Nothing),
    step("cp ../base a/layers/$BASE", Nothing),
    step("cp ../new a/uploads/part", Nothing),
    step("sync a/uploads/part", Name("a/uploads/part")),
    step("mv a/uploads/part a/layers/$NEW", Nothing),
    step("sync .", Everything),
    step("cp ../spare a/layers/$SPARE", Nothing),
    step("cp ../old.json a/manifests/old; cp ../old.json a/manifests/moves", Nothing),
    step("cp ../other.json a/manifests/other", Nothing),
    step("sync a/manifests", Everything),
    step("cp ../other.json a/manifests/moves", Nothing),
    step("ln -f a/manifests/old a/manifests/moves", Nothing),
    step("mv a/manifests/moves a/manifests/moved", Nothing),
    step("ln a/layers/$BASE b/layers/; cp a/layers/$NEW b/layers/$NEW", Nothing),
    step("head -c 30000 ../new > a/uploads/up", Nothing),
    step("mv a/uploads/up a/uploads/on", Nothing),
    step("tail -c +30001 ../new >> a/uploads/on && sync a/uploads/on", Name("a/uploads/on")),
    step("truncate -s 100 a/uploads/on; rm a/uploads/on", Nothing),
    step("rm a/manifests/moved a/layers/$SPARE", Nothing),
    step("rm a/manifests/$OTHER", Nothing),
    step("sync .", Everything),
    step("mv b c", Nothing),
    step("rm -r c", Nothing),
    step("sleep 1.1; $GC", Nothing),
    step("cp ../spare a/layers/$SPARE", Nothing),
    step("sync a/layers", Everything),
];

/// An upload that is long enough that the state of its hash is kept, and then becomes another.
pub(crate) const LONG: &[Step] = &[
    step("mkdir a && sync .", Everything),
    step("cp ../long a/uploads/up && sync a/uploads/up", Name("a/uploads/up")),
    step("sleep 0.5; printf other | dd of=a/uploads/up conv=notrunc status=none", Nothing),
    step("head -c 5 ../long | dd of=a/uploads/up conv=notrunc status=none", Nothing),
    step("sleep 0.5; truncate -s 1000000 a/uploads/up", Nothing),
    step("cp ../long a/uploads/up && mv a/uploads/up a/layers/$LONG", Nothing),
];

/// All of it, and nothing to wait for; itself watched, since it changes the store.
const GC: &str = "regfs gc --grace 0s --uploads-older-than 0s $STORE";

const fn step(command: &'static str, durable: Durable) -> Step {
    Step { command, durable }
}

/// What was recorded.
pub(crate) struct Recording {
    pub(crate) ops: Vec<Op>,
    /// What was seen before the first step and after each.
    pub(crate) states: Vec<State>,
}

/// The files beside the mount, each with the name of its digest.
pub(crate) fn files() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let base = noise(1, 3000);
    let digest = digest_of(&base);
    let manifest = |layers: usize| {
        manifest_of((&digest, base.len()), &vec![(digest.as_str(), base.len()); layers])
            .into_bytes()
    };
    vec![
        ("OLD", "old.json", manifest(1)),
        ("OTHER", "other.json", manifest(2)),
        ("NEW", "new", noise(2, 50_000)),
        ("SPARE", "spare", noise(3, 5000)),
        ("LONG", "long", noise(4, (4 << 20) + 5000)),
        ("BASE", "base", base),
    ]
}

/// Makes a store, does all steps, and records from the beginning what happens on the disk.
pub(crate) fn record(steps: &[Step]) -> Recording {
    let mut mount = Mount::unmounted();
    let trace = mount.beside().join("trace");
    let strace = format!("strace -D -I 2 {SHOW} -o {} -e trace={CALLS}", trace.display());
    mount.mount_by(&format!("{strace} regfs mount --threads 1"), &[]);
    let gc_trace = mount.beside().join("gc");
    let gc = format!("strace {SHOW} -o {} -e trace={CALLS} {GC}", gc_trace.display());
    let mut variables = Vec::new();
    for (variable, name, bytes) in files() {
        fs::write(mount.beside().join(name), &bytes).unwrap();
        variables.push((variable, digest_of(&bytes)));
    }
    variables.push(("STORE", mount.store().display().to_string()));
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let mut states = vec![look(mount.path())];
    let mut collected = None;
    run_in(mount.path(), "stat mark-0 2> /dev/null || true");
    for (number, step) in steps.iter().enumerate() {
        let command = step.command.replace("$GC", &gc);
        let (code, text) = try_in(mount.path(), &variables, &command);
        assert_eq!(code, Some(0), "{command}\n{text}");
        if gc_trace.exists() && collected.is_none() {
            collected = Some(number);
        }
        // What goes on in the background belongs to it.
        std::thread::sleep(Duration::from_millis(100));
        states.push(look(mount.path()));
        run_in(mount.path(), &format!("stat mark-{} 2> /dev/null || true", number + 1));
    }
    // strace may wait for ever for a daemon that ends.
    end_tracer(mount.pid());
    let store = mount.store().to_owned();
    mount.unmount();
    let mut ops = operations(&fs::read_to_string(&trace).unwrap(), &store);
    if let Some(step) = collected {
        let at = ops.iter().position(|op| *op == Op::Mark(step + 1)).unwrap();
        let gc_ops = operations(&fs::read_to_string(gc_trace).unwrap(), &store);
        ops.splice(at..at, gc_ops);
    }
    let marks = ops.iter().filter(|op| matches!(op, Op::Mark(_))).count();
    assert_eq!(marks, steps.len() + 1, "every step is in the recording");
    Recording { ops, states }
}

/// Ends the strace of a process that goes on, and waits until it has written all.
fn end_tracer(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:\t")).unwrap();
    let tracer: i32 = tracer.parse().unwrap();
    kill_process(Pid::from_raw(tracer).unwrap(), Signal::TERM).unwrap();
    let tracer = u32::try_from(tracer).unwrap();
    eventually(Duration::from_secs(20), "strace has written all", || !is_running(tracer));
}
