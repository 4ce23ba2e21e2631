//! Many random programs, until the time is over; one that fails is made short and printed.

use super::aim::aimed;
use super::outcome::Outcome;
use super::peer::Peer;
use super::programs::{Kind, program};
use super::requests::foreign;
use super::shorter::{Failure, shorten};
use super::step::{Step, text_of};
use super::world::{Looks, Setting, World};
use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How long to go on, and with what.
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// How many groups of steps a program has at most.
    pub(crate) groups: usize,
    /// How long to begin new programs, unless REGFS_MODEL_SECONDS says otherwise.
    pub(crate) seconds: u64,
}

/// A step that takes longer hangs: its daemon is killed, and the program has failed.
const STEP_TIME_MAX: Duration = Duration::from_secs(180);

/// Runs random programs. REGFS_MODEL_SECONDS is for how long, REGFS_MODEL_CASES how many at most,
/// REGFS_MODEL_SEED with which to begin; REGFS_MODEL_PROGRAM is a file with one to run instead.
pub(crate) fn soak(setting: Setting<'_>, plan: &Plan) {
    let number = |name| {
        let text = std::env::var_os(name)?;
        Some(text.to_str().unwrap().parse::<u64>().unwrap())
    };
    let seconds = number("REGFS_MODEL_SECONDS").unwrap_or(plan.seconds);
    let cases = number("REGFS_MODEL_CASES").unwrap_or(u64::MAX);
    // A test run tells what a change has broken, so it runs the same programs each time; who soaks
    // looks for what nobody has seen.
    let is_soak = number("REGFS_MODEL_SECONDS").is_some();
    let first =
        number("REGFS_MODEL_SEED").unwrap_or_else(|| if is_soak { seed_of_now() } else { 1 });
    if let Some(file) = std::env::var_os("REGFS_MODEL_PROGRAM") {
        return check(setting, &std::fs::read_to_string(file).unwrap());
    }
    let mut spent = Duration::ZERO;
    let (mut steps, mut done) = (0, 0);
    while done < cases && spent < Duration::from_secs(seconds) {
        let seed = first.wrapping_add(done);
        let program = draw_program(plan.kind, plan.groups, seed);
        let program: Vec<Step> = program.into_iter().map(|(step, _)| step).collect();
        let setting = Setting { looks: Looks::Near, ..setting };
        let _alone = alone();
        let start = Instant::now();
        if let Err(failure) = run(setting, &program) {
            report(setting, plan, seed, program, failure);
        }
        spent += start.elapsed();
        steps += program.len();
        done += 1;
    }
    let per_second = steps as f64 / spent.as_secs_f64();
    eprintln!(
        "{:?}: {done} programs, {steps} steps, {per_second:.0} in a second, first seed {first}",
        plan.kind
    );
}

/// How often each kind of step succeeds in the model, and how often it is drawn, in many programs.
pub(crate) fn successes(kind: Kind, programs: u64) -> BTreeMap<String, (usize, usize)> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (step, outcome) in (0..programs).flat_map(|seed| draw_program(kind, 120, seed)) {
        let word = step.to_string().split(' ').next().unwrap().to_owned();
        let count = counts.entry(word).or_default();
        count.0 += usize::from(matches!(outcome, Outcome::Done | Outcome::Read(_)));
        count.1 += 1;
    }
    counts
}

/// Runs one program, which must not fail.
#[track_caller]
pub(crate) fn check(setting: Setting<'_>, program: &str) {
    let program = super::step::parse(program);
    let _alone = alone();
    if let Err(failure) = run(setting, &program) {
        panic!("\n{}\n{}", text_of(&program), failure.text);
    }
}

fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    // Short enough to be typed.
    now.as_micros() as u64 % 1_000_000_000
}

/// The program of a seed.
pub(super) fn draw_program(kind: Kind, groups: usize, seed: u64) -> Vec<(Step, Outcome)> {
    aimed(draw(program(kind, groups), seed), seed)
}

/// What a strategy gives for a seed.
fn draw<T>(strategy: impl Strategy<Value = T>, seed: u64) -> T {
    let bytes: Vec<u8> = seed.to_le_bytes().into_iter().cycle().take(32).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).unwrap().current()
}

/// Held by who has files open in a mount, or begins processes. A new process has every file open
/// until it runs its own program, and then closes them: that publishes what is written to them.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a program in a world of its own.
fn run(setting: Setting<'_>, program: &[Step]) -> Result<(), Failure> {
    let passed = Mutex::new((0, Instant::now(), Vec::new()));
    let done = Mutex::new(false);
    thread::scope(|scope| {
        scope.spawn(|| watch(&passed, &done));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(setting);
            // Once the registry serves this store.
            let pusher = setting.peer.zip(setting.foreign).map(|(peer, repository)| {
                let steps = draw(foreign(repository), program.len() as u64);
                scope.spawn(|| push(peer, steps, &done))
            });
            *passed.lock().unwrap() = (0, Instant::now(), world.pids());
            for step in program {
                world.step(step)?;
                let mut passed = passed.lock().unwrap();
                *passed = (passed.0 + 1, Instant::now(), world.pids());
            }
            *done.lock().unwrap() = true;
            if let Some(pusher) = pusher {
                world.follow(pusher.join().unwrap())?;
            }
            world.finish()
        }));
        *done.lock().unwrap() = true;
        let text = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(text)) => text,
            Err(panic) => format!("a panic: {}", text_of_panic(&*panic)),
        };
        let passed = passed.lock().unwrap_or_else(PoisonError::into_inner).0;
        let at = program.get(passed).map_or("the end".to_owned(), |step| format!("`{step}`"));
        Err(Failure { passed, text: format!("at {at}:\n{text}") })
    })
}

/// Asks a docker-registry for one thing after another, until it is enough.
fn push(peer: &Peer, steps: Vec<Step>, done: &Mutex<bool>) -> Vec<(Step, Outcome)> {
    let steps = steps.into_iter().cycle();
    steps
        .take_while(|_| !*done.lock().unwrap())
        .map(|step| {
            let outcome = peer.apply(&step);
            (step, outcome)
        })
        .collect()
}

/// Kills the daemons when no step has ended for too long, so that whoever waits for them goes on.
fn watch(passed: &Mutex<(usize, Instant, Vec<u32>)>, done: &Mutex<bool>) {
    const PAUSE: Duration = Duration::from_millis(50);
    while !*done.lock().unwrap() {
        let (_, since, pids) = passed.lock().unwrap().clone();
        if since.elapsed() > STEP_TIME_MAX {
            for pid in pids {
                eprintln!("process {pid} does not answer and is killed");
                kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).ok();
            }
            return;
        }
        thread::sleep(PAUSE);
    }
}

fn text_of_panic(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Fails, with the shortest program that was found to do so.
fn report(
    setting: Setting<'_>, plan: &Plan, seed: u64, mut program: Vec<Step>, failure: Failure,
) -> ! {
    let first = failure.text.clone();
    eprintln!("seed {seed} fails after {} steps, {first}\nmaking it shorter", failure.passed);
    program.truncate(failure.passed + 1);
    // With a look at everything after each step fewer steps are to blame, if it fails so, too.
    let thorough = Setting { looks: Looks::Everywhere, ..setting };
    let (setting, failure) = match run(thorough, &program) {
        Err(failure) => (thorough, failure),
        Ok(()) => (setting, failure),
    };
    program.truncate(failure.passed + 1);
    let (program, text) = shorten(program, failure.text, |program| run(setting, program));
    panic!(
        "a program failed ({:?}); REGFS_MODEL_SEED={seed} REGFS_MODEL_CASES=1 runs all of it again, \
         REGFS_MODEL_PROGRAM a file with what is left of it:\n\n{}\n{text}",
        plan.kind,
        text_of(&program)
    );
}
