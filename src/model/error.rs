//! What can go wrong, in the words of a registry. Errno numbers are chosen in `fs/errno.rs`.

use crate::model::{Digest, KeyId, RepositoryName, Tag, UploadId};
use std::{io, path::PathBuf};

/// The result of everything below `fs`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the thing it went wrong with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text is not a name of its kind.
    #[error("{name:?} is not a {kind}: {reason}")]
    NameInvalid {
        /// Which grammar refused it: `repository`, `tag`, `digest`, `upload`, `upload id`, `file`.
        kind: &'static str,
        /// The text, cut to a readable length.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },

    /// The name of a file, or the path of a folder, is longer than it can be.
    #[error("a name of more than {limit} bytes cannot be")]
    NameTooLong {
        /// How many bytes it may have.
        limit: usize,
    },

    /// No repository and no namespace has this name.
    #[error("there is no repository {0}")]
    RepositoryUnknown(RepositoryName),
    /// The repository has no such tag.
    #[error("repository {0} has no tag {1}")]
    TagUnknown(RepositoryName, Tag),
    /// The repository has no such manifest.
    #[error("repository {0} has no manifest {1}")]
    ManifestUnknown(RepositoryName, Digest),
    /// The repository does not link such a layer.
    #[error("repository {0} has no layer {1}")]
    LayerUnknown(RepositoryName, Digest),
    /// The upload was finished, cancelled, or never begun.
    #[error("there is no upload {0}")]
    UploadUnknown(UploadId),

    /// The bytes are not those that the name promises.
    #[error("the content is {computed}, not {expected} as named")]
    DigestMismatch {
        /// The digest that the content was given as its name.
        expected: Digest,
        /// The digest that it has.
        computed: Digest,
    },
    /// What the store holds under a digest does not hash to it.
    #[error("the stored content of {digest} is damaged: {reason}")]
    Damaged {
        /// The digest under which it lies.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A link on disk holds no digest.
    #[error("the link {path} is damaged: it holds no digest")]
    LinkDamaged {
        /// The link file.
        path: PathBuf,
    },
    /// A link leads to content that is not there: a tag outlived its manifest.
    #[error("the link {path} leads to {digest}, and there is no such manifest")]
    LinkDangling {
        /// The link file.
        path: PathBuf,
        /// What it says.
        digest: Digest,
    },

    /// The bytes are not a manifest of any known format.
    #[error("this is not a manifest: {0}")]
    ManifestInvalid(String),
    /// A manifest is too long.
    #[error("a manifest has at most {limit} bytes, and this one has at least {length}")]
    ManifestTooLarge {
        /// How long it is, or how far the writer got.
        length: u64,
        /// How long it may be.
        limit: u64,
    },
    /// A manifest names content that its repository does not have.
    #[error("the manifest refers to {} that repository {repository} does not have: {}",
        plural(.missing.len()), list(.missing))]
    ReferencesUnknown {
        /// Where the manifest was put.
        repository: RepositoryName,
        /// Everything that is missing.
        missing: Vec<Digest>,
    },
    /// A signed manifest names another repository or tag than the one it is put under.
    #[error("the manifest{} says it is {inside}, and was put as {path}", signed(.signed_by))]
    ManifestMisplaced {
        /// The keys that signed it, when their signatures hold.
        signed_by: Vec<KeyId>,
        /// `NAME:TAG` in the manifest.
        inside: String,
        /// `NAME:TAG` of the place.
        path: String,
    },
    /// A put that was to read its tag from the manifest found none there.
    #[error("a manifest of this format does not carry its tag")]
    ManifestUntagged,
    /// The signatures of a signed manifest do not make it trusted.
    #[error("a signature of this schema 1 manifest does not hold: {0}")]
    SignatureRejected(String),
    /// Something in the store of which nobody can say what it means for what is to be removed.
    #[error("{}: {reason}", path.display())]
    Unclear {
        /// Where it lies.
        path: PathBuf,
        /// What it is.
        reason: &'static str,
    },
    /// What others do with the store has to end first.
    #[error("the store is in use: {0}")]
    StoreBusy(&'static str),
    /// More signatures on a manifest than are looked at.
    #[error("there are {count} signatures on this manifest, and {limit} may be")]
    SignaturesTooMany {
        /// How many there are, or would be with those that are kept.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// A schema 1 manifest without signatures.
    #[error("this schema 1 manifest has no signatures")]
    SignatureMissing,
    /// What should be the key that signs is none.
    #[error("the key that signs schema 1 manifests cannot be used: {0}")]
    SigningKeyInvalid(String),

    /// Content that was to be read as a tar archive is none, or has more of something than is read.
    #[error("this is not a whole tar archive: the {what} at byte {offset}: {reason}")]
    TarInvalid {
        /// Which part of it: `header`, `PAX header`, `sparse map`, `body`.
        what: &'static str,
        /// Where that part begins, or where the archive ended.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Content that begins like gzip data cannot be inflated.
    #[error("this is not whole gzip data: {0}")]
    GzipInvalid(String),

    /// A published layer was to be changed.
    #[error("{0} is published and cannot change")]
    LayerImmutable(Digest),
    /// A layer or tag that is still being written for the first time was to be read.
    #[error("{0} is still being written")]
    Busy(String),
    /// Somebody else writes this upload.
    #[error("upload {0} is being written by another process")]
    UploadBusy(UploadId),
    /// Too many things of one kind are in use at once.
    #[error("more than {limit} {what} at once")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },

    /// Extended attributes that a file system keeps do not fit any more.
    #[error("there is no room for this attribute beside those that {} has", .path.display())]
    AttributesFull {
        /// What has them.
        path: PathBuf,
    },

    /// A repository or namespace that still has something in it was to be removed or replaced.
    #[error("{0} is not empty")]
    NotEmpty(RepositoryName),
    /// A name was to be new, and is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// The registry is not to be changed.
    #[error("the registry is mounted read-only")]
    ReadOnly,
    /// Something that a registry has no meaning for.
    #[error("{0}")]
    Unsupported(&'static str),

    /// The store was written by a newer program.
    #[error("the store has version {found} and this program knows versions up to {known}")]
    StoreVersion {
        /// What its version file says.
        found: String,
        /// The newest version known here.
        known: u32,
    },

    /// Parts of the store lie on different file systems, between which nothing can be renamed.
    #[error("{one} and {other} are not on one file system, and a store cannot be divided: files \
        come to be there by renaming them", one = .one.display(), other = .other.display())]
    StoreSplit {
        /// A file or folder on the one.
        one: PathBuf,
        /// A file or folder on the other.
        other: PathBuf,
    },

    /// The system refused, with its own reason.
    #[error("could not {doing} {}: {}", .path.display(), without_number(&.source.to_string()))]
    Io {
        /// What was being done, as a verb: `open`, `write`.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Longest name that an error repeats, in characters: the name may be anything a person typed.
const NAME_SHOWN_MAX: usize = 120;
/// How many missing digests an error lists.
const MISSING_SHOWN_MAX: usize = 8;

impl Error {
    /// A text that is not a name of `kind`.
    pub fn name_invalid(kind: &'static str, name: &str, reason: &'static str) -> Self {
        let mut shown: String = name.chars().take(NAME_SHOWN_MAX).collect();
        if shown.len() < name.len() {
            shown.push('…');
        }
        Self::NameInvalid { kind, name: shown, reason }
    }

    /// For `map_err`: the system's refusal, with what was being done to what.
    pub fn io<E: Into<io::Error>>(
        doing: &'static str, path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source: source.into() }
    }

    /// Whether the thing that was asked for is simply not there: what `Option` would say.
    pub fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::RepositoryUnknown(_)
                | Self::TagUnknown(..)
                | Self::ManifestUnknown(..)
                | Self::LayerUnknown(..)
                | Self::UploadUnknown(_)
        )
    }

    /// Whether it is nothing but that somebody wanted it to end.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted)
    }

    /// Whether content is not what the name says that it was to have.
    pub fn is_mismatch(&self) -> bool {
        matches!(self, Self::DigestMismatch { .. } | Self::TarInvalid { .. } | Self::GzipInvalid(_))
    }
}

/// What the system says, without the number that Rust puts behind it.
pub fn without_number(text: &str) -> String {
    match text.split_once(" (os error ") {
        Some((words, rest)) => words.to_owned() + rest.split_once(')').map_or("", |(_, rest)| rest),
        None => text.to_owned(),
    }
}

fn plural(count: usize) -> String {
    if count == 1 { "one thing".to_owned() } else { format!("{count} things") }
}

/// Who signed a manifest, as words behind it.
fn signed(keys: &[KeyId]) -> String {
    match keys {
        [] => String::new(),
        [key] => format!(", signed by the key {key},"),
        [key, ..] => format!(", signed by the key {key} and others,"),
    }
}

fn list(digests: &[Digest]) -> String {
    let mut shown: Vec<String> =
        digests.iter().take(MISSING_SHOWN_MAX).map(Digest::to_string).collect();
    if digests.len() > shown.len() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}
