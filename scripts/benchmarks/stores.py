"""Stores, written as docker-registry lays them out, without one.

A large one is written by several processes at once, each a part of it:

    stores.py large FOLDER BLOBS REPOSITORIES TAGS PART PARTS
    stores.py images FOLDER TAGS PART PARTS
"""

import gzip
import hashlib
import json
import os
import sys
import tarfile

# How many layers each repository of a large store has.
LAYERS_EACH = 50
# How many files and folders a large store has for each of its things, and about the bytes of one.
INODES_BLOB, INODES_REPOSITORY, INODES_TAG, INODE_BYTES = 4, 12, 7, 4608

IMAGE = "application/vnd.oci.image"


def write(path, data):
    """Writes a small file, and the folders above it that are missing."""
    folder = os.path.dirname(path)
    try:
        os.mkdir(folder)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(file, data)
    finally:
        os.close(file)


class Store:
    """A store in the making."""

    def __init__(self, folder):
        self.root = f"{folder}/docker/registry/v2"
        os.makedirs(f"{self.root}/blobs/sha256", exist_ok=True)
        os.makedirs(f"{self.root}/repositories", exist_ok=True)

    def repository(self, name):
        """A repository with nothing in it."""
        for part in ("_layers/sha256", "_uploads", "_manifests/revisions/sha256", "_manifests/tags"):
            os.makedirs(f"{self.root}/repositories/{name}/{part}", exist_ok=True)

    def tags_folder(self, name):
        """Where the tags of a repository lie."""
        return f"{self.root}/repositories/{name}/_manifests/tags"

    def blob_folder(self, digest):
        """Where a blob lies."""
        return f"{self.root}/blobs/sha256/{digest[7:9]}/{digest[7:]}"

    def blob(self, data):
        """Puts a blob, and gives its digest."""
        digest = blob_digest(data)
        write(f"{self.blob_folder(digest)}/data", data)
        return digest

    def adopt(self, file, digest, name):
        """Makes a file, which stays where it is, a layer of a repository."""
        folder = self.blob_folder(digest)
        os.makedirs(folder)
        os.link(file, f"{folder}/data")
        self.link_layer(name, digest)

    def link_layer(self, name, digest):
        """Gives a blob to a repository."""
        folder = f"{self.root}/repositories/{name}/_layers/sha256/{digest[7:]}"
        write(f"{folder}/link", digest.encode())

    def manifest(self, name, config, layers):
        """Puts a manifest; these are (digest, size). Gives its digest."""
        digest = self.blob(json.dumps({
            "schemaVersion": 2,
            "mediaType": f"{IMAGE}.manifest.v1+json",
            "config": _descriptor("config.v1+json", *config),
            "layers": [_descriptor("layer.v1.tar", *layer) for layer in layers],
        }).encode())
        folder = f"{self.root}/repositories/{name}/_manifests/revisions/sha256/{digest[7:]}"
        write(f"{folder}/link", digest.encode())
        return digest

    def tag(self, name, tag, digest):
        """Tags a manifest."""
        folder = f"{self.tags_folder(name)}/{tag}"
        write(f"{folder}/current/link", digest.encode())
        write(f"{folder}/index/sha256/{digest[7:]}/link", digest.encode())

    def small_manifest(self, name):
        """A repository with one small image. Gives its manifest's digest."""
        self.repository(name)
        parts = [(self.blob(data), len(data)) for data in (b"{}", b"a layer\n")]
        for digest, _ in parts:
            self.link_layer(name, digest)
        return self.manifest(name, parts[0], parts[1:])


def _descriptor(kind, digest, size):
    return {"mediaType": f"{IMAGE}.{kind}", "digest": digest, "size": size}


def large(folder, blobs, repositories, tags, part, parts):
    """A part of a store of so many blobs in so many repositories, one of which has all the tags."""
    store = Store(folder)
    for number in range(part, repositories, parts):
        name = large_repository(number)
        store.repository(name)
        for layer in range(number, blobs, repositories):
            store.link_layer(name, store.blob(large_layer(layer)))
    digest = store.small_manifest("tags")
    for number in range(part, tags, parts):
        store.tag("tags", f"v{number:06}", digest)


def large_repository(number):
    """The name of a repository of a large store."""
    return f"group{number % 200:03}/app{number:06}"


def large_layer(number):
    """What a layer of a large store holds. Repository N of R has the layers N, N + R, N + 2 R …"""
    return b"layer %d\n" % number


def images(folder, tags, part, parts):
    """A part of a store of so many tags: each has a manifest, a config and seven layers of its own, of
    2 KiB. Beside each lies a blob that nothing refers to."""
    store = Store(folder)
    for number in range(part, tags, parts):
        name = f"group{number % 100}/app"
        store.repository(name)
        blobs = [(store.blob(os.urandom(2048)), 2048) for _ in range(8)]
        for digest, _ in blobs:
            store.link_layer(name, digest)
        store.tag(name, f"v{number}", store.manifest(name, blobs[0], blobs[1:]))
        store.blob(os.urandom(2048))


def small_files(folder, count):
    """So many files of 4 KiB of random bytes, each under its digest. Gives the digests."""
    os.makedirs(folder)
    digests = []
    for _ in range(count):
        data = os.urandom(4096)
        digests.append(blob_digest(data))
        write(f"{folder}/{digests[-1]}", data)
    return digests


def blob_digest(data):
    """The digest of what is in memory."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_file(path, length):
    """A layer as clients push them, an archive in gzip, with one random file of this length. Gives its
    digest."""
    # Random bytes do not become fewer, so nothing is lost by not compressing them.
    with gzip.open(path, "wb", compresslevel=0) as packed, open("/dev/urandom", "rb") as random:
        with tarfile.open(fileobj=packed, mode="w|", bufsize=1 << 20) as archive:
            entry = tarfile.TarInfo("random")
            entry.size = length
            archive.addfile(entry, random)
    return digest_of(path)


def digest_of(path):
    """The digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return "sha256:" + digest.hexdigest()


if __name__ == "__main__":
    kind, folder, *numbers = sys.argv[1:]
    {"large": large, "images": images}[kind](folder, *map(int, numbers))
