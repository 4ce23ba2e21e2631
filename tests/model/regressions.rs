//! Programs that once failed, each with what they have shown.

use super::soak::check;
use super::world::Setting;
use crate::common::{self, needs};

/// Runs a program in one mount.
#[track_caller]
fn in_a_mount(program: &str) {
    check(Setting::default(), program);
}

/// Runs a program in two mounts of one store.
#[track_caller]
fn in_two_mounts(program: &str) {
    check(Setting { two_mounts: true, ..Setting::default() }, program);
}

#[test]
fn a_tag_that_is_removed_while_somebody_is_about_to_write_it_is_gone() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put bare a/manifests/v1
        open 1 wct a/manifests/v1
        rm a/manifests/v1
        ",
    );
}

#[test]
fn a_tag_keeps_its_mode_while_it_is_written_over() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put bare a/manifests/v1
        chmod 600 a/manifests/v1
        open 1 wct a/manifests/v1
        write 1 bare 0
        ",
    );
}

#[test]
fn chmod_of_a_tag_is_seen_though_somebody_is_about_to_write_it() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put bare a/manifests/v1
        open 1 wct a/manifests/v1
        chmod 600 a/manifests/v1
        touch 1000000000 a/manifests/v1
        ",
    );
}

#[test]
fn a_repository_that_is_replaced_takes_its_staging_folders_along() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        mkdir b
        mkdir b/layers/.d
        mv a b
        ",
    );
}

#[test]
fn a_layer_that_is_written_anew_has_a_new_time_at_once() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put hello a/layers/@hello
        touch 1000000000 a/layers/@hello
        open 1 wct a/layers/@hello
        write 1 hello 0
        close 1
        ",
    );
}

#[test]
fn a_layer_that_somebody_still_writes_is_seen_though_the_youngest_writer_is_done() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        open 1 wc a/layers/@hello
        open 2 wc a/layers/@hello
        write 2 hello 0
        flush 2
        rm a/layers/@hello
        ",
    );
}

#[test]
fn a_layer_that_moves_to_another_repository_keeps_its_extended_attributes() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        mkdir b
        put hello a/layers/@hello
        setfattr red a/layers/@hello
        mv a/layers/@hello b/layers/@hello
        ",
    );
}

#[test]
fn a_published_layer_may_be_cut_to_the_length_that_it_has() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        open 1 wc a/layers/@hello
        write 1 hello 0
        flush 1
        truncate 1 5
        truncate 1 4
        ",
    );
}

#[test]
fn a_repository_can_be_renamed_as_soon_as_its_files_are_closed() {
    needs!("fuse", "root");
    let step = "put bare a/manifests/v1\nmv a b\nput hello b/layers/@hello\nmv b a\n";
    in_a_mount(&format!("mkdir a\n{}", step.repeat(12)));
}

#[test]
fn a_manifest_is_read_whole_by_its_digest_while_somebody_writes_it_anew() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put bare a/manifests/v2
        open 3 wt a/manifests/@bare
        write 3 hello[3..5] 26
        ",
    );
}

#[test]
fn a_layer_that_is_written_anew_keeps_what_is_set_before_it_is_closed() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put hello a/layers/@hello
        open 1 wct a/layers/@hello
        write 1 hello 0
        chmod 600 a/layers/@hello
        touch 1000000000 a/layers/@hello
        close 1
        ",
    );
}

#[test]
fn a_file_can_be_made_where_another_mount_has_just_taken_one_away() {
    needs!("fuse", "root");
    in_two_mounts(
        "
        mkdir a
        put empty a/uploads/x
        on 0
        put hello a/uploads/x
        mv a/uploads/x a/layers/@hello
        on 1
        put hello a/uploads/x
        ",
    );
}

#[test]
fn a_namespace_has_content_once_the_attributes_of_a_folder_were_changed() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        mkdir a/c
        chmod 700 a/uploads
        remount
        ",
    );
}

#[test]
fn a_tag_can_be_made_again_as_soon_as_its_manifest_is_removed() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put config a/layers/@config
        put hello a/layers/@hello
        put bare a/manifests/v1
        put image a/manifests/v2
        exchange a/manifests/v1 a/manifests/v2
        rm a/manifests/@image
        put big a/manifests/v1
        open 3 wct a/manifests/v1
        ",
    );
}

#[test]
fn a_tag_is_gone_by_name_when_stat_says_so() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put config a/layers/@config
        put noise a/layers/@noise
        put big a/manifests/v2
        rm a/manifests/@big
        exchange a/manifests/v2 a/manifests/v2
        ",
    );
}

#[test]
fn a_manifest_may_be_written_over_in_any_order() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put config a/layers/@config
        put hello a/layers/@hello
        put noise a/layers/@noise
        put image a/manifests/v2
        open 1 rw a/manifests/v2
        write 1 big[146..396] 146
        write 1 big[0..146] 0
        close 1
        ",
    );
}

#[test]
fn a_manifest_that_gets_a_tag_in_place_of_its_digest_keeps_its_extended_attributes() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put bare a/manifests/@bare
        setfattr red a/manifests/@bare
        mv a/manifests/@bare a/manifests/v1
        ",
    );
}

#[test]
fn what_is_being_written_is_busy_for_who_links_it_under_a_hidden_name() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        open 1 wc a/manifests/v1
        ln a/manifests/v1 a/manifests/.t
        open 2 wc a/layers/@hello
        ln a/layers/@hello a/layers/.t
        ",
    );
}

#[test]
fn who_writes_an_upload_that_has_become_a_manifest_is_told() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        open 1 wc a/uploads/x
        write 1 bare 0
        mv a/uploads/x a/manifests/v1
        write 1 hello 0
        truncate 1 0
        close 1
        ",
    );
}

#[test]
fn a_manifest_belongs_to_who_owns_its_first_tag() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        open 2 rwc a/manifests/v2
        chown 7 a/manifests/v2
        write 2 bare 0
        close 2
        ",
    );
}

#[test]
fn a_manifest_that_is_put_again_by_its_digest_has_the_time_of_then() {
    needs!("fuse", "root");
    in_a_mount(
        "
        mkdir a
        put config a/layers/@config
        put hello a/layers/@hello
        put image a/manifests/@image
        touch 1000000000 a/manifests/@image
        put image a/manifests/@image
        ",
    );
}
