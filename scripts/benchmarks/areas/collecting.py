"""What goes through a whole store: the collector and the verification."""

import os

from ..bench import shell
from ..peers import registry_config
from ..processes import run


def gc(bench):
    """A tenth of the blobs is garbage. Both have to keep the same."""
    bench.needs("docker-registry")
    tags = bench.options.layers
    bench.results.title = f"{tags * 10} blobs of 2 KiB, a tenth of them garbage, and {tags} tags"
    store = bench.folder / "store"
    bench.images(store)
    for _ in bench.rounds(warm=False):
        kept = {}
        for side in bench.in_turn(("registry", "regfs")):
            copy = bench.folder / side
            run(["cp", "-al", store, copy])
            bench.place.settle()
            # Nothing that is younger than a second is removed.
            run(["sleep", "2"])
            bench.time("gc", side, collector(bench, side, copy))
            found = run(["find", "docker/registry/v2/blobs", "-name", "data"], cwd=copy)
            kept[side] = sorted(found.split())
        if kept["registry"] != kept["regfs"] or len(kept["regfs"]) != tags * 9:
            raise AssertionError("the collectors do not keep the same")
        for side in kept:
            bench.place.remove(bench.folder / side)
    bench.results.compare("speed", "gc", "regfs", "registry")


def collector(bench, side, store):
    """What collects the garbage of a store."""
    if side == "regfs":
        return [bench.place.regfs, "gc", "--grace", "0s", store]
    return [bench.peers.registry, "garbage-collect", registry_config(bench.folder, store)]


def verify(bench):
    """Beside sha256sum of the blobs, one for each processor."""
    tags = bench.options.layers
    bench.results.title = f"{tags * 10} blobs of 2 KiB, and {tags} tags"
    store = bench.folder / "store"
    bench.images(store)
    commands = {
        "sha256sum": shell("find {blobs} -name data -print0 | xargs -0 -n 500 -P {cores} sha256sum",
                           blobs=store / "docker/registry/v2/blobs", cores=os.cpu_count()),
        "regfs": [bench.place.regfs, "verify", store],
    }
    for _ in bench.rounds():
        for side in bench.in_turn(commands):
            bench.time("verify", side, commands[side])
    bench.results.compare("speed", "verify", "regfs", "sha256sum")
