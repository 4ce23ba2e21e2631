"""The programs to compare with: installed when they are missing, and served on 127.0.0.1 only."""

import http.client
import json
import os
import re
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

from .place import wait_until
from .processes import Failed, calm, end, run, say, start

# Each program with its package of Debian and Ubuntu.
PACKAGES = {
    "bindfs": "bindfs",
    "fio": "fio",
    "fusermount3": "fuse3",
    "openssl": "openssl",
    "rclone": "rclone",
    "rsync": "rsync",
    "skopeo": "skopeo",
}

REGISTRY = "docker-registry"


class Peers:
    """Which programs are here, and where."""

    def __init__(self, tools):
        self.tools = Path(tools).resolve()
        unpacked = self.tools / "usr/bin" / REGISTRY
        named = os.environ.get("REGFS_DOCKER_REGISTRY")
        self.registry = named or shutil.which(REGISTRY) or str(unpacked)

    def install(self, names):
        """Installs what is missing of these. A failure is no end: what cannot be had is left out."""
        missing = [PACKAGES[name] for name in names if name != REGISTRY and not self.has(name)]
        needs_registry = REGISTRY in names and not self.has(REGISTRY)
        if not (missing or needs_registry):
            return
        try:
            run(["apt-get", "-q", "update"])
        except Failed as error:
            say(f"the lists of packages are as old as they are: {error}")
        for package in missing:
            say(f"installing {package}")
            self._try(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "install", "-y",
                       "--no-install-recommends", package])
        if needs_registry:
            self._unpack_registry()

    def has(self, name):
        """Whether it can be run."""
        return shutil.which(self.registry if name == REGISTRY else name) is not None

    def _unpack_registry(self):
        """Installing it would start a service."""
        say(f"unpacking {REGISTRY}")
        self.tools.mkdir(parents=True, exist_ok=True)
        self._try(["sh", "-c", f"rm -f {REGISTRY}_*.deb && apt-get -q download {REGISTRY}"
                   f" && dpkg -x {REGISTRY}_*.deb ."], cwd=self.tools)

    def _try(self, command, cwd="/"):
        try:
            run(command, cwd=cwd)
        except Failed as error:
            say(f"not installed: {error}")


def registry_config(folder, store, port=0):
    """A configuration for docker-registry: nothing is kept in memory, and no log is written."""
    path = folder / "registry.json"
    path.write_text(json.dumps({
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(store)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }))
    return path


@contextmanager
def registry_serving(program, store, folder):
    """A docker-registry that serves the store. Gives its port."""
    store.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = None
    try:
        with calm():
            child = start([program, "serve", registry_config(folder, store, port)])
        answers = wait_until(lambda: child.poll() is not None or _answers(port))
        if not answers or child.poll() is not None:
            raise Failed(f"{program} does not answer on 127.0.0.1:{port}")
        yield port
    finally:
        if child is not None:
            with calm():
                end(child)


def _answers(port):
    try:
        return fetch(port, "/v2/")[0] == 200
    except OSError:
        return False


def fetch(port, path):
    """One GET: the status, the body, and where the next page is, if there is one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        link = response.getheader("Link") or ""
        following = re.search(r'<([^>]*)>; *rel="next"', link)
        return response.status, response.read(), following and following[1]
    finally:
        connection.close()
