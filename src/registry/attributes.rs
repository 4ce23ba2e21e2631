//! The interface to attributes: mode, owner, times and extended attributes of what a person sees.

use crate::model::{Area, Attributes, AttributesChange, Digest, Reference, Result, Tag, UploadId};

/// What carries attributes in a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The repository's own folder.
    Repository,
    /// One of its three folders.
    Area(Area),
    /// A layer, as this repository links it.
    Layer(Digest),
    /// A tag.
    Tag(Tag),
    /// A manifest by its digest.
    Revision(Digest),
    /// An upload.
    Upload(UploadId),
}

/// What has the attributes of a manifest that is called so.
impl From<&Reference> for Subject {
    fn from(reference: &Reference) -> Self {
        match reference {
            Reference::Tag(tag) => Self::Tag(tag.clone()),
            Reference::Digest(digest) => Self::Revision(*digest),
        }
    }
}

/// Attributes of one repository's things. Errors of every method: the `…Unknown` of the subject.
pub trait AttributeService: Send + Sync {
    /// The attributes. A folder of a repository without content has those it would be made with.
    fn get(&self, subject: &Subject) -> Result<Attributes>;

    /// Changes attributes, and gives back all as they are now.
    fn change(&self, subject: &Subject, change: &AttributesChange) -> Result<Attributes>;

    /// The value of an extended attribute, `None` when it is not set. `name` is the whole name,
    /// `user.comment`.
    fn extended(&self, subject: &Subject, name: &str) -> Result<Option<Vec<u8>>>;

    /// The names of all extended attributes that are set, whole.
    fn extended_names(&self, subject: &Subject) -> Result<Vec<String>>;

    /// Sets an extended attribute, or removes it for `None`; removing what is not there is fine.
    fn set_extended(&self, subject: &Subject, name: &str, value: Option<&[u8]>) -> Result<()>;
}
