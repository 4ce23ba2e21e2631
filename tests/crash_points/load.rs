//! Kills at any moment, while several people push, tag, go on with uploads and remove.
//!
//! As many as REGFS_CRASH_KILLS says. What is done follows from a seed, which a failure shows;
//! REGFS_CRASH_SEED does the same again, though not at the same moments.

use super::{
    common::{self, Mount, digest_of, effort, manifest_of, needs, noise, reliability_row, try_in},
    state::{State, look, names, verify},
};
use std::{
    fs, thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How often the daemon is killed in a run of all tests.
const KILLS_DEFAULT: u64 = 15;
/// How many people work, each in a repository of their own.
const PEOPLE: u64 = 3;
/// After so many, another store is begun: a look takes longer the more there is.
const KILLS_OF_A_STORE: u64 = 20;

/// One who works, and what is known to be in the repository `p0`, `p1`, … by what was acknowledged.
struct Person {
    name: String,
    seed: u64,
    known: State,
    /// What was asked for last, when nobody said whether it was done: a name, and what it may be now.
    doubt: Option<(String, Option<Vec<u8>>)>,
    done: u64,
}

impl Person {
    fn new(number: u64, seed: u64) -> Self {
        let name = format!("p{number}");
        Self { name, seed: seed + number, known: State::new(), doubt: None, done: 0 }
    }

    fn draw(&mut self, limit: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) % limit
    }

    /// One of the known names that has `part` in it.
    fn pick(&mut self, part: &str) -> Option<String> {
        let count = self.known.keys().filter(|name| name.contains(part)).count() as u64;
        let index = usize::try_from(self.draw(count.max(1))).unwrap();
        self.known.keys().filter(|name| name.contains(part)).nth(index).cloned()
    }

    /// Does one thing; `false` when the daemon is gone.
    fn act(&mut self, mount: &Mount) -> bool {
        let number = self.draw(1 << 30);
        let length = usize::try_from(self.draw(60_000)).unwrap();
        let bytes = noise(number, length + 1);
        let layer = format!("layers/{}", digest_of(&bytes));
        match (self.draw(8), self.pick("layers/"), self.pick("manifests/")) {
            (0 | 1, _, _) => self.ask(mount, "cp $FILE $TO", &layer, Some(bytes)),
            (2 | 3, _, _) => {
                let way = "cp $FILE ${TO%/*/*}/uploads/part && mv ${TO%/*/*}/uploads/part $TO";
                self.ask(mount, way, &layer, Some(bytes))
            }
            (4 | 5, Some(layer), _) => {
                let digest = layer.rsplit('/').next().unwrap();
                let text = manifest_of((digest, self.known[&layer].len()), &[]);
                let tag = format!("manifests/t{}", number % 4);
                self.ask(mount, "cp $FILE $TO", &tag, Some(text.into_bytes()))
            }
            (6, _, Some(tag)) => {
                let text = self.known[&tag].clone();
                let to = format!("manifests/t{}", number % 4);
                let way =
                    format!("ln -f {}/{tag} $TO || [ {}/{tag} -ef $TO ]", self.name, self.name);
                self.ask(mount, &way, &to, Some(text))
            }
            (7, _, Some(tag)) => self.ask(mount, "rm $TO", &tag, None),
            _ => self.ask(mount, "cp $FILE $TO", &layer, Some(bytes)),
        }
    }

    /// Asks for `name` to become `wanted`.
    fn ask(&mut self, mount: &Mount, way: &str, name: &str, wanted: Option<Vec<u8>>) -> bool {
        let file = format!("../{}.file", self.name);
        fs::write(mount.beside().join(&file[3..]), wanted.as_deref().unwrap_or_default()).unwrap();
        let to = format!("{}/{name}", self.name);
        let variables = [("FILE", file.as_str()), ("TO", to.as_str())];
        let (code, text) = try_in(mount.beside(), &variables, &format!("cd mnt && {way}"));
        if code != Some(0) {
            let ends = ["not connected", "Software caused", "can't cd"];
            let is_gone = ends.iter().any(|end| text.contains(end));
            assert!(is_gone, "{}: {way} {name}: {text}", self.name);
            self.doubt = Some((name.to_owned(), wanted));
            return false;
        }
        self.done += 1;
        match wanted {
            Some(bytes) => self.known.insert(name.to_owned(), bytes),
            None => self.known.remove(name),
        };
        true
    }

    /// Compares what is seen with what was acknowledged, and takes up what came of the rest.
    fn compare(&mut self, seen: &State) {
        let inner = format!("{}/", self.name);
        let mine =
            seen.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(&inner)?, bytes)));
        let files = mine.filter(|(name, _)| {
            let is_tool = name.starts_with("manifests/Cu") || name.starts_with("uploads/");
            !name.is_empty() && !name.ends_with('/') && !is_tool
        });
        let seen: State = files.map(|(name, bytes)| (name.to_owned(), bytes.clone())).collect();
        if let Some((name, wanted)) = self.doubt.take()
            && seen.get(&name) == wanted.as_ref()
        {
            match wanted {
                Some(bytes) => self.known.insert(name, bytes),
                None => self.known.remove(&name),
            };
        }
        let (is, was) = (names(&seen), names(&self.known));
        assert!(seen == self.known, "{}: seen\n{is}\nacknowledged\n{was}", self.name);
    }
}

/// Kills the daemon of a new store so many times; gives how many things were acknowledged.
fn kill_and_compare(kills: u64, seed: u64) -> u64 {
    let mut mount = Mount::empty();
    let mut clock = Person::new(0, seed * 31);
    let mut people: Vec<Person> = (0..PEOPLE).map(|number| Person::new(number, seed)).collect();
    people.iter().for_each(|p| fs::create_dir(mount.path().join(&p.name)).unwrap());
    for _ in 0..kills {
        let pause = Duration::from_millis(5 + clock.draw(250));
        thread::scope(|scope| {
            for person in &mut people {
                let mount = &mount;
                scope.spawn(move || while person.act(mount) {});
            }
            thread::sleep(pause);
            kill(mount.pid());
        });
        mount.kill_daemon();
        mount.mount(&[]);
        let seen = look(mount.path());
        people.iter_mut().for_each(|person| person.compare(&seen));
        verify(mount.store()).unwrap();
    }
    people.iter().map(|person| person.done).sum()
}

#[test]
fn whenever_the_daemon_is_killed_what_was_acknowledged_is_there() {
    needs!("fuse");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = effort("REGFS_CRASH_SEED", now);
    eprintln!("REGFS_CRASH_SEED={seed}");
    let kills = effort("REGFS_CRASH_KILLS", KILLS_DEFAULT);
    let done: u64 = (0..kills.div_ceil(KILLS_OF_A_STORE))
        .map(|number| {
            let left = kills - number * KILLS_OF_A_STORE;
            kill_and_compare(left.min(KILLS_OF_A_STORE), seed + number * PEOPLE)
        })
        .sum();
    eprintln!("{kills} kills, {done} things acknowledged");
    reliability_row(
        "SIGKILL of the daemon at any moment, while three people push, tag and remove",
        kills,
        &format!("all of {done} things that were acknowledged are there, nothing else"),
        "REGFS_CRASH_KILLS=1000 cargo test --release --test crash_points whenever",
    );
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
