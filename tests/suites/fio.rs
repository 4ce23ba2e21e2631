//! fio: several writers of one upload at once, and what they wrote read back.

use crate::common::{self, Mount, needs, run_within};
use crate::{assert_publishes, seed};
use std::time::Duration;

#[test]
fn several_writers_of_one_upload_find_what_they_wrote() {
    needs!("fuse", "fio", "getfattr");
    let mount = Mount::empty();
    // Each writes its part in random order; one of every two goes around the kernel's cache.
    let command = format!(
        "mkdir mnt/a && fio --filename=mnt/a/uploads/fio --size=16m --rw=randwrite \
         --bsrange=1k-256k --bs_unaligned --verify=sha256 --verify_fatal=1 --randseed={} \
         --minimal --fallocate=none --offset_increment=16m \
         --name=plain --numjobs=2 --ioengine=psync \
         --name=async --numjobs=2 --ioengine=libaio --iodepth=8 --offset=32m --offset_increment=16m",
        seed()
    );
    run_within(Duration::from_secs(300), mount.beside(), &command);
    assert_publishes(&mount, "fio");
}
