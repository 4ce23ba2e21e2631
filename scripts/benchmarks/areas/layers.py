"""Many small layers, through the tools that open or look at every one."""

from ..bench import shell
from ..processes import run, say
from ..stores import Store, small_files

# GNU tar knows /dev/null and would read nothing. grep finds nothing, and so reads all.
TOOLS = {
    "cat": "cat -- * > /dev/null",
    "grep -r": "! grep -r 'no such words as these' .",
    "tar c": "tar c . | cat > /dev/null",
    "ls -l": "ls -l",
    "find": "find . -type f -size +3k",
}


def meta(bench):
    """The kernel has seen them all once when it begins. Where programs run is left to it."""
    count = bench.options.layers
    bench.results.title = f"{count} layers of 4 KiB"
    say(f"making {count} layers …")
    plain, folder = bench.folder / "plain", bench.folder / "store"
    store = Store(folder)
    store.repository("bench")
    for digest in small_files(plain, count):
        store.adopt(plain / digest, digest, "bench")
    bench.place.settle()
    sides = {"disk": plain, "regfs": bench.mount(folder) / "bench/layers"}
    for peer in bench.mounting(("bindfs", "rclone"), plain):
        sides[peer] = bench.folder / peer
        bench.until_end(bench.peer_mount(peer, plain, sides[peer]))
    for at in sides.values():
        if len(run(["ls", at]).split()) != count:
            raise AssertionError(f"{at} does not show {count} layers")
    for _ in bench.rounds():
        for tool, text in TOOLS.items():
            for side in bench.in_turn(sides):
                bench.time(tool, side, shell(text), cwd=sides[side])
    for tool in TOOLS:
        opens = tool in ("cat", "grep -r", "tar c")
        bench.results.compare("speed", tool, "regfs", "bindfs", 1.5 if opens else None)
    for peer in ("disk", "rclone"):
        for tool in TOOLS:
            bench.results.compare("speed", tool, "regfs", peer)
