"""Many small layers, copied by rsync, and copied again when there is nothing to do."""

from contextlib import contextmanager

from ..processes import run, say, seconds
from ..stores import small_files

NEW, SYNCED = "rsync -a", "rsync -a --fsync"
IDLE_INTO, IDLE_FROM = "rsync -a, nothing to do", "rsync -a from it, nothing to do"


def mirror(bench):
    """Each round has new targets: on the disk, on bindfs, and in a new store."""
    bench.needs("rsync")
    count = bench.options.layers
    bench.results.title = f"{count} layers of 4 KiB, copied from the disk to new folders"
    say(f"making {count} layers …")
    source = bench.folder / "source"
    small_files(source, count)
    bench.place.settle()
    sides = ["disk", "regfs"] + bench.mounting(["bindfs"], source)
    can_sync = "--fsync" in run(["rsync", "--help"])
    for _ in bench.rounds():
        for side in bench.in_turn(sides):
            with new_target(bench, side) as target:
                bench.time(NEW, side, ["rsync", "-a", f"{source}/", f"{target}/"])
                idle(bench, side, source, target)
        for side in bench.in_turn(sides if can_sync else []):
            with new_target(bench, side) as target:
                bench.time(SYNCED, side, ["rsync", "-a", "--fsync", f"{source}/", f"{target}/"])
    compare = bench.results.compare
    compare("time", IDLE_INTO, "regfs", "disk", 2)
    compare("time", IDLE_FROM, "regfs", "disk", 2)
    for what in (NEW, SYNCED):
        compare("time", what, "regfs", "disk")
    for what in (NEW, SYNCED, IDLE_INTO, IDLE_FROM):
        compare("speed", what, "regfs", "bindfs")


def idle(bench, side, source, target):
    """The same again, to the target and back. The first time is not noted: what was just copied is not
    remembered as what is there for long."""
    for what, one, other in (IDLE_INTO, source, target), (IDLE_FROM, target, source):
        command = ["rsync", "-a", f"{one}/", f"{other}/"]
        seconds(command)
        bench.time(what, side, command)
    if run(["rsync", "-ai", f"{source}/", f"{target}/"]):
        raise AssertionError(f"{side}: rsync has something to do each time")


@contextmanager
def new_target(bench, side):
    """A folder on this side with nothing in it. What was copied there goes."""
    folder, at = bench.folder / side, bench.folder / "target"
    folder.mkdir()
    if side == "disk":
        yield folder
    elif side == "bindfs":
        with bench.peer_mount("bindfs", folder, at):
            yield at
    else:
        with bench.place.regfs_mount(folder, at):
            (at / "mirror").mkdir()
            yield at / "mirror/layers"
    bench.place.remove(folder)
    bench.place.settle()
