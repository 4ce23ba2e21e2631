//! Writers that are killed, that write the same at once, or whose file gets another name.

use super::program::{mount, program};
use crate::common::{self, Mount, digest_of, manifest_of, needs, noise, run_in, session_with};
use std::{fs, thread};

#[test]
fn a_killed_writer_publishes_nothing_torn() {
    needs!("fuse", "python3");
    let mount = mount();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    fs::write(mount.path().join("a/manifests/1.0"), &manifest).unwrap();
    program(
        &mount,
        "
        content = bytes(range(256)) * 4096
        manifest = open('a/manifests/1.0', 'rb').read()

        def kill(command, how, path, content):
            # It reads a half, and waits for the rest.
            reading, writing = os.pipe()
            writer = subprocess.Popen(['sh', '-c', command], stdin=reading, stderr=subprocess.DEVNULL)
            os.close(reading)
            os.write(writing, content[:len(content) // 2][:60000])
            while not os.path.exists(path) or os.stat(path).st_size == 0:
                time.sleep(0.01)
            time.sleep(0.1)
            writer.send_signal(how)
            writer.wait()
            os.close(writing)
            time.sleep(0.3)

        for how in signal.SIGKILL, signal.SIGINT, signal.SIGTERM:
            for command in 'exec cat > ', 'exec cp /dev/stdin ', 'exec dd status=none bs=4096 of=':
                path = layer(content)
                kill(command + path, how, path, content)
                show(path)
                kill(command + 'a/uploads/x', how, 'a/uploads/x', content)
                half = open('a/uploads/x', 'rb').read()
                print(0 < len(half) < len(content) and content.startswith(half))
                os.unlink('a/uploads/x')
                kill(command + 'a/manifests/1.0', how, 'a/manifests/1.0', manifest)
                print(open('a/manifests/1.0', 'rb').read() == manifest)
        print(os.listdir('a/uploads'), os.listdir('a/manifests'))
        ",
        &("not there: ENOENT\nTrue\nTrue\n".repeat(9) + "[] ['1.0']"),
    );
    mount.assert_error(&["close a/layers/", "EBADMSG"]);
    mount.assert_error(&["close a/manifests/1.0", "EINVAL"]);
}

#[test]
fn a_process_that_ends_without_closing_is_like_one_that_closes() {
    needs!("fuse", "python3");
    program(
        &mount(),
        "
        def leave_behind(content, path):
            pid = os.fork()
            if pid == 0:
                os.write(create(path), content)
                os._exit(0)
            os.waitpid(pid, 0)

        leave_behind(b'hello', layer(b'hello'))
        show(layer(b'hello'))
        leave_behind(b'hel', layer(b'hello world'))
        time.sleep(0.3)
        show(layer(b'hello world'))
        leave_behind(b'hel', 'a/uploads/x')
        show('a/uploads/x')
        leave_behind(b'{', 'a/manifests/x')
        show('a/manifests/x')
        ",
        "
        there: hello
        not there: ENOENT
        there: hel
        not there: ENOENT
        ",
    );
}

#[test]
fn many_writers_of_one_layer_all_succeed_and_a_wrong_one_is_told() {
    needs!("fuse", "cmp");
    let mount = mount();
    let content = noise(1, 3 << 20);
    let digest = digest_of(&content);
    let right = mount.beside().join("right");
    let wrong = mount.beside().join("wrong");
    fs::write(&right, &content).unwrap();
    fs::write(&wrong, noise(2, 3 << 20)).unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let (mount, digest) = (&mount, &digest);
            scope.spawn(move || {
                let command = match number % 4 {
                    0 => format!("! cp ../wrong a/layers/{digest} 2> /dev/null"),
                    1 => format!("cat ../right > a/layers/{digest}"),
                    2 => format!("dd if=../right of=a/layers/{digest} bs=9999 status=none"),
                    // Not cp: who finds that the name is free creates it with O_EXCL, and is told
                    // that it is taken when another was faster, as on any disk.
                    _ => format!("tee a/layers/{digest} < ../right > /dev/null"),
                };
                run_in(mount.path(), &command);
            });
        }
    });
    session_with(
        &mount,
        &[("DIGEST", &digest)],
        "
        $ cmp ../right a/layers/$DIGEST
        $ ls a/layers
        $DIGEST
        $ ls -A a/uploads
        ",
    );
    mount.assert_error(&["close a/layers/", "EBADMSG"]);
}

#[test]
fn a_tag_that_two_write_at_once_is_always_one_of_both() {
    needs!("fuse");
    const ROUNDS: usize = 60;
    let mount = mount();
    let config = mount.push_layer("a", b"{}");
    let plain = manifest_of((&config, 2), &[]);
    let manifests = [plain.clone(), plain.replacen('{', &format!("{{{}", " ".repeat(9000)), 1)];
    let tag = mount.path().join("a/manifests/1.0");
    fs::write(&tag, &manifests[0]).unwrap();
    let write = |manifest: &String| (0..ROUNDS).for_each(|_| fs::write(&tag, manifest).unwrap());
    let write = &write;
    thread::scope(|scope| {
        let writers: Vec<_> =
            manifests.iter().map(|manifest| scope.spawn(move || write(manifest))).collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            let seen = fs::read_to_string(&tag).unwrap();
            assert!(manifests.contains(&seen), "torn: {} bytes\n{seen}", seen.len());
        }
    });
    assert_eq!(fs::read_dir(mount.path().join("a/manifests")).unwrap().count(), 1);
    assert_eq!(mount.errors(), "");
}

#[test]
fn a_file_that_is_being_written_keeps_its_content_under_its_new_name() {
    needs!("fuse", "python3");
    let mount = mount();
    program(
        &mount,
        "
        file = create('a/uploads/x')
        os.write(file, b'hel')
        os.rename('a/uploads/x', 'a/uploads/y')
        os.write(file, b'lo')
        os.rename('a/uploads/y', 'a/layers/.staged')
        attempt('close', os.close, file)
        show('a/layers/.staged')
        attempt('finish', os.rename, 'a/layers/.staged', layer(b'hello'))
        show(layer(b'hello'))

        for path in layer(b'world'), 'a/manifests/new':
            file = create(path)
            os.write(file, b'wor')
            attempt('rename', os.rename, path, 'a/uploads/z')
            attempt('link', os.link, path, 'a/manifests/other')
            attempt('unlink', os.unlink, path)
            attempt('close', os.close, file)
        print(os.listdir('a/uploads'), os.listdir('a/manifests'))
        ",
        "
        close ok
        there: hello
        finish ok
        there: hello
        rename EBUSY
        link EBUSY
        unlink EBUSY
        close EBADMSG
        rename EBUSY
        link EBUSY
        unlink EBUSY
        close EINVAL
        [] []
        ",
    );
    mount.assert_error(&["rename a/layers/", " -> a/uploads/z: EBUSY", "still being written"]);
    mount.assert_error(&["link a/manifests/new -> a/manifests/other: EBUSY"]);
}

#[test]
fn a_line_has_the_name_that_the_file_has_by_then() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    fs::create_dir(mount.path().join("a")).unwrap();
    program(
        &mount,
        "
        file = create('a/uploads/x')
        os.write(file, b'hello')
        os.rename('a/uploads/x', 'a/uploads/y')
        os.rename('a', 'b')
        os.rename('b/uploads/y', layer(b'hello', 'b'))
        attempt('write', os.write, file, b'!')
        ",
        "write EPERM",
    );
    let digest = digest_of(b"hello");
    mount.assert_error(&[&format!("write b/layers/{digest}: EPERM")]);
}
