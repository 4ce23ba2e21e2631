"""One repository with very many tags, listed."""

import json

from ..peers import fetch
from ..processes import run, say, seconds_of
from ..stores import Store

NAME = "tags"


def list_tags(bench):
    """Beside the folders in which the tags lie, and beside docker-registry."""
    count = bench.options.tags
    bench.results.title = f"{count} tags in one repository"
    folder = bench.folder / "store"
    say(f"making {count} tags …")
    store = Store(folder)
    digest = store.small_manifest(NAME)
    for number in range(count):
        store.tag(NAME, f"v{number:06}", digest)
    bench.place.settle()
    raw = store.tags_folder(NAME)
    cold(bench, folder)
    warm(bench, folder, raw, count)
    compare = bench.results.compare
    compare("time", "ls", "regfs", "disk", 2, other_what="ls -f")
    compare("time", "ls -f", "regfs", "disk")
    compare("speed", "ls -l", "regfs", "disk", 1, other_what="ls -lR")
    compare("speed", "find -type f", "regfs", "disk", 1, other_what="ls -lR")
    compare("speed", "ls", "regfs", "registry", 1, other_what="tags/list")
    compare("time", "ls, just mounted", "regfs", "disk", other_what="ls -f")
    compare("speed", "ls -l, just mounted", "regfs", "disk", other_what="ls -lR")


def cold(bench, store):
    """The kernel and the daemon know nothing yet; what the disk beneath has is in memory."""
    at = bench.folder / "mount-cold"
    for _ in bench.rounds():
        for tool in ("ls", "ls -l"):
            with bench.place.regfs_mount(store, at):
                bench.time(f"{tool}, just mounted", "regfs", [*tool.split(), at / NAME / "manifests"])


def warm(bench, store, raw, count):
    """Everything was listed before."""
    tags = bench.mount(store) / NAME / "manifests"
    port = bench.serve(store) if bench.has("docker-registry") else None
    shown = len(run(["ls", tags]).split())
    if shown != count or (port and all_tags(port) != count):
        raise AssertionError(f"{shown} tags are listed, not {count}")
    works = {
        ("ls", "regfs"): ["ls", tags],
        ("ls -f", "regfs"): ["ls", "-f", tags],
        ("ls -f", "disk"): ["ls", "-f", raw],
        ("ls -l", "regfs"): ["ls", "-l", tags],
        ("find -type f", "regfs"): ["find", tags, "-type", "f"],
        ("ls -lR", "disk"): ["ls", "-lR", raw],
    }
    for _ in bench.rounds():
        for what, side in bench.in_turn(works):
            bench.time(what, side, works[what, side])
        if port:
            took = seconds_of(lambda: all_tags(port))
            bench.results.note("tags/list", "registry", took)


def all_tags(port):
    """How many tags docker-registry lists, page by page if it has pages."""
    path, count = f"/v2/{NAME}/tags/list", 0
    while path:
        status, body, path = fetch(port, path)
        if status != 200:
            raise AssertionError(f"tags/list answers {status}")
        count += len(json.loads(body)["tags"] or [])
    return count
