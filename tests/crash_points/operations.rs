//! Everything that a person does to a mount which changes the store, one after the other: each is tried
//! on a copy of the same store, which has something of everything.

use super::{
    common::{CHANGING, Mount, Strace, digest_of, manifest_of, noise, run_in, scratch, try_in},
    state::{State, look, names},
};
use std::{collections::BTreeMap, fs, path::Path, rc::Rc};

/// One thing that a person does, as shell commands in the mount. `$NEW`, `$BASE`, `$SPARE`, `$OLD` and
/// `$OTHER` are digests of the files `../new` and so on.
pub(crate) struct Operation {
    /// What it is.
    pub(crate) name: &'static str,
    /// What is done before, in peace.
    pub(crate) before: &'static str,
    /// What is done.
    pub(crate) run: &'static str,
    /// How it is brought to its end whatever came of it; `run` when nothing is said.
    pub(crate) again: &'static str,
}

const FINISH: &str =
    "[ ! -e a/uploads/part ] || mv a/uploads/part a/layers/$NEW; [ -e a/layers/$NEW ]";
const AFRESH: &str = "cp ../new a/uploads/part && mv a/uploads/part a/layers/$NEW";

/// All of them.
const OPERATIONS: [Operation; 22] = [
    simple("a new layer, with cp", "cp ../new a/layers/$NEW"),
    simple("an upload, with cp", "cp ../new a/uploads/new"),
    Operation {
        name: "a finished upload",
        before: "cp ../new a/uploads/part",
        run: "mv a/uploads/part a/layers/$NEW",
        again: FINISH,
    },
    simple("a layer by cp and mv", AFRESH),
    simple(
        "a layer in the way of rsync",
        "cp ../new a/layers/.new.x && mv a/layers/.new.x a/layers/$NEW",
    ),
    simple("a new tag, with cp", "cp ../other.json a/manifests/new"),
    simple("a new manifest", "cp ../third.json a/manifests/third"),
    simple("a manifest over a tag", "cp ../third.json a/manifests/moves"),
    simple("a manifest by digest", "cp ../third.json a/manifests/$THIRD"),
    Operation {
        name: "a tag, with ln -f",
        before: "",
        run: "ln -f a/manifests/other a/manifests/moves",
        // ln makes a name of its own first, and a killed one leaves that.
        again: "rm -f a/manifests/Cu*; [ a/manifests/other -ef a/manifests/moves ] ||
            ln -f a/manifests/other a/manifests/moves",
    },
    Operation {
        name: "a renamed tag",
        before: "",
        run: "mv a/manifests/moves a/manifests/moved",
        again: "[ ! -e a/manifests/moves ] || mv a/manifests/moves a/manifests/moved",
    },
    Operation {
        name: "a linked layer",
        before: "",
        run: "ln a/layers/$BASE b/layers/$BASE",
        again: "[ -e b/layers/$BASE ] || ln a/layers/$BASE b/layers/$BASE",
    },
    simple("a cancelled upload", "rm -f a/uploads/up"),
    simple("a removed layer", "rm -f a/layers/$SPARE"),
    simple("a removed tag", "rm -f a/manifests/moves"),
    simple("a removed manifest", "rm -f a/manifests/$OLD"),
    Operation {
        name: "an upload written over",
        before: "sleep 0.3",
        run: "dd if=../new of=a/uploads/up conv=notrunc bs=10k count=4 status=none",
        again: "dd if=../new of=a/uploads/up conv=notrunc bs=10k count=4 status=none",
    },
    simple(
        "an upload that is cut and goes on",
        "truncate -s 9999 a/uploads/up && tail -c +10000 ../new >> a/uploads/up",
    ),
    simple("a synced upload", "cp ../new a/uploads/new && sync a/uploads/new"),
    Operation {
        name: "a renamed upload",
        before: "",
        run: "mv a/uploads/up a/uploads/upon",
        again: "[ ! -e a/uploads/up ] || mv a/uploads/up a/uploads/upon",
    },
    simple("modes and times", "chmod 640 a/layers/$BASE a/manifests/old a/uploads/up"),
    Operation {
        name: "repositories",
        before: "mkdir e",
        run: "mkdir c && mv b d && rmdir e",
        again: "[ -e c ] || mkdir c; [ ! -e b ] || mv b d; [ ! -e e ] || rmdir e",
    },
];

const fn simple(name: &'static str, run: &'static str) -> Operation {
    Operation { name, before: "", run, again: run }
}

/// A point in an operation: the `when`-th time that a thread of the daemon makes the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) call: String,
    pub(crate) when: usize,
}

/// An operation with the store it is done to, and what it does when nothing goes wrong.
pub(crate) struct Scene {
    pub(crate) operation: &'static Operation,
    pub(crate) before: State,
    pub(crate) after: State,
    pub(crate) points: Vec<Point>,
    template: Rc<Template>,
}

/// A store to be copied.
struct Template {
    folder: tempfile::TempDir,
    state: State,
}

impl Template {
    /// Makes one by commands in a mount of `from`, or of a new store.
    fn new(from: Option<&Self>, command: &str) -> Rc<Self> {
        let mut mount = from.map_or_else(Mount::empty, Self::mount);
        write_files(mount.beside());
        let (code, text) = run_on(&mount, command);
        assert_eq!(code, Some(0), "{command}\n{text}");
        let state = look(mount.path());
        mount.unmount();
        let folder = scratch();
        run_in(folder.path(), &format!("cp -a {} store", mount.store().display()));
        Rc::new(Self { folder, state })
    }

    fn copy(&self, to: &Path) {
        run_in(self.folder.path(), &format!("cp -a store {}", to.display()));
    }

    /// Mounts a copy. One thread serves it, so that the same point is met again.
    fn mount(&self) -> Mount {
        let mut mount = Mount::unmounted();
        write_files(mount.beside());
        fs::remove_dir(mount.store()).unwrap();
        self.copy(mount.store());
        mount.mount_by("regfs mount --threads 1", &[]);
        mount
    }
}

/// All operations, each done once to see what it does.
pub(crate) fn scenes() -> Vec<Scene> {
    let base = Template::new(None, SET_UP);
    let scene = |operation: &'static Operation| match operation.before {
        "" => Scene::new(operation, Rc::clone(&base)),
        before => Scene::new(operation, Template::new(Some(&base), before)),
    };
    OPERATIONS.iter().map(scene).collect()
}

/// What lies in the store before every operation.
const SET_UP: &str = "mkdir a b && cp ../base a/layers/$BASE && cp ../spare a/layers/$SPARE &&
    cp ../old.json a/manifests/old && cp ../old.json a/manifests/moves &&
    cp ../other.json a/manifests/other && head -c 50000 ../new > a/uploads/up && sync .";

/// Digests of the files, by the names of the shell's variables.
pub(crate) fn variables() -> Vec<(&'static str, String)> {
    files().into_iter().map(|(variable, _, bytes)| (variable, digest_of(&bytes))).collect()
}

fn files() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let base = noise(1, 3000);
    let digest = digest_of(&base);
    let manifest = |layers: usize| {
        let layers = vec![(digest.as_str(), base.len()); layers];
        manifest_of((&digest, base.len()), &layers).into_bytes()
    };
    vec![
        ("OLD", "old.json", manifest(1)),
        ("OTHER", "other.json", manifest(2)),
        ("THIRD", "third.json", manifest(3)),
        ("NEW", "new", noise(2, 90_000)),
        ("SPARE", "spare", noise(3, 5000)),
        ("BASE", "base", base),
    ]
}

/// Writes the files beside a mount.
pub(crate) fn write_files(folder: &Path) {
    for (_, name, bytes) in files() {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Runs a command in the mount; gives its exit code, and what it printed.
pub(crate) fn run_on(mount: &Mount, command: &str) -> (Option<i32>, String) {
    let variables = variables();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    try_in(mount.path(), &variables, command)
}

impl Scene {
    fn new(operation: &'static Operation, template: Rc<Template>) -> Self {
        let mut mount = template.mount();
        let trace = mount.beside().join("trace");
        let arguments = ["-e".to_owned(), format!("trace={}", CHANGING.join(","))];
        let strace = Strace::attach(mount.pid(), &arguments, &trace);
        let (code, text) = run_on(&mount, operation.run);
        assert_eq!(code, Some(0), "{}\n{text}", operation.name);
        // What goes on in the background belongs to it.
        std::thread::sleep(std::time::Duration::from_millis(100));
        strace.detach();
        let points = points(&fs::read_to_string(trace).unwrap());
        let (before, after) = (template.state.clone(), look(mount.path()));
        mount.kill_daemon();
        Self { operation, before, after, points, template }
    }

    /// The store before the operation, mounted anew.
    pub(crate) fn mount(&self) -> Mount {
        self.template.mount()
    }

    /// Copies the store before the operation.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn copy_store(&self, to: &Path) {
        self.template.copy(to);
    }

    /// Brings the operation to its end, and says what is wrong then.
    pub(crate) fn finish(&self, mount: &Mount) -> Result<(), String> {
        let (code, text) = run_on(mount, self.operation.again);
        if code != Some(0) {
            return Err(format!("it cannot be done again: {code:?} {text}"));
        }
        let now = look(mount.path());
        match now == self.after {
            true => Ok(()),
            false => Err(format!("done again, it comes to something else:\n{}", names(&now))),
        }
    }
}

/// The points in what strace saw, in order: where something changes, each once for all threads.
pub(crate) fn points(trace: &str) -> Vec<Point> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut points = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !CHANGING.contains(&call) {
            continue;
        }
        let when = counts.entry((thread, call)).or_default();
        *when += 1;
        let point = Point { call: call.to_owned(), when: *when };
        let changes = call != "openat2" || arguments.contains("O_CREAT");
        if changes && !points.contains(&point) {
            points.push(point);
        }
    }
    points
}

/// Tries at most `count` of all `points`, and fails with all that went wrong; `try_out` gives nothing
/// where nothing happened. Gives how many were tried.
#[track_caller]
pub(crate) fn try_each<T>(
    points: Vec<T>, count: u64, place: impl Fn(&T) -> String,
    try_out: impl Fn(&T) -> Option<Result<(), String>>,
) -> u64 {
    let all = points.len();
    let (mut tried, mut failures) = (0, Vec::new());
    for point in spread(points, count) {
        let Some(outcome) = try_out(&point) else { continue };
        tried += 1;
        failures.extend(outcome.err().map(|text| format!("{}:\n{text}", place(&point))));
    }
    eprintln!("tried {tried} of {all}");
    assert!(failures.is_empty(), "{} of {tried}\n{}", failures.len(), failures.join("\n"));
    assert!(tried > 0, "nothing ever happened");
    tried
}

/// At most `count` of all `points`, spread evenly.
pub(crate) fn spread<T>(points: Vec<T>, count: u64) -> Vec<T> {
    let total = points.len() as u64;
    let is_taken = |index: u64| (index * count) / total != ((index + 1) * count) / total;
    let points = points.into_iter().enumerate();
    points.filter(|(index, _)| count >= total || is_taken(*index as u64)).map(|(_, p)| p).collect()
}
