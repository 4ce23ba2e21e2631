"""What every area is given: its sizes, a folder, peers, and where to note what it measures."""

import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from . import stores
from .peers import registry_serving
from .processes import Failed, calm, run, say, seconds, together

STORES = Path(stores.__file__)


class Bench:
    """One run of one area."""

    def __init__(self, options, place, peers, results, shared):
        self.options = options
        self.place = place
        self.peers = peers
        self.results = results
        self.folder = place.folder / results.area
        self._shared = shared
        self._ends = ExitStack()

    def __enter__(self):
        self.folder.mkdir()
        self._ends.callback(self.place.remove, self.folder)
        return self

    def __exit__(self, *happened):
        with calm():
            return self._ends.__exit__(*happened)

    def rounds(self, warm=True):
        """The rounds, after one whose figures are dropped."""
        for number in range(0 if warm else 1, self.results.rounds + 1):
            self.results.round = number
            say(f"{self.results.area}: round {number} of {self.results.rounds}")
            yield number

    def in_turn(self, sides):
        """The sides, in every other round the other way about: whatever else the machine does, and
        whatever one leaves to the next, meets all alike."""
        return list(sides) if self.results.round % 2 else list(reversed(list(sides)))

    def time(self, what, side, command, **where):
        """Runs a command, and notes how long it took."""
        self.results.note(what, side, seconds(command, **where))

    def has(self, *peers):
        """Whether these can be run. What needs them is left out otherwise."""
        missing = [peer for peer in peers if not self.peers.has(peer)]
        if missing:
            say(f"{self.results.area}: {', '.join(missing)} cannot be had")
        return not missing

    def needs(self, peer):
        """Without it, there is nothing to measure."""
        if not self.peers.has(peer):
            raise Failed(f"{peer} cannot be had")

    def until_end(self, manager):
        """Enters it until the area ends."""
        return self._ends.enter_context(manager)

    def mount(self, store):
        """Mounts a store until the area ends. Gives where."""
        at = self.folder / "mount-regfs"
        self.until_end(self.place.regfs_mount(store, at))
        return at

    def mounting(self, peers, folder, user=None):
        """Those of bindfs and rclone that are here and mount this folder."""
        return [peer for peer in peers if self.has(peer) and self._mounts(peer, folder, user)]

    def _mounts(self, peer, folder, user):
        try:
            with self.peer_mount(peer, folder, self.folder / "trial", user):
                return True
        except Failed as error:
            say(f"{self.results.area}: {error}")
            return False

    def peer_mount(self, peer, folder, at, user=None):
        """A mount of a folder by bindfs or rclone, until its `with` ends."""
        return self.place.peer_mount(peer_command(peer, folder, at), at, user)

    def serve(self, store):
        """Serves a store with docker-registry until the area ends. Gives the port."""
        return self.until_end(registry_serving(self.peers.registry, store, self.folder))

    def lets_in(self, user):
        """Whether this user can come to the folder, run regfs and mount."""
        self.place.let_users_mount()
        try:
            seconds(["test", "-x", self.place.regfs, "-a", "-x", self.folder], user=user)
        except (Failed, KeyError):
            say(f"{self.results.area}: {user} cannot come here; REGFS_BENCH_DIR may be elsewhere")
            return False
        return True

    def example(self, name):
        """Builds an example of the project. Gives the program."""
        run(["cargo", "build", "--release", "--locked", "--quiet", "--example", name],
            cwd=self.options.project)
        return self.options.target / "release/examples" / name

    def images(self, store):
        """Makes a store of many images of 2 KiB parts, and as many blobs that nobody needs."""
        tags = self.options.layers
        say(f"making {tags} tags and {tags * 10} blobs …")
        self._write_store("images", store, tags)

    def large_store(self, blobs):
        """Makes a store of so many blobs, with a fiftieth as many repositories and a tenth as many tags:
        once, for all areas. Gives where it is, and how many repositories it has."""
        repositories, tags = blobs // stores.LAYERS_EACH, blobs // 10
        store = self.place.folder / f"store-{blobs}"
        if store not in self._shared:
            self._check_room(blobs, repositories, tags)
            say(f"making {blobs} blobs in {repositories} repositories, and {tags} tags …")
            self._write_store("large", store, blobs, repositories, tags)
            self._shared.add(store)
        return store, repositories

    def _write_store(self, kind, *numbers):
        parts = os.cpu_count()
        together([[sys.executable, STORES, kind, *numbers, part, parts] for part in range(parts)])
        self.place.settle()

    def _check_room(self, blobs, repositories, tags):
        inodes = (blobs * stores.INODES_BLOB + repositories * stores.INODES_REPOSITORY
                  + tags * stores.INODES_TAG)
        there = os.statvfs(self.place.folder)
        wanted = inodes * stores.INODE_BYTES
        if there.f_favail < inodes or there.f_bavail * there.f_frsize < wanted:
            raise Failed(
                f"a store of {blobs} blobs needs {inodes} inodes and {wanted >> 30} GiB; there are"
                f" {there.f_favail} and {there.f_bavail * there.f_frsize >> 30} GiB:"
                " REGFS_BENCH_SCALE makes it smaller, REGFS_BENCH_DIR is where it is made")


def peer_command(peer, folder, at):
    """How a peer mounts a folder, and stays in the foreground."""
    if peer == "bindfs":
        # What it lets other users do is not what is compared, and needs a setting of fuse.conf.
        return ["bindfs", "-f", "--no-allow-other", folder, at]
    # It is told of no configuration, and so of no remotes.
    return ["rclone", "mount", "--config", "/dev/null", "--vfs-cache-mode", "off", folder, at]


def shell(text, **words):
    """A command of the shell, with these words set in."""
    return ["sh", "-c", text.format(**{name: shlex.quote(str(word)) for name, word in words.items()})]
