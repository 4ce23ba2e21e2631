//! Shared memory maps, which write when the kernel likes.

use super::program::{mount, program};
use crate::common::{self, Mount, eventually, manifest_of, needs, run_in};
use std::{path::PathBuf, time::Duration};

/// Fails unless a line with all of `parts` comes: the kernel writes maps back in its own time.
#[track_caller]
fn wait_for_error(mount: &Mount, parts: &[&str]) {
    eventually(Duration::from_secs(10), &format!("a line has {parts:?}"), || {
        mount.errors().lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });
}

#[test]
fn an_upload_takes_what_a_map_writes_until_it_is_unmapped() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        file = create('a/uploads/x', os.O_RDWR | os.O_CREAT)
        os.ftruncate(file, 8192)
        map = Map(file, 8192)
        map.write(b'hello')
        attempt('sync', map.sync)
        show('a/uploads/x')
        map.write(b'HE')
        attempt('close', os.close, file)
        show('a/uploads/x')
        map.write(b'hi')
        attempt('sync after close', map.sync)
        show('a/uploads/x')
        map.write(b'HI')
        attempt('unmap', map.unmap)
        show('a/uploads/x')
        ",
        "
        sync ok
        there: hello
        close ok
        there: HEllo
        sync after close ok
        there: hillo
        unmap ok
        there: HIllo
        ",
    );
}

#[test]
fn a_layer_is_published_by_the_close_after_its_map_or_by_msync() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        def begin(content):
            file = create(layer(content), os.O_RDWR | os.O_CREAT)
            os.ftruncate(file, len(content))
            return file, Map(file, len(content))

        content = b'unmapped first'
        file, map = begin(content)
        map.write(content)
        attempt('unmap', map.unmap)
        attempt('close', os.close, file)
        show(layer(content))

        content = b'closed first'
        file, map = begin(content)
        map.write(content)
        attempt('close', os.close, file)
        show(layer(content))
        attempt('unmap', map.unmap)

        content = b'synced'
        file, map = begin(content)
        map.write(content[:3])
        attempt('sync a part', map.sync)
        show(layer(content))
        map.write(content)
        attempt('sync', map.sync)
        show(layer(content))
        attempt('close', os.close, file)
        attempt('unmap', map.unmap)
        ",
        "
        unmap ok
        close ok
        there: unmapped first
        close ok
        there: closed first
        unmap ok
        sync a part ok
        not there: EBUSY
        sync ok
        there: synced
        close ok
        unmap ok
        ",
    );
}

#[test]
fn what_a_map_changes_after_a_publish_is_refused_and_never_read() {
    needs!("fuse", "python3");
    change_a_map_after_a_publish(&mount());
}

#[test]
fn nor_is_it_read_where_the_kernel_cannot_read_the_store_itself() {
    needs!("fuse", "root", "python3");
    let overlay = Overlay::new();
    let mount = Mount::of_store(&overlay.path().join("store"));
    run_in(mount.path(), "mkdir a");
    change_a_map_after_a_publish(&mount);
    drop(mount);
}

/// An overlayfs, whose files the kernel does not read for FUSE: layers go through its cache.
struct Overlay(tempfile::TempDir);

impl Overlay {
    fn new() -> Self {
        let folder = common::scratch();
        let options = "lowerdir=lower,upperdir=upper,workdir=work";
        let mount = format!("mount -t overlay overlay -o {options} merged");
        run_in(folder.path(), &format!("mkdir lower upper work merged && {mount}"));
        run_in(folder.path(), "mkdir merged/store");
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("merged")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH).ok();
    }
}

fn change_a_map_after_a_publish(mount: &Mount) {
    program(
        mount,
        "
        content = b'hello' * 2000
        file = create(layer(content), os.O_RDWR | os.O_CREAT)
        os.write(file, content)
        map = Map(file, len(content))
        attempt('close', os.close, os.dup(file))
        def read():
            # As a program reads, and as one that maps.
            import mmap
            with open(layer(content), 'rb') as reader:
                whole = reader.read()
            with open(layer(content), 'rb') as reader:
                view = mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ)
                print(whole == content, view[:] == content)
        read()
        map.write(b'WRONG')
        read()
        attempt('sync', map.sync)
        read()
        map.write(b'WRONG AGAIN')
        attempt('unmap', map.unmap)
        read()
        attempt('close', lambda: os.close(file))
        read()
        ",
        "
        close ok
        True True
        True True
        sync EPERM
        True True
        unmap ok
        True True
        close EIO
        True True
        ",
    );
    wait_for_error(mount, &["write a/layers/", "EPERM", "published and cannot change"]);
}

#[test]
fn what_a_map_changes_in_an_upload_after_it_became_a_layer_is_never_read() {
    needs!("fuse", "python3");
    let mount = mount();
    program(
        &mount,
        "
        content = b'hello' * 2000
        file = create('a/uploads/x', os.O_RDWR | os.O_CREAT)
        os.ftruncate(file, len(content))
        map = Map(file, len(content))
        map.write(content)
        attempt('sync', map.sync)
        attempt('rename', os.rename, 'a/uploads/x', layer(content))
        map.write(b'WRONG')
        def read():
            with open(layer(content), 'rb') as reader:
                print(reader.read() == content)
        read()
        attempt('sync', map.sync)
        read()
        map.unmap()
        attempt('close', os.close, file)
        read()
        ",
        "
        sync ok
        rename ok
        True
        sync EPERM
        True
        close ok
        True
        ",
    );
    wait_for_error(&mount, &["write a/layers/", "EPERM", "the upload is finished"]);
}

#[test]
fn what_comes_through_a_map_after_the_last_close_leaves_a_line() {
    needs!("fuse", "python3");
    let mount = mount();
    program(
        &mount,
        "
        file = create(layer(b'hello'), os.O_RDWR | os.O_CREAT)
        os.ftruncate(file, 5)
        map = Map(file, 5)
        attempt('close', os.close, file)
        map.write(b'hello')
        attempt('unmap', map.unmap)
        time.sleep(0.3)
        show(layer(b'hello'))
        ",
        "
        close EBADMSG
        unmap ok
        not there: ENOENT
        ",
    );
    wait_for_error(&mount, &["close a/layers/", "through a memory map after the file was closed"]);
}

#[test]
fn a_manifest_is_put_by_the_close_after_its_map() {
    needs!("fuse", "python3");
    let mount = mount();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    std::fs::write(mount.path().join("a/manifests/1.0"), &manifest).unwrap();
    program(
        &mount,
        "
        old = open('a/manifests/1.0', 'rb').read()
        file = os.open('a/manifests/1.0', os.O_RDWR)
        map = Map(file, len(old))
        map.write(b'[')
        attempt('sync what is no manifest', map.sync)
        attempt('close', os.close, os.dup(file))
        print(open('a/manifests/1.0', 'rb').read() == old)
        map.write(b'{')
        attempt('sync', map.sync)
        at = old.index(b'vnd.oci.image.layer') if b'vnd.oci.image.layer' in old else old.index(b'config.v1')
        attempt('close', os.close, file)
        attempt('unmap', map.unmap)
        print(open('a/manifests/1.0', 'rb').read() == old)
        ",
        "
        sync what is no manifest EINVAL
        close EINVAL
        True
        sync ok
        close ok
        unmap ok
        True
        ",
    );
}
