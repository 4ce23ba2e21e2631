"""The folder where all is made, and what is mounted in it. At its end nothing of it is left."""

import ctypes
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .processes import PATIENCE, Failed, calm, end, run, say, seconds, start

FUSE = "/dev/fuse"
CLONE_NEWNS = 0x00020000


@dataclass
class Daemon:
    """A mount's process, and how long the command took that started it."""

    pid: int
    seconds: float


class Place:
    """A folder of its own for this run, in `parent`. It goes when the `with` ends."""

    def __init__(self, parent, regfs):
        self.parent = Path(parent)
        self.regfs = regfs

    def __enter__(self):
        self.parent.mkdir(parents=True, exist_ok=True)
        see_mounts_alone()
        with calm():
            self.folder = Path(tempfile.mkdtemp(prefix="bench.", dir=self.parent.resolve()))
            # An ordinary user has a store in here, too.
            self.folder.chmod(0o755)
        return self

    def __exit__(self, *_):
        with calm():
            say("removing what was made …")
            self.remove(self.folder)

    def remove(self, path):
        """Removes it, unless something is still mounted in it: that is not ours to remove."""
        mounted = [point for point in mount_points() if Path(path) in (point, *point.parents)]
        if mounted:
            raise Failed(f"still mounted, so not removed: {', '.join(map(str, mounted))}")
        run(["rm", "-rf", "--one-file-system", path])

    def let_users_mount(self):
        """On most systems everybody may open the device. Where not, it is so for us alone."""
        if os.stat(FUSE).st_mode & 0o666 != 0o666:
            device = self.folder / "fuse"
            run(["mknod", "-m", "666", device, "c", "10", "229"])
            run(["mount", "--bind", device, FUSE])

    def settle(self):
        """What was written goes to the disk now, and not while something else is measured."""
        run(["sync", "-f", self.folder])

    def take_memory(self, length):
        """A virtual machine may give memory that is free back to its host, and who takes it first waits for
        it. So it is taken and freed just before something is measured that needs it."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        mmap.mmap(-1, length, flags=flags).close()

    @contextmanager
    def regfs_mount(self, store, at, user=None):
        """A mount of the store, as its users make it. Gives its daemon."""
        mountpoint(at, user)
        pid = None
        try:
            with calm():
                took = seconds([self.regfs, "mount", store, at], user=user)
                pid = json.loads(run([self.regfs, "status", at, "--json"], user=user))["pid"]
            yield Daemon(pid, took)
        finally:
            with calm():
                self._unmount_regfs(at, user, pid)

    def _unmount_regfs(self, at, user, pid):
        if at in mount_points():
            try:
                run([self.regfs, "umount", at], user=user)
            except Failed:
                run(["umount", "-l", at])
        if pid is not None:
            end_stranger(pid)

    @contextmanager
    def peer_mount(self, command, at, user=None):
        """A mount by a program that stays in the foreground until it is unmounted."""
        mountpoint(at, user)
        child = None
        with tempfile.TemporaryFile() as errors:
            try:
                with calm():
                    child = start(command, user=user, stderr=errors)
                wait_until(lambda: at in mount_points() or child.poll() is not None)
                if at not in mount_points():
                    errors.seek(0)
                    raise Failed(f"{command[0]} does not mount: {errors.read().decode().strip()}")
                yield
            finally:
                with calm():
                    self._unmount_peer(at, child)

    def _unmount_peer(self, at, child):
        if at in mount_points():
            run(["umount", "-l", at])
        if child is not None:
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                end(child)


def see_mounts_alone():
    """From now on nobody else sees what this process and its children mount, and with the last of them
    it is gone."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        raise Failed("the kernel refuses a mount namespace")
    run(["mount", "--make-rslave", "/"])
    # Mounts of others were copied, and would hold their daemons when they are unmounted there.
    for point in mount_points("fuse.regfs"):
        run(["umount", "-l", point])


def mountpoint(at, user=None):
    """Makes a folder in which this user may mount something."""
    at.mkdir(parents=True, exist_ok=True)
    if user:
        shutil.chown(at, user)


def mount_points(kind=""):
    """Where something is mounted, of this kind. The kernel's table is read, since a mount that hangs, or
    belongs to another user, does not answer."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(_unescaped(line.split(" ")[4])) for line in lines if f" - {kind}" in line]


def _unescaped(text):
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def wait_until(holds, patience=PATIENCE):
    """Waits until it holds, but not for ever. Gives whether it does."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def end_stranger(pid):
    """Waits for the end of a process that is not our child, and ends it when that takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if wait_until(lambda: not os.path.exists(f"/proc/{pid}")):
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
