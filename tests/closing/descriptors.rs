//! Descriptors that were copied, inherited or opened with flags; fsync; changes after a publish.

use super::program::{mount, program};
use crate::common::{self, needs, session};

#[test]
fn a_close_before_the_first_write_says_nothing_and_publishes_nothing() {
    needs!("fuse", "python3");
    // As dd, touch and every redirection of a shell do it.
    program(
        &mount(),
        "
        for path in layer(b'hello'), 'a/uploads/x', 'a/manifests/x':
            file = create(path)
            copy = os.dup(file)
            attempt('first close', os.close, file)
            print(os.listdir('a/layers'), os.listdir('a/manifests'))
            os.write(copy, b'hello')
            attempt('last close', os.close, copy)
        show(layer(b'hello'))
        ",
        "
        first close ok
        [] []
        last close ok
        first close ok
        ['sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'] []
        last close ok
        first close ok
        ['sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'] []
        last close EINVAL
        there: hello
        ",
    );
}

#[test]
fn every_close_of_a_copied_descriptor_fails_until_it_is_mended() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        file = create(layer(b'hello'))
        copies = [os.dup(file) for _ in range(3)]
        os.write(file, b'wrong')
        attempt('first', os.close, copies[0])
        attempt('second', os.close, copies[1])
        show(layer(b'hello'))
        os.pwrite(file, b'hello', 0)
        attempt('mended', os.close, copies[2])
        attempt('last', os.close, file)
        show(layer(b'hello'))
        ",
        "
        first EBADMSG
        second EBADMSG
        not there: EBUSY
        mended ok
        last ok
        there: hello
        ",
    );
}

#[test]
fn what_was_too_long_is_mended_by_cutting_it() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        file = create(layer(b'hello'))
        os.write(file, b'hello and more')
        attempt('close', os.close, os.dup(file))
        attempt('cut', os.ftruncate, file, 5)
        attempt('close', os.close, file)
        show(layer(b'hello'))
        ",
        "
        close EBADMSG
        cut ok
        close ok
        there: hello
        ",
    );
}

#[test]
fn a_child_that_closes_first_and_its_parent_are_both_told() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        def child(leave):
            pid = os.fork()
            if pid == 0:
                leave()
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        def closing(file):
            try:
                os.close(file)
            except OSError as error:
                os._exit(error.errno)
            os._exit(0)

        file = create(layer(b'hello'))
        os.write(file, b'hel')
        print('child closes', errno.errorcode[child(lambda: closing(file))])
        print('child ends', child(lambda: os._exit(0)))
        attempt('parent closes a copy', os.close, os.dup(file))
        os.write(file, b'lo')
        print('child closes', child(lambda: closing(file)))
        attempt('parent closes', os.close, file)
        show(layer(b'hello'))
        ",
        "
        child closes EBADMSG
        child ends 0
        parent closes a copy EBADMSG
        child closes 0
        parent closes ok
        there: hello
        ",
    );
}

#[test]
fn nothing_changes_after_a_publish_and_who_tries_is_told() {
    needs!("fuse", "python3");
    let mount = mount();
    program(
        &mount,
        "
        file = create(layer(b'hello'))
        os.write(file, b'hello')
        attempt('close', os.close, os.dup(file))
        attempt('write', os.write, file, b'!')
        attempt('cut', os.ftruncate, file, 1)
        attempt('cut to what it is', os.ftruncate, file, 5)
        attempt('close', os.close, file)
        show(layer(b'hello'))

        file = create('a/uploads/x')
        os.write(file, b'world')
        os.rename('a/uploads/x', layer(b'world'))
        attempt('write', os.write, file, b'!')
        attempt('cut', os.ftruncate, file, 1)
        attempt('reserve', os.posix_fallocate, file, 0, 99)
        attempt('sync', os.fsync, file)
        attempt('close', os.close, file)
        show(layer(b'world'))
        ",
        "
        close ok
        write EPERM
        cut EPERM
        cut to what it is ok
        close ok
        there: hello
        write EPERM
        cut EPERM
        reserve EPERM
        sync ok
        close ok
        there: world
        ",
    );
    let hello = common::digest_of(b"hello");
    mount.assert_error(&["write a/layers/", &hello, "EPERM", "published and cannot change"]);
    let world = common::digest_of(b"world");
    mount.assert_error(&["write a/layers/", &world, "EPERM", "the upload is finished"]);
}

#[test]
fn an_upload_that_was_removed_is_written_on_as_on_any_disk() {
    needs!("fuse", "python3");
    let mount = mount();
    program(
        &mount,
        "
        file = create('a/uploads/x', os.O_RDWR | os.O_CREAT)
        os.write(file, b'hello')
        os.unlink('a/uploads/x')
        print(os.pread(file, 9, 0).decode())
        attempt('write', os.write, file, b'!')
        attempt('close', os.close, file)
        ",
        "
        hello
        write ok
        close ok
        ",
    );
    assert_eq!(std::fs::read_dir(mount.path().join("a/uploads")).unwrap().count(), 0);
}

#[test]
fn synchronous_writes_are_no_publishing() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        for flag in os.O_SYNC, os.O_DSYNC:
            for path in layer(b'hello'), 'a/uploads/x', 'a/manifests/x':
                file = create(path, os.O_WRONLY | os.O_CREAT | flag)
                attempt('write', os.write, file, b'hel')
                attempt('write', os.write, file, b'lo')
                attempt('close', os.close, file)
            show(layer(b'hello'))
            show('a/uploads/x')
            show('a/manifests/x')
            os.unlink(layer(b'hello'))
        ",
        &"
        write ok
        write ok
        close ok
        write ok
        write ok
        close ok
        write ok
        write ok
        close EINVAL
        there: hello
        there: hello
        not there: ENOENT
        "
        .repeat(2),
    );
}

#[test]
fn fsync_publishes_what_is_right_and_leaves_what_is_not_whole_yet() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        file = create(layer(b'hello'))
        os.write(file, b'hel')
        attempt('sync', os.fsync, file)
        show(layer(b'hello'))
        os.write(file, b'lo')
        attempt('sync', os.fsync, file)
        show(layer(b'hello'))
        attempt('close', os.close, file)

        file = create('a/manifests/x')
        os.write(file, b'{}')
        attempt('sync', os.fsync, file)
        attempt('close', os.close, file)
        show('a/manifests/x')
        ",
        "
        sync ok
        not there: EBUSY
        sync ok
        there: hello
        close ok
        sync EINVAL
        close EINVAL
        not there: ENOENT
        ",
    );
}

#[test]
fn closing_what_was_only_read_never_fails() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        file = create(layer(b'hello'))
        os.write(file, b'hello')
        os.close(file)
        file = create('a/uploads/x')
        os.write(file, b'hello')
        readers = [os.open(path, os.O_RDONLY) for path in (layer(b'hello'), 'a/uploads/x')]
        os.unlink('a/uploads/x')
        os.unlink(layer(b'hello'))
        for reader in readers:
            print(os.read(reader, 9).decode())
            attempt('close', os.close, reader)
        os.close(file)
        ",
        "
        hello
        close ok
        hello
        close ok
        ",
    );
}

#[test]
fn a_shell_does_not_say_what_close_said_but_the_reason_is_kept() {
    needs!("fuse", "python3");
    let mount = mount();
    session(
        &mount,
        "
        $ echo hi > a/manifests/x
        $ cat a/manifests/x
        cat: a/manifests/x: No such file or directory
        [exit 1]
        $ grep -c 'close a/manifests/x: EINVAL: this is not a manifest' .regfs/errors
        1
        $ python3 -c 'import os; os.write(os.open(\"a/manifests/y\", os.O_WRONLY | os.O_CREAT), b\"hi\")'
        $ grep -c 'close a/manifests/y: EINVAL: this is not a manifest' .regfs/errors
        1
        $ cp /dev/null a/manifests/z
        $ sleep 0.5; grep -c 'close a/manifests/z: EBADMSG: nothing was written' .regfs/errors
        1
        $ ls a/manifests
        ",
    );
}
