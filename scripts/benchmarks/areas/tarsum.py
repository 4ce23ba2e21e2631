"""TarSum of archives, beside the plain hash of the same bytes."""

import tarfile

from ..processes import say

FILES = {"4 files": 4, "100,000 files": 100_000}


def tarsum(bench):
    """Of few files, and of many."""
    bench.needs("openssl")
    bench.results.title = f"archives of {bench.options.bytes >> 20} MiB"
    program = bench.example("tarsum")
    archives = {what: archive(bench, files) for what, files in FILES.items()}
    for _ in bench.rounds():
        for what, path in archives.items():
            commands = {"openssl": ["openssl", "dgst", "-sha256", path],
                        "tarsum": [program, "tarsum.v1+sha256", path]}
            for side in bench.in_turn(commands):
                bench.time(what, side, commands[side])
    for what in FILES:
        bench.results.compare("speed", what, "tarsum", "openssl")


def archive(bench, files):
    """An archive of so many files with random bytes."""
    say(f"making an archive of {files} files …")
    path = bench.folder / f"{files}.tar"
    length = bench.options.bytes // files + 1
    with tarfile.open(path, "w") as packed, open("/dev/urandom", "rb") as random:
        for number in range(files):
            entry = tarfile.TarInfo(f"file{number:06}")
            entry.size = length
            packed.addfile(entry, random)
    return path
