"""A store of a million blobs: what a thing costs in it, and what the daemon needs for it."""

import os
import time
from pathlib import Path

from ..bench import shell
from ..processes import Failed, seconds
from ..stores import LAYERS_EACH, blob_digest, large_layer, large_repository

# The store that the large one is compared with, and how many repositories of each are looked at.
SMALL = 1000
SAMPLE = SMALL // LAYERS_EACH
# How much longer a thing may take in a large store than in a small one: no longer, but for noise.
GROWTH_MAX = 1.25
MOUNT = "mount until ls answers"
# Memory is given back a second after much became free. It is looked at in steps of so many seconds, until
# it has not shrunk for some of them.
STEP, STEPS_STILL, STEPS_MAX = 2, 3, 30
# What daemons take is told in megabytes of ten.
MB = 1000 * 1000


def scale(bench):
    """The same is done to as many things, in a large store and in a small one."""
    count = bench.options.scale
    if count <= SMALL:
        raise Failed(f"it is to be more than {SMALL} blobs: REGFS_BENCH_SCALE")
    bench.results.title = f"a store of {count} blobs beside one of {SMALL}"
    sides = {f"{blobs} blobs": bench.large_store(blobs) for blobs in (SMALL, count)}
    for _ in bench.rounds():
        for side in bench.in_turn(sides):
            one_store(bench, side, *sides[side])
    small, large = sides
    bench.results.compare("value", MOUNT, large, target=100)
    bench.results.compare("time", MOUNT, large, small)
    for what in WORKS:
        bench.results.compare("time", what, large, small, GROWTH_MAX)


def one_store(bench, side, store, repositories):
    """On a new mount, so that the kernel asks for everything. The disk beneath was asked before."""
    at = bench.folder / "mount"
    with bench.place.regfs_mount(store, at) as daemon:
        bench.results.note(MOUNT, side, (daemon.seconds + seconds(["ls", at])) * 1000, "ms")
        numbers = [each * repositories // SAMPLE for each in range(SAMPLE)]
        folders = [f"{at}/{large_repository(number)}/layers" for number in numbers]
        layers = [f"{folder}/{blob_digest(large_layer(number + nth * repositories))}"
                  for folder, number in zip(folders, numbers) for nth in range(LAYERS_EACH)]
        for what, (work, is_of_layers) in WORKS.items():
            things = layers if is_of_layers else folders
            begin = time.perf_counter()
            for thing in things:
                work(thing)
            took = time.perf_counter() - begin
            bench.results.note(what, side, took / len(things) * 1e6, "µs")


def read_whole(path):
    """What `cat` does."""
    with open(path, "rb", buffering=0) as file:
        while file.read(128 << 10):
            pass


# What is done to each thing, and whether it is a layer or else a folder of layers.
WORKS = {
    "stat of a layer": (os.stat, True),
    "read of a layer": (read_whole, True),
    f"ls of {LAYERS_EACH} layers": (os.listdir, False),
}


def memory(bench):
    """After a look at every file, and when the kernel has forgotten them again."""
    count = bench.options.scale
    bench.results.title = f"memory of the daemon, over {count} blobs"
    store, _ = bench.large_store(count)
    at = bench.folder / "mount"
    for _ in bench.rounds(warm=False):
        with bench.place.regfs_mount(store, at) as daemon:
            note_memory(bench, daemon.pid, "just mounted")
            look_at_all(bench, at, count)
            note_memory(bench, daemon.pid, "after find")
            # Folders and their names only, of the whole machine: what the kernel remembers of files.
            Path("/proc/sys/vm/drop_caches").write_text("2\n")
            wait_for_less(daemon.pid)
            note_memory(bench, daemon.pid, "after the kernel forgot")
    for when, most in ("after find", 300), ("after the kernel forgot", 60):
        bench.results.compare("value", f"RSS {when}", "regfs", target=most)


def look_at_all(bench, at, count):
    """Lists the whole mount, and asks for the size of every file."""
    printed = bench.folder / "count"
    bench.time("find", "regfs", shell("find {at} -type f -size +0 | wc -l > {to}", at=at, to=printed))
    # The tags, too, and the two blobs of their image.
    expected = count + count // 10 + 2
    if int(printed.read_text()) != expected:
        raise AssertionError(f"find shows {printed.read_text().strip()} files, not {expected}")


def note_memory(bench, pid, when):
    """What belongs to the daemon alone (PSS), and with what it shares (RSS)."""
    for name in ("Rss", "Pss"):
        bench.results.note(f"{name.upper()} {when}", "regfs", memory_of(pid, name) / MB, "MB")


def memory_of(pid, name):
    """So many bytes of a process are in memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def wait_for_less(pid):
    """Waits until it has not shrunk for a while."""
    least, steps_since = memory_of(pid, "Rss"), 0
    for _ in range(STEPS_MAX):
        time.sleep(STEP)
        now = memory_of(pid, "Rss")
        steps_since = 0 if now < least * 0.98 else steps_since + 1
        least = min(now, least)
        if steps_since == STEPS_STILL:
            return
