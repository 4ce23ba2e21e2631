//! What every body of a registry must do: one suite, run for each of them.
//!
//! A case takes a fresh registry and nothing else, so it knows no disk and no cache. To add a case,
//! write it in `conformance/` and name it in `suite`; the compiler warns of one that is not named.
//! To add a body, give it a line in `bodies`. A failure is then called by both:
//! `cached_memory::finish_with_a_wrong_digest_keeps_the_upload`.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "conformance/archives.rs"]
mod archives;
#[path = "conformance/attributes.rs"]
mod attributes;
#[path = "conformance/cursors.rs"]
mod cursors;
#[path = "conformance/fixtures.rs"]
mod fixtures;
#[path = "conformance/layers.rs"]
mod layers;
#[path = "conformance/manifests.rs"]
mod manifests;
#[path = "conformance/repositories.rs"]
mod repositories;
#[path = "conformance/uploads.rs"]
mod uploads;

use regfs::store::{LocalRegistry, StoreOptions};
use regfs::{
    cache::{CacheLimits, CachedRegistry},
    registry::{ReferenceCheck, Registry, memory::MemoryRegistry},
};
use std::{path::Path, sync::Arc};

/// Every body, made anew for each case: with the check that its puts do, and a folder to itself.
macro_rules! bodies {
    ($($body:ident => $open:expr;)*) => {
        $(
            mod $body {
                use super::*;

                fn run(case: fn(&dyn Registry), check: ReferenceCheck) {
                    let folder = tempfile::tempdir().unwrap();
                    let open: fn(ReferenceCheck, &Path) -> Arc<dyn Registry> = $open;
                    case(&*open(check, folder.path()));
                }

                suite!();
            }
        )*
    };
}

/// The cases, each as a test that calls `run`.
macro_rules! cases {
    ($check:ident: $($file:ident: $($case:ident)*;)*) => {
        $($(
            #[test]
            fn $case() {
                run($file::$case, ReferenceCheck::$check);
            }
        )*)*
    };
}

macro_rules! suite {
    () => {
        cases! {
            Strict:
            layers:
                a_layer_that_was_never_pushed_is_unknown
                a_pushed_layer_reads_back
                an_empty_layer_can_be_pushed
                a_layer_of_another_repository_is_unknown_here
                a_mounted_layer_stays_when_its_origin_is_gone
                a_mount_of_what_the_origin_does_not_have_is_refused
                mounting_what_is_here_already_succeeds
                a_deleted_layer_is_gone_and_an_open_one_reads_on
                a_deleted_layer_can_be_pushed_again
                a_layer_pushed_by_sha512_is_found_by_both_names
                pushing_what_is_there_already_succeeds
                many_writers_can_finish_the_same_layer_at_once;
            archives:
                an_archive_is_resumed_and_finished_under_each_of_its_sums
                an_upload_of_nothing_is_an_archive_of_nothing
                a_tarsum_goes_on_naming_its_first_bytes
                another_archive_is_refused_and_stays_an_upload
                what_is_no_archive_is_refused_and_stays_an_upload
                a_layer_mounted_by_its_tarsum_has_both_names;
            uploads:
                an_upload_begins_empty_under_its_name
                an_upload_is_read_while_somebody_writes_it
                an_upload_that_is_not_there_is_not_read
                a_gap_reads_as_zeros
                writes_may_come_in_any_order
                an_upload_is_cut_and_lengthened
                the_running_digest_follows_every_change
                several_threads_may_write_one_upload
                an_upload_that_never_began_is_unknown
                a_dropped_upload_is_resumed_where_it_was
                a_resume_after_finish_or_cancel_is_refused
                an_upload_of_another_repository_is_unknown_here
                an_upload_is_no_layer_before_it_is_finished
                finish_with_a_wrong_digest_keeps_the_upload
                a_finished_upload_can_only_be_read
                a_cancelled_upload_is_read_and_written_by_who_has_it_open
                room_is_reserved_and_given_back
                an_upload_that_was_withdrawn_is_read_and_not_written
                an_upload_can_be_cancelled_twice
                every_upload_is_listed_until_it_ends
                uploads_are_listed_in_the_order_in_which_they_are_found
                an_upload_can_be_renamed
                the_youngest_upload_of_a_name_is_found
                uploads_lie_in_every_area_and_in_staging_folders
                a_staging_folder_is_there_as_long_as_an_upload_lies_in_it;
            manifests:
                a_manifest_that_was_never_put_is_unknown
                a_manifest_put_by_tag_is_found_by_tag_and_digest
                a_manifest_can_be_put_untagged
                the_tag_inside_is_asked_for_only_where_there_can_be_one
                a_schema_1_manifest_must_say_where_it_is_put
                a_schema_1_manifest_must_be_signed
                a_signed_manifest_is_put_under_the_tag_that_it_carries
                signatures_by_several_keys_on_one_manifest_come_together
                a_signed_manifest_gets_no_tag_but_its_own
                every_missing_reference_is_named
                content_of_another_repository_is_no_reference
                foreign_layers_need_not_be_there
                the_children_of_an_index_must_be_revisions_here
                a_refused_put_changes_nothing
                a_tag_moves_and_the_old_revision_stays
                a_tag_can_be_given_to_a_revision_that_is_here
                a_retag_replaces_the_other_tag
                a_retag_can_keep_the_other_tag
                two_tags_can_be_exchanged
                a_retag_onto_itself_loses_nothing
                a_retag_of_an_unknown_tag_is_refused
                a_tag_that_has_moved_on_is_not_untagged
                untagging_leaves_the_revision
                deleting_a_revision_takes_all_its_tags
                a_deleted_manifest_can_be_put_again
                readers_of_a_moving_tag_always_find_a_manifest;
            attributes:
                attributes_of_every_subject_are_kept
                a_change_leaves_the_rest_as_it_was
                owners_are_kept
                times_are_kept_to_the_nanosecond_and_before_1970
                attributes_go_from_the_upload_to_the_layer
                extended_attributes_go_from_the_upload_to_the_layer
                each_repository_has_its_own_attributes_of_a_layer
                a_mount_sets_only_the_attributes_it_names
                a_moved_tag_keeps_the_attributes_that_the_put_leaves_open
                a_tagged_put_gives_a_new_revision_its_owner
                an_untagged_put_sets_the_attributes_of_the_revision
                a_retag_takes_the_attributes_along
                extended_attributes_are_set_listed_and_removed
                a_folder_without_content_has_attributes
                a_folder_whose_attributes_were_changed_is_content
                a_folder_that_is_yet_to_be_made_looks_like_its_repository
                the_root_has_extended_attributes
                attributes_of_what_is_not_there_are_unknown;
            repositories:
                a_repository_that_was_never_made_is_unknown
                a_handle_of_an_unknown_repository_lists_nothing
                content_makes_the_repository_and_its_namespaces
                a_created_repository_is_there_and_has_no_content
                a_name_that_is_taken_cannot_be_created
                only_an_empty_repository_can_be_removed
                untagged_revisions_go_with_their_repository
                a_renamed_repository_takes_everything_below_along
                an_upload_goes_on_in_a_renamed_repository
                an_empty_repository_is_replaced_by_a_rename
                a_repository_with_content_is_not_replaced_by_a_rename
                a_repository_cannot_be_renamed_into_itself
                an_unknown_repository_cannot_be_renamed;
            cursors:
                tags_are_listed_exactly_once_while_others_come_and_go
                revisions_are_listed_exactly_once_while_others_come_and_go
                layers_are_listed_exactly_once_while_others_come_and_go
                repositories_are_listed_exactly_once_while_others_come_and_go
                children_are_listed_exactly_once_while_others_come_and_go
                a_tag_that_moves_is_listed_once
                a_listing_goes_on_from_any_position_it_gave
                a_listing_starts_again_from_the_beginning
                a_listing_at_its_end_stays_there;
        }
        cases! {
            Relaxed:
            manifests:
                a_relaxed_registry_takes_manifests_without_their_references
                a_relaxed_registry_still_looks_at_place_and_signatures;
        }
    };
}

bodies! {
    memory => |check, _| Arc::new(MemoryRegistry::new(check));
    cached_memory => |check, _| cached(Arc::new(MemoryRegistry::new(check)));
    local => |check, folder| local(check, folder);
    cached_local => |check, folder| cached(local(check, folder));
}

fn local(reference_check: ReferenceCheck, folder: &Path) -> Arc<dyn Registry> {
    let options = StoreOptions { reference_check, read_only: false, is_mount: false };
    Arc::new(LocalRegistry::open(folder, &options).unwrap())
}

fn cached(inner: Arc<dyn Registry>) -> Arc<dyn Registry> {
    Arc::new(CachedRegistry::new(inner, CacheLimits::default()))
}
