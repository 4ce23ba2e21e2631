"""What is measured: each area with the function that does it, and the peers it wants."""

from . import collecting, large, layers, listing, mirror, pushing, reading, tarsum

AREAS = {
    "read": (reading.read, ["bindfs", "fio", "fusermount3", "rclone"]),
    "write": (pushing.write, ["docker-registry", "openssl", "skopeo"]),
    "meta": (layers.meta, ["bindfs", "rclone"]),
    "list": (listing.list_tags, ["docker-registry"]),
    "mirror": (mirror.mirror, ["bindfs", "rsync"]),
    "scale": (large.scale, []),
    "memory": (large.memory, []),
    "tarsum": (tarsum.tarsum, ["openssl"]),
    "gc": (collecting.gc, ["docker-registry"]),
    "verify": (collecting.verify, []),
}
