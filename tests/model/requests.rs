//! What a docker-registry is asked for: strategies of proptest.

use super::programs::{blob, repository};
use super::step::Step;
use super::words::{BLOBS, MANIFESTS, Path};
use proptest::{collection::vec, prelude::*, sample::select};

/// What a docker-registry is asked for all the time, in repositories of its own.
pub(crate) fn foreign(repository: &'static str) -> impl Strategy<Value = Vec<Step>> {
    let below = format!("{repository}/s");
    let at = prop_oneof![Just(Path(repository.to_owned())), Just(Path(below))];
    let step = (at, registry()).prop_map(|(at, step)| match step {
        Step::PushManifest(_, name, tag) => Step::PushManifest(at, name, tag),
        Step::DeleteManifest(_, name) => Step::DeleteManifest(at, name),
        Step::PushBlob(_, name) | Step::DeleteBlob(_, name) => Step::PushBlob(at, name),
        step => step,
    });
    vec(step, 100)
}

/// What a docker-registry is asked for. It removes layers seldom: that takes long to be seen. It takes
/// no index, for it would be content with a layer of the digest of a manifest that is missing.
pub(super) fn registry() -> BoxedStrategy<Step> {
    let at = || repository().prop_map(Path);
    let tag = prop_oneof![Just(None), Just(Some("v1".to_owned())), Just(Some("v2".to_owned()))];
    prop_oneof![
        40 => (at(), select(&BLOBS[..])).prop_map(|(at, name)| Step::PushBlob(at, name)),
        40 => (at(), select(vec!["image", "big", "bare"]), tag)
            .prop_map(|(at, name, tag)| Step::PushManifest(at, name, tag)),
        15 => (at(), select(&MANIFESTS[..])).prop_map(|(at, name)| Step::DeleteManifest(at, name)),
        1 => (at(), blob()).prop_map(|(at, name)| Step::DeleteBlob(at, name)),
    ]
    .boxed()
}
