//! Random programs: strategies of proptest, with few names, and with what belongs together drawn
//! together often enough that something comes of it.

use super::requests::registry;
use super::step::{Access, Bytes, Replacing, Slot, Step, VALUES};
use super::words::{BLOBS, MANIFESTS, Path, content};
use proptest::{collection::vec, prelude::*, sample::select, strategy::Union};

/// What programs are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One mount: everything.
    Alone,
    /// One mount and a docker-registry, which takes part.
    WithRegistry,
    /// Two mounts: whole files only, because an open file of one is in the way of the other.
    TwoMounts,
}

/// Programs of some steps.
pub(crate) fn program(kind: Kind, groups: usize) -> impl Strategy<Value = Vec<Step>> {
    let start = "mkdir a\nmkdir b\nmkdir a/c";
    vec(group(kind), groups / 2..groups).prop_map(move |groups| {
        super::step::parse(start).into_iter().chain(groups.into_iter().flatten()).collect()
    })
}

type Steps = BoxedStrategy<Vec<Step>>;

/// Steps that belong together.
fn group(kind: Kind) -> Steps {
    let mut groups: Vec<(u32, Steps)> = vec![
        (14, one(whole_file(kind))),
        (14, one(renames(kind))),
        (8, one(removals(kind))),
        (6, one(links())),
        (5, one(folders(kind))),
        (7, one(attributes(kind))),
        (6, pushes(kind).boxed()),
        (5, images().boxed()),
    ];
    match kind {
        Kind::Alone => groups.extend([(24, one(open_files())), (6, pieces().boxed())]),
        Kind::WithRegistry => {
            groups.extend([(8, one(open_files())), (12, one(registry()))]);
        }
        Kind::TwoMounts => groups.push((8, one((0..2_usize).prop_map(Step::On)))),
    }
    if kind != Kind::TwoMounts {
        groups.extend([(1, one(Just(Step::Remount))), (1, one(Just(Step::Kill)))]);
    }
    Union::new_weighted(groups).boxed()
}

fn one(step: impl Strategy<Value = Step> + 'static) -> Steps {
    step.prop_map(|step| vec![step]).boxed()
}

pub(super) fn repository() -> BoxedStrategy<String> {
    weighted(&[(6, "a"), (3, "b"), (2, "a/c"), (1, "a/%layers")])
}

fn weighted(texts: &[(u32, &str)]) -> BoxedStrategy<String> {
    let texts = texts.iter().map(|(weight, text)| (*weight, Just((*text).to_owned())));
    Union::new_weighted(texts.collect::<Vec<_>>()).boxed()
}

pub(super) fn blob() -> BoxedStrategy<&'static str> {
    prop_oneof![4 => select(&BLOBS[..]), 1 => select(&MANIFESTS[..])].boxed()
}

fn any_content() -> BoxedStrategy<&'static str> {
    prop_oneof![select(&BLOBS[..]), select(&MANIFESTS[..])].boxed()
}

fn in_repository(files: BoxedStrategy<String>) -> BoxedStrategy<Path> {
    (repository(), files).prop_map(|(name, file)| Path(format!("{name}/{file}"))).boxed()
}

/// Files that are uploads. In staging folders only where there is one mount.
fn upload_file(kind: Kind) -> BoxedStrategy<String> {
    let plain = [
        (4, "uploads/x"),
        (3, "uploads/y"),
        (1, "uploads/.z"),
        (1, "uploads/@hello"),
        (2, "layers/.t"),
        (2, "manifests/.t"),
    ];
    let staged = [(1, "layers/.d/f"), (1, "manifests/.d/f"), (1, "uploads/d/f")];
    match kind {
        Kind::TwoMounts => weighted(&plain),
        Kind::Alone | Kind::WithRegistry => weighted(&[&plain[..], &staged[..]].concat()),
    }
}

fn upload(kind: Kind) -> BoxedStrategy<Path> {
    in_repository(upload_file(kind))
}

fn layer() -> BoxedStrategy<Path> {
    in_repository(blob().prop_map(|name| format!("layers/@{name}")).boxed())
}

fn tag() -> BoxedStrategy<Path> {
    in_repository(weighted(&[(2, "manifests/v1"), (1, "manifests/v2")]))
}

fn revision() -> BoxedStrategy<Path> {
    in_repository(revision_file())
}

fn file(kind: Kind) -> BoxedStrategy<Path> {
    prop_oneof![4 => upload(kind), 4 => layer(), 4 => tag(), 1 => revision()].boxed()
}

fn folder(kind: Kind) -> BoxedStrategy<Path> {
    let names = repository().prop_map(Path).boxed();
    match kind {
        Kind::TwoMounts => prop_oneof![5 => names, 1 => area()].boxed(),
        Kind::Alone | Kind::WithRegistry => {
            let staged =
                [(1, "layers/.d"), (1, "manifests/.d"), (1, "uploads/d"), (1, "uploads/x")];
            let staging = in_repository(weighted(&staged));
            prop_oneof![5 => names, 1 => area(), 2 => staging].boxed()
        }
    }
}

fn area() -> BoxedStrategy<Path> {
    in_repository(weighted(&[(1, "layers"), (1, "manifests"), (1, "uploads")]))
}

/// Names that cannot be, or that cannot be what is wanted.
fn odd() -> BoxedStrategy<Path> {
    let names = [(1, "layers/odd"), (1, "manifests/-odd"), (1, "Odd"), (1, "uploads/x/deeper")];
    in_repository(weighted(&names))
}

fn any_path(kind: Kind) -> BoxedStrategy<Path> {
    prop_oneof![12 => file(kind), 3 => folder(kind), 1 => odd()].boxed()
}

fn whole_file(kind: Kind) -> BoxedStrategy<Step> {
    let put = |(name, path): (&str, Path)| Step::Put(Bytes::all(name), path);
    let right_layer = (repository(), blob())
        .prop_map(|(at, name)| Step::Put(Bytes::all(name), Path(format!("{at}/layers/@{name}"))));
    let right_revision = (repository(), select(&MANIFESTS[..])).prop_map(|(at, name)| {
        Step::Put(Bytes::all(name), Path(format!("{at}/manifests/@{name}")))
    });
    prop_oneof![
        6 => right_layer,
        2 => right_revision,
        6 => (any_content(), upload(kind)).prop_map(put),
        6 => (select(&MANIFESTS[..]), tag()).prop_map(put),
        2 => (any_content(), any_path(kind)).prop_map(put),
        2 => (bytes(), upload(kind)).prop_map(|(bytes, path)| Step::Append(bytes, path)),
        1 => (bytes(), any_path(kind)).prop_map(|(bytes, path)| Step::Append(bytes, path)),
        2 => (layer(), layer()).prop_map(|(from, to)| Step::Copy(from, to)),
        2 => same_file_elsewhere().prop_map(|(from, to)| Step::Copy(from, to)),
        2 => (any_path(kind), any_path(kind)).prop_map(|(from, to)| Step::Copy(from, to)),
    ]
    .boxed()
}

/// Some bytes of a content; never none.
fn bytes() -> BoxedStrategy<Bytes> {
    let names = vec!["config", "hello", "image", "bare"];
    (select(names), 0_usize..200, 1_usize..200)
        .prop_map(|(name, start, length)| {
            let all = content(name).bytes.len();
            let start = start % all;
            let end = (start + length).min(all);
            Bytes { start, end, ..Bytes::all(name) }
        })
        .boxed()
}

/// A layer or tag, and the same in another repository perhaps.
fn same_file_elsewhere() -> BoxedStrategy<(Path, Path)> {
    let layers = blob().prop_map(|name| format!("layers/@{name}"));
    let files = prop_oneof![3 => layers, 1 => weighted(&[(1, "manifests/v1")])];
    (repository(), repository(), files)
        .prop_map(|(from, to, file)| (Path(format!("{from}/{file}")), Path(format!("{to}/{file}"))))
        .boxed()
}

fn within_repository(
    from: BoxedStrategy<String>, to: BoxedStrategy<String>,
) -> BoxedStrategy<(Path, Path)> {
    (repository(), from, to)
        .prop_map(|(name, from, to)| (Path(format!("{name}/{from}")), Path(format!("{name}/{to}"))))
        .boxed()
}

fn tag_file() -> BoxedStrategy<String> {
    weighted(&[(1, "manifests/v1"), (1, "manifests/v2")])
}

fn revision_file() -> BoxedStrategy<String> {
    select(&MANIFESTS[..]).prop_map(|name| format!("manifests/@{name}")).boxed()
}

fn renames(kind: Kind) -> BoxedStrategy<Step> {
    let layers = || blob().prop_map(|name| format!("layers/@{name}")).boxed();
    let pairs = prop_oneof![
        6 => within_repository(upload_file(kind), layers()),
        4 => within_repository(upload_file(kind), tag_file()),
        3 => within_repository(upload_file(kind), upload_file(kind)),
        4 => within_repository(tag_file(), tag_file()),
        1 => within_repository(tag_file(), upload_file(kind)),
        1 => within_repository(tag_file(), revision_file()),
        1 => within_repository(revision_file(), tag_file()),
        1 => (folder(kind), folder(kind)),
        2 => same_file_elsewhere(),
        3 => (repository().prop_map(Path), repository().prop_map(Path)),
        2 => (any_path(kind), any_path(kind)),
    ];
    let replacing = prop_oneof![
        6 => Just(Replacing::Yes),
        2 => Just(Replacing::No),
        1 => Just(Replacing::Exchange),
    ];
    (pairs, replacing).prop_map(|((from, to), how)| Step::Rename(from, to, how)).boxed()
}

fn links() -> BoxedStrategy<Step> {
    let layers = blob().prop_map(|name| format!("layers/@{name}")).boxed();
    let hidden = || weighted(&[(1, "layers/.t"), (1, "manifests/.t"), (1, "uploads/.z")]);
    prop_oneof![
        3 => within_repository(tag_file(), tag_file()),
        2 => within_repository(revision_file(), tag_file()),
        1 => within_repository(tag_file(), hidden()),
        1 => within_repository(layers, hidden()),
        3 => same_file_elsewhere(),
        1 => (tag(), tag()),
        1 => (any_path(Kind::TwoMounts), any_path(Kind::TwoMounts)),
    ]
    .prop_map(|(from, to)| Step::Link(from, to))
    .boxed()
}

fn removals(kind: Kind) -> BoxedStrategy<Step> {
    // Others may believe in a layer for some seconds: with two mounts they are removed less often.
    let layers = if kind == Kind::TwoMounts { 1 } else { 4 };
    prop_oneof![
        4 => upload(kind),
        4 => tag(),
        2 => revision(),
        layers => layer(),
        1 => any_path(Kind::TwoMounts),
    ]
    .prop_map(Step::Unlink)
    .boxed()
}

fn folders(kind: Kind) -> BoxedStrategy<Step> {
    // A staging folder is there in the mount in which it was made.
    let others = match kind {
        Kind::TwoMounts => prop_oneof![layer(), tag()].boxed(),
        Kind::Alone | Kind::WithRegistry => any_path(kind),
    };
    prop_oneof![
        3 => folder(kind).prop_map(Step::Mkdir),
        2 => folder(kind).prop_map(Step::Rmdir),
        1 => others.prop_map(Step::Mkdir),
        1 => any_path(Kind::TwoMounts).prop_map(Step::Rmdir),
    ]
    .boxed()
}

fn attributes(kind: Kind) -> BoxedStrategy<Step> {
    // A registry makes the folders of a repository as it likes, the mount as the repository is: what
    // people have set on that would be on those that the one made, and not on those of the other.
    let path = move || match kind {
        Kind::WithRegistry => prop_oneof![12 => file(kind), 1 => area()].boxed(),
        Kind::Alone | Kind::TwoMounts => any_path(kind),
    };
    prop_oneof![
        (select(&[0o600_u32, 0o644, 0o400, 0o777, 0o070][..]), path())
            .prop_map(|(mode, path)| Step::Chmod(mode, path)),
        (select(&[0_u32, 7][..]), path()).prop_map(|(owner, path)| Step::Chown(owner, path)),
        (select(&[1_000_000_000_i64, 1_234_567_890][..]), path())
            .prop_map(|(at, path)| Step::Touch(at, path)),
        (select(&VALUES[..]), path()).prop_map(|(value, path)| Step::Setxattr(value, path)),
        path().prop_map(Step::Removexattr),
        (select(&[0_u64, 2, 5, 100][..]), path())
            .prop_map(|(length, path)| Step::Resize(length, path)),
    ]
    .boxed()
}

fn slot() -> BoxedStrategy<Slot> {
    (1_u8..4).boxed()
}

fn open_files() -> BoxedStrategy<Step> {
    let letters =
        ["r", "r", "w", "rw", "wc", "rwc", "wcx", "wct", "wct", "wt", "wa", "wca", "rwct"];
    let open = (slot(), select(letters.to_vec()), any_path(Kind::Alone))
        .prop_map(|(slot, letters, path)| Step::Open(slot, Access::of(letters), path));
    let whole = (slot(), any_content()).prop_filter_map("nothing to write", |(slot, name)| {
        let bytes = Bytes::all(name);
        (!bytes.get().is_empty()).then_some(Step::Write(slot, bytes, 0))
    });
    // The last is too far for a manifest.
    let offsets = prop_oneof![12 => 0_u64..300, 1 => Just(4_u64 << 20)];
    prop_oneof![
        8 => open,
        3 => whole,
        3 => (slot(), bytes(), offsets).prop_map(|(slot, bytes, at)| Step::Write(slot, bytes, at)),
        2 => (slot(), select(vec![0_u64, 1, 2, 5, 300]))
            .prop_map(|(slot, length)| Step::Truncate(slot, length)),
        2 => slot().prop_map(Step::Read),
        1 => slot().prop_map(Step::Sync),
        1 => slot().prop_map(Step::Flush),
        5 => slot().prop_map(Step::Close),
    ]
    .boxed()
}

/// An upload that is written and finished.
fn pushes(kind: Kind) -> impl Strategy<Value = Vec<Step>> {
    (repository(), upload_file(kind), blob()).prop_map(|(at, file, name)| {
        let from = Path(format!("{at}/{file}"));
        let to = Path(format!("{at}/layers/@{name}"));
        vec![Step::Put(Bytes::all(name), from.clone()), Step::Rename(from, to, Replacing::Yes)]
    })
}

/// A manifest with everything that it refers to.
fn images() -> impl Strategy<Value = Vec<Step>> {
    let names = select(vec![
        vec!["config", "hello", "image"],
        vec!["config", "noise", "big"],
        vec!["config", "hello", "image", "index"],
        vec!["bare"],
    ]);
    (repository(), names, tag_file()).prop_map(|(at, names, tag)| {
        let put = |name: &&'static str| {
            let area = if MANIFESTS.contains(name) { "manifests" } else { "layers" };
            Step::Put(Bytes::all(name), Path(format!("{at}/{area}/@{name}")))
        };
        let mut steps: Vec<Step> = names.iter().map(put).collect();
        if let Some(Step::Put(_, path)) = steps.last_mut() {
            *path = Path(format!("{at}/{tag}"));
        }
        steps
    })
}

/// A content that is written in two pieces, in any order, and closed where it is meant to be.
fn pieces() -> impl Strategy<Value = Vec<Step>> {
    let target = (repository(), any_content(), upload_file(Kind::Alone), any::<bool>());
    (target, slot(), 1_usize..200, any::<bool>()).prop_filter_map(
        "too short for two pieces",
        |((at, name, file, direct), slot, cut, backwards)| {
            let length = content(name).bytes.len();
            if length < 2 {
                return None;
            }
            let cut = 1 + cut % (length - 1);
            let path = match (direct, MANIFESTS.contains(&name)) {
                (false, _) => Path(format!("{at}/{file}")),
                (true, false) => Path(format!("{at}/layers/@{name}")),
                (true, true) => Path(format!("{at}/manifests/v1")),
            };
            let all = Bytes::all(name);
            let mut writes = vec![
                Step::Write(slot, Bytes { end: cut, ..all }, 0),
                Step::Write(slot, Bytes { start: cut, ..all }, cut as u64),
            ];
            if backwards {
                writes.reverse();
            }
            let open = Step::Open(slot, Access::of("wct"), path);
            Some([vec![Step::Close(slot), open], writes, vec![Step::Close(slot)]].concat())
        },
    )
}
