//! Many processes at one name, at once.

use super::bench::bytes;
use super::common::{self, Mount, digest_of, eventually, needs, run_in, session, session_with};
use super::table::Content;
use std::{fs, time::Duration};

/// A mount with the repository `r`, and beside it the files `blob`, `one` and `other`.
fn registry() -> Mount {
    let mount = Mount::empty();
    mount.push_layer("r", bytes(Content::Config, None));
    for (name, content) in
        [("blob", Content::Blob), ("one", Content::Manifest), ("other", Content::OtherManifest)]
    {
        fs::write(mount.beside().join(name), bytes(content, None)).unwrap();
    }
    mount
}

#[test]
fn tools_of_every_kind_bring_the_same_layer_at_once() {
    needs!("fuse", "python3", "rsync", "busybox", "tar");
    // cp, install and the like ask for a new file (O_EXCL) where they saw none; the system lets only
    // one have that, on any disk. So these go by an upload. rsync reads what is there, and does
    // without it where that is still being written (EBUSY).
    const TOOLS: &str = r#"
        cat ../blob > r/layers/$BLOB
        dd if=../blob of=r/layers/$BLOB bs=10000 status=none
        tee r/layers/$BLOB < ../blob > /dev/null
        rsync ../blob r/layers/$BLOB
        python3 -c 'import shutil; shutil.copy("../blob", "r/layers/$BLOB")'
        cp ../blob r/uploads/$N && mv r/uploads/$N r/layers/$BLOB
        install ../blob r/uploads/$N && mv r/uploads/$N r/layers/$BLOB
        cp ../blob r/layers/.$N && mv r/layers/.$N r/layers/$BLOB
        busybox dd if=../blob of=r/layers/$BLOB bs=10000 status=none
    "#;
    let mount = registry();
    let blob = digest_of(bytes(Content::Blob, None));
    let commands = (0..4).flat_map(|round| {
        let tools = TOOLS.lines().map(str::trim).filter(|tool| !tool.is_empty());
        let blob = &blob;
        tools.enumerate().map(move |(index, tool)| {
            let tool = tool.replace("$BLOB", blob).replace("$N", &format!("n{round}-{index}"));
            format!("{{ {tool} || echo failed: '{}'; }} &", tool.replace('\'', ""))
        })
    });
    fs::write(mount.beside().join("all"), commands.collect::<Vec<_>>().join("\n") + "\nwait\n")
        .unwrap();
    session_with(
        &mount,
        &[("BLOB", &blob)],
        "
        $ sh ../all
        $ cmp ../blob r/layers/$BLOB
        $ ls -A r/layers | grep -c $BLOB
        1
        $ ls -A r/layers | wc -l
        2
        $ ls -A r/uploads
        $ grep -v -e '^#' -e ' open r/layers/.*: EBUSY: ' .regfs/errors
        [exit 1]
        ",
    );
    assert_nothing_is_left(&mount);
}

#[test]
fn a_layer_that_many_copy_again_keeps_the_time_that_they_give_it() {
    needs!("fuse");
    let mount = registry();
    let blob = digest_of(bytes(Content::Blob, None));
    session_with(
        &mount,
        &[("BLOB", &blob)],
        "
        $ cp ../blob r/layers/$BLOB
        $ touch -d '2001-02-03 04:05:06' ../blob; chmod 640 ../blob
        $ for n in 1 2 3 4 5 6 7 8; do { cp -a ../blob r/layers/$BLOB || echo $n failed; } & done; wait
        $ stat -c '%a %y' r/layers/$BLOB
        640 2001-02-03 04:05:06.000000000 +0000
        ",
    );
}

#[test]
fn many_put_one_tag_and_it_is_always_one_of_theirs() {
    needs!("fuse", "python3", "rsync");
    let mount = registry();
    session(
        &mount,
        "
        $ cp ../one r/manifests/t
        $ for n in 1 2 3; do for m in one other; do { cat ../$m > r/manifests/t || echo $m failed; } & { rsync -I ../$m r/manifests/t || echo $m failed; } & { cp ../$m r/manifests/t || echo $m failed; } & { sed -i s/xyz/xyz/ r/manifests/t || echo sed failed; } & done; done; wait
        $ cmp ../one r/manifests/t > /dev/null || cmp ../other r/manifests/t
        $ ls -A r/manifests
        t
        $ grep -v ^# .regfs/errors
        [exit 1]
        ",
    );
    assert_nothing_is_left(&mount);
}

#[test]
fn lines_that_many_append_to_an_upload_are_all_there() {
    needs!("fuse");
    let mount = registry();
    session(
        &mount,
        "
        $ for n in 1 2 3 4 5 6; do for m in $(seq 40); do echo line $n $m >> r/uploads/log; done & done; wait
        $ sort -u r/uploads/log | grep -c '^line [1-6] [0-9]*$'
        240
        $ wc -l < r/uploads/log
        240
        ",
    );
}

#[test]
fn an_upload_is_followed_with_tail_while_somebody_writes_it() {
    needs!("fuse");
    let mount = registry();
    session(
        &mount,
        "
        $ echo begin > r/uploads/log
        $ for n in 1 2 3 4 5; do sleep 0.1; echo line $n; done >> r/uploads/log & timeout 20 tail -n +1 -s 0.05 -f --pid=$! r/uploads/log; wait
        begin
        line 1
        line 2
        line 3
        line 4
        line 5
        ",
    );
}

/// No upload is left in the store.
fn assert_nothing_is_left(mount: &Mount) {
    let uploads = mount.store().join("docker/registry/v2/repositories/r/_uploads");
    let count = || run_in(&uploads, "find . -name data | wc -l");
    eventually(Duration::from_secs(10), "no upload is left", || count().trim() == "0");
}
