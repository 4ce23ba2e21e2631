"""A large layer, pushed."""

import json
import os
import shutil
import time

from ..bench import shell
from ..processes import run, say, seconds, seconds_of
from ..stores import digest_of, layer_file, write as write_file

# After so many seconds the hash has caught up with what was written.
HASHED_AFTER = 1
# How much of the layer's length a push takes of memory, its copies taken together.
COPIES = 3
# Each way to push, with the name of what it leaves the layer to.
WAYS = {"cp, mv": "regfs", "cp, openssl dgst": "disk", "skopeo copy": "registry"}


def write(bench):
    """By `cp` and `mv`, beside `cp` to the disk with a hash of the copy, and beside skopeo."""
    file = bench.folder / "layer"
    say("making a layer …")
    digest = layer_file(file, bench.options.bytes)
    bench.results.title = f"a layer of {length(file)}, pushed"
    store = bench.folder / "store"
    mount = bench.mount(store)
    (mount / "bench").mkdir()
    against_others(bench, file, digest, mount / "bench", store)
    finishing(bench, file, digest, mount / "bench", store)


def against_others(bench, file, digest, repository, store):
    """The whole push, each time of what is not there yet."""
    copy = bench.folder / "copy"
    commands = {
        "cp, mv": shell("cp {file} {upload} && mv {upload} {layer}", file=file,
                        upload=repository / "uploads/new", layer=repository / "layers" / digest),
    }
    if bench.has("openssl"):
        commands["cp, openssl dgst"] = shell("cp {file} {copy} && openssl dgst -sha256 {copy}",
                                             file=file, copy=copy)
    registry = bench.folder / "registry"
    if bench.has("skopeo", "docker-registry"):
        commands["skopeo copy"] = skopeo(bench.folder, file, digest, bench.serve(registry))
    for _ in bench.rounds():
        for way in bench.in_turn(commands):
            bench.place.take_memory(COPIES * bench.options.bytes)
            bench.time(way, WAYS[way], commands[way])
            # What was not asked for is not measured, and is not to disturb the next.
            copy.unlink(missing_ok=True)
            shutil.rmtree(registry / "docker", ignore_errors=True)
            forget(repository, store, digest)
            bench.place.settle()
    compare = bench.results.compare
    compare("time", "cp, mv", "regfs", "disk", 0.75, other_what="cp, openssl dgst")
    compare("speed", "cp, mv", "regfs", "registry", 5, other_what="skopeo copy")


def forget(repository, store, digest):
    """Takes a layer out of the repository, and its blob out of the store."""
    (repository / "layers" / digest).unlink(missing_ok=True)
    blob = store / "docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:]
    shutil.rmtree(blob, ignore_errors=True)


def skopeo(folder, file, digest, port):
    """What pushes an image with that one layer into a docker-registry."""
    image = folder / "image"
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": [digest]}}).encode()
    write_file(f"{image}/config", config)
    config_digest = digest_of(image / "config")
    os.rename(image / "config", image / config_digest[7:])
    os.link(file, image / digest[7:])
    kind = "application/vnd.docker"
    write_file(f"{image}/manifest.json", json.dumps({
        "schemaVersion": 2,
        "mediaType": f"{kind}.distribution.manifest.v2+json",
        "config": {"mediaType": f"{kind}.container.image.v1+json", "digest": config_digest,
                   "size": len(config)},
        "layers": [{"mediaType": f"{kind}.image.rootfs.diff.tar.gzip", "digest": digest,
                    "size": file.stat().st_size}],
    }).encode())
    write_file(f"{image}/version", b"Directory Transport Version: 1.1\n")
    # No login of whoever runs this is to be used.
    write_file(f"{folder}/logins.json", b"{}")
    return ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests",
            "--authfile", folder / "logins.json", "--dest-tls-verify=false",
            f"dir:{image}", f"docker://127.0.0.1:{port}/bench/image:latest"]


def finishing(bench, file, digest, repository, store):
    """The `mv` alone, of an upload that was synced and that the hash has caught up with. It has to sync as
    well what it notes, and so the disk is asked what that takes."""
    small = bench.folder / "small"
    write_file(str(small), b"a small layer\n")
    works = {f"mv, {length(file)}": (file, digest), f"mv, {length(small)}": (small, digest_of(small))}
    upload = repository / "uploads/new"
    for _ in bench.rounds():
        for what in bench.in_turn(works):
            source, name = works[what]
            run(["cp", source, upload])
            run(["sync", upload])
            time.sleep(HASHED_AFTER)
            bench.place.settle()
            sync = seconds_of(lambda: write_and_sync(bench.folder / "synced"))
            move = seconds(["mv", upload, repository / "layers" / name])
            for label, took in (what, move), (f"{what}, less a sync", move - sync):
                bench.results.note(label, "regfs", took * 1000, "ms")
            bench.results.note("fsync of a small file", "disk", sync * 1000, "ms")
            forget(repository, store, name)
    large, little = works
    bench.results.compare("value", f"{large}, less a sync", "regfs", target=5)
    bench.results.compare("time", large, "regfs", "regfs", other_what=little)


def length(file):
    """The length of a file, in words."""
    size = file.stat().st_size
    return f"{size >> 20} MiB" if size >> 20 else f"{size} bytes"


def write_and_sync(path):
    """A small file that is new on the disk."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(b"some bytes\n")
        file.flush()
        os.fsync(file.fileno())
