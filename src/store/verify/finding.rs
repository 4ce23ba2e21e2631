//! What a verification can find: each kind with its weight, its name and what to do about it.

use crate::model::{Digest, RepositoryName};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something that people put here cannot be had any more, or could not be looked at.
    Damage,
    /// Nobody misses anything.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Note => "note",
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The bytes of a blob do not have the digest under which they lie.
    BlobDamaged,
    /// A link holds no digest.
    LinkDamaged,
    /// A link holds another digest than the one in its path.
    LinkMismatch,
    /// A tag or a revision leads to what is not there.
    LinkDangling,
    /// A link by a second name, as a TarSum, leads to content that has not this name.
    LinkMisnamed,
    /// A link leads to content that is in quarantine.
    Quarantined,
    /// A manifest to which a tag leads needs what its repository does not have.
    ManifestIncomplete,
    /// The system would not let it be read.
    Unreadable,
    /// A manifest to which no tag leads needs what its repository does not have.
    UntaggedIncomplete,
    /// An index names manifests that were never copied here, as for other processors.
    ChildrenAbsent,
    /// A layer link whose content is gone, and which no manifest needs.
    LayerGone,
    /// A signature that a collector took away.
    SignatureGone,
    /// A manifest whose format is not known here, so that nobody knows what it needs.
    ManifestUnknown,
    /// An upload to which nobody has written for long.
    UploadStale,
    /// Something that belongs neither to a registry nor to regfs.
    Foreign,
}

impl Kind {
    /// How much it weighs.
    pub fn severity(self) -> Severity {
        match self {
            Self::BlobDamaged
            | Self::LinkDamaged
            | Self::LinkMismatch
            | Self::LinkDangling
            | Self::LinkMisnamed
            | Self::Quarantined
            | Self::ManifestIncomplete
            | Self::Unreadable => Severity::Damage,
            Self::UntaggedIncomplete
            | Self::ChildrenAbsent
            | Self::LayerGone
            | Self::SignatureGone
            | Self::ManifestUnknown
            | Self::UploadStale
            | Self::Foreign => Severity::Note,
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::BlobDamaged | Self::Quarantined => {
                "push it again from a good copy, which replaces it"
            }
            Self::LinkDamaged | Self::LinkMismatch | Self::LinkMisnamed => {
                "remove it through a mount (rm), or push what it stands for again"
            }
            Self::LinkDangling => "push the manifest again, or remove the name (rm)",
            Self::ManifestIncomplete => "push what is missing, or remove the tag (rm)",
            Self::Unreadable => {
                "let this user read the store, or run as root; see the kernel's log (dmesg) if the \
                 disk fails"
            }
            Self::UntaggedIncomplete => "push what is missing, or remove the manifest (rm)",
            Self::ChildrenAbsent => "nothing, unless they are wanted here: then push them",
            Self::LayerGone => "nothing: no mount shows it, and pushing the layer again heals it",
            Self::SignatureGone => "nothing: the manifest is signed anew when it is read",
            Self::ManifestUnknown => "nothing, or use a newer regfs to check it",
            Self::UploadStale => "finish it, or remove it (rm)",
            Self::Foreign => "move it out of the store",
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// With what, in the words of a registry.
    pub subject: String,
    /// Where it lies, relative to the store.
    pub path: String,
    /// Why.
    pub reason: String,
}

impl Finding {
    pub(super) fn new(kind: Kind, subject: String, at: &Path, reason: impl Into<String>) -> Self {
        Self { kind, subject, path: at.to_string_lossy().into_owned(), reason: reason.into() }
    }

    pub(super) fn blob(kind: Kind, digest: &Digest, at: &Path, reason: impl Into<String>) -> Self {
        Self::new(kind, format!("blob {digest}"), at, reason)
    }

    /// A part of a repository: `what` is `tag v1`, say.
    pub(super) fn within(
        kind: Kind, repository: &RepositoryName, what: &str, at: &Path, reason: impl Into<String>,
    ) -> Self {
        Self::new(kind, format!("{what} of {repository}"), at, reason)
    }

    /// A file or folder of which nothing more is known.
    pub(super) fn file(kind: Kind, at: &Path, reason: impl Into<String>) -> Self {
        Self::new(kind, at.to_string_lossy().into_owned(), at, reason)
    }
}
