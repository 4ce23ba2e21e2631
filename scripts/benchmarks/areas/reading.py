"""A large layer, read from the beginning to the end, and here and there."""

import filecmp
import json
import os
from contextlib import ExitStack

from ..bench import shell
from ..processes import run, say
from ..stores import Store, layer_file

USER = "nobody"
TOOLS = {"cat": "cat {file} > /dev/null", "dd": "dd if={file} of=/dev/null bs=1M status=none"}
RANDOM = "fio, random 4 KiB, 4 jobs"
RANDOM_SECONDS = 3


def read(bench):
    """As root, where the kernel reads the disk by itself, and as an ordinary user."""
    file = bench.folder / "layer"
    say("making a layer …")
    digest = layer_file(file, bench.options.bytes)
    bench.results.title = f"a layer of {file.stat().st_size >> 20} MiB"
    as_root(bench, file, digest)
    if bench.has("fusermount3") and bench.lets_in(USER):
        as_user(bench, file, digest)


def as_root(bench, file, digest):
    """Against the same file on the disk."""
    folder = bench.folder / "store"
    store = Store(folder)
    store.repository("bench")
    store.adopt(file, digest, "bench")
    files = {"disk": file, "regfs": bench.mount(folder) / "bench/layers" / digest}
    if not filecmp.cmp(*files.values(), shallow=False):
        raise AssertionError("the mount shows something else")
    for _ in bench.rounds():
        for tool, text in TOOLS.items():
            for side in bench.in_turn(files):
                bench.time(f"{tool}, root", side, shell(text, file=files[side]))
        if bench.has("fio"):
            for side in bench.in_turn(files):
                bench.results.note(f"{RANDOM}, root", side, random_reads(files[side]), "µs")
    for tool in TOOLS:
        bench.results.compare("speed", f"{tool}, root", "regfs", "disk", 0.95)
    bench.results.compare("speed", f"{RANDOM}, root", "regfs", "disk", 0.9)


def random_reads(file):
    """How long a read of fio takes, all jobs taken together, in microseconds."""
    name = str(file).replace(":", r"\:")
    printed = run([
        "fio", "--name=random", f"--filename={name}", "--readonly", "--rw=randread", "--bs=4k",
        "--numjobs=4", "--ioengine=psync", "--invalidate=0", "--group_reporting", "--time_based",
        f"--runtime={RANDOM_SECONDS}", "--output-format=json",
    ])
    return 1e6 / json.loads(printed)["jobs"][0]["read"]["iops"]


def as_user(bench, file, digest):
    """Without passthrough, which is for root. Each round has new mounts, so that the kernel knows nothing
    of the file when it is read first, but that it is in memory: the disk beneath was just read."""
    folder = bench.folder / "store-user"
    store = Store(folder)
    store.repository("bench")
    store.adopt(file, digest, "bench")
    # Whoever mounts has to be the owner: of the layer itself, too, which has a name in two stores.
    run(["chown", "-R", USER, folder])
    plain = bench.folder / "plain"
    plain.mkdir()
    os.link(file, plain / digest)
    sides = ["disk", "regfs", *bench.mounting(("bindfs", "rclone"), plain, USER)]
    for _ in bench.rounds():
        for side in bench.in_turn(sides):
            with ExitStack() as ends:
                path = enter(bench, ends, side, folder, plain) / digest
                for which in ("first", "second"):
                    what, command = f"cat, user, {which} read", shell(TOOLS["cat"], file=path)
                    bench.time(what, side, command, user=USER)
    compare = bench.results.compare
    for which, least in ("first", 0.28), ("second", 0.55):
        compare("speed", f"cat, user, {which} read", "regfs", "disk", least)
        compare("speed", f"cat, user, {which} read", "regfs", "bindfs", 1)
        compare("speed", f"cat, user, {which} read", "regfs", "rclone")


def enter(bench, ends, side, store, plain):
    """The folder in which a side shows the layer, until `ends` does."""
    at = bench.folder / f"user-{side}"
    if side == "disk":
        return plain
    if side == "regfs":
        ends.enter_context(bench.place.regfs_mount(store, at, USER))
        return at / "bench/layers"
    ends.enter_context(bench.peer_mount(side, plain, at, USER))
    return at
