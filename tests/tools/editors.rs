//! An editor in a terminal, and what it leaves beside the file.

use super::bench::bytes;
use super::common::{self, Mount, needs, session, session_with};
use super::table::Content;
use std::fs;

/// A mount with the repository `r`, the tag `one` in it, and a terminal for vim.
fn edited() -> Mount {
    let mount = Mount::empty();
    mount.push_layer("r", bytes(Content::Config, None));
    fs::write(mount.path().join("r/manifests/one"), bytes(Content::Manifest, None)).unwrap();
    fs::create_dir(mount.beside().join("home")).unwrap();
    let vim = "HOME=../home TERM=xterm exec script -q -e -c \"vim -u NONE -i NONE $*\" /dev/null";
    fs::write(mount.beside().join("vim"), format!("exec < /dev/null > /dev/null\n{vim}\n"))
        .unwrap();
    mount
}

#[test]
fn vim_edits_a_manifest_and_its_swap_file_is_no_tag() {
    needs!("fuse", "vim", "script");
    session_with(
        edited(),
        &[(
            "EDIT",
            "-c '%s/\\\"one\\\"/\\\"two\\\"/' -c 'silent !ls -A r/manifests > ../seen' -c wq",
        )],
        "
        $ sh ../vim \"$EDIT r/manifests/one\"
        $ cat ../seen
        .one.swp
        one
        $ grep -o colour.* r/manifests/one
        colour\": \"two\"
        $ ls -A r/manifests r/uploads
        r/manifests:
        one
        r/uploads:
        ",
    );
}

#[test]
fn a_manifest_that_vim_has_broken_is_not_put() {
    needs!("fuse", "vim", "script");
    let mount = edited();
    session(
        &mount,
        "
        $ sh ../vim \"-c '1s/.//' -c wq -c 'silent !ls -A r/manifests > ../seen' -c 'cq' r/manifests/one\"
        [exit 1]
        $ cat ../seen
        .one.swp
        one
        $ grep -o colour.* r/manifests/one
        colour\": \"one\"
        $ ls -A r/manifests
        one
        ",
    );
    mount.assert_error(&["EINVAL", "r/manifests/one", "not a manifest"]);
}

#[test]
fn the_swap_file_of_a_killed_vim_is_found_and_removed() {
    needs!("fuse", "vim", "script");
    session(
        edited(),
        "
        $ sh ../vim \"-c '%s/one/two/' -c preserve -c 'silent !kill -9 \\$PPID' r/manifests/one\"
        *
        [exit …]
        $ ls -A r/manifests
        .one.swp
        one
        $ HOME=../home vim -es -u NONE -i NONE -r r/manifests/one -c 'w! ../recovered' -c 'q!'; grep -o colour.* ../recovered
        colour\": \"two\"
        $ rm r/manifests/.one.swp
        $ ls -A r/manifests
        one
        ",
    );
}

#[test]
fn control_files_are_read_by_any_tool_and_changed_by_none() {
    needs!("fuse", "jq", "tar", "rsync");
    let mount = edited();
    session(
        &mount,
        "
        $ mkdir UPPER
        mkdir: cannot create directory 'UPPER': Invalid argument
        [exit 1]
        $ grep -c UPPER .regfs/errors
        1
        $ test $(wc -c < .regfs/errors) = $(stat -c %s .regfs/errors)
        $ tail -n 1 .regfs/errors | cut -d: -f 4- | cut -c-8
        EINVAL:
        $ cp -a .regfs ../copy && ls ../copy
        errors
        metrics
        status
        version
        $ cmp .regfs/version ../copy/version; cmp .regfs/errors ../copy/errors
        $ tar -c .regfs/version .regfs/errors | tar -x -O | grep -c UPPER
        1
        $ rsync .regfs/errors ../synced && cmp .regfs/errors ../synced
        $ jq .pid .regfs/status | grep -c '^[0-9]*$'
        1
        $ rm -f .regfs/errors
        rm: cannot remove '.regfs/errors': Operation not permitted
        [exit 1]
        $ echo | tee .regfs/errors > /dev/null
        tee: .regfs/errors: Operation not permitted
        [exit 1]
        $ mv .regfs/errors r/uploads/x
        mv: cannot move '.regfs/errors' to 'r/uploads/x': Operation not permitted
        [exit 1]
        $ ln .regfs/version r/manifests/two
        ln: failed to create hard link 'r/manifests/two' => '.regfs/version': Operation not permitted
        [exit 1]
        $ chmod 600 .regfs/errors
        chmod: changing permissions of '.regfs/errors': Operation not permitted
        [exit 1]
        $ touch .regfs/new
        touch: cannot touch '.regfs/new': Invalid argument
        [exit 1]
        $ rm -rf .regfs
        *
        [exit 1]
        $ grep -c EPERM .regfs/errors
        9
        ",
    );
}
