//! Extended attributes: those that follow from the content, `user.regfs.…`, and those that users
//! set.
//!
//! `digest` and `media_type` are listed, and `signed_by` of signed manifests. `uuid`, `started_at` and
//! `created_at` are found by name only: they differ between a file and its copy, and `mv`, `cp -a` and
//! `rsync -X` copy what is listed.

use crate::fs::RegistryFs;
use crate::fs::fault::{Fault, Result};
use crate::fs::handles::Writer;
use crate::fs::inodes::Ino;
use crate::fs::lanes::Lane;
use crate::fs::node::Node;
use crate::model::{
    Algorithm, Digest, Error, Hasher, KeyId, MANIFEST_BYTES_MAX, Manifest, Reference,
    RepositoryName, UploadId,
};
use crate::registry::UploadReader;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt, time::SystemTime};

/// The attributes that follow from the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Virtual {
    Digest,
    MediaType,
    SignedBy,
    Uuid,
    StartedAt,
    CreatedAt,
}

impl Virtual {
    const ALL: [Self; 6] = [
        Self::Digest,
        Self::MediaType,
        Self::SignedBy,
        Self::Uuid,
        Self::StartedAt,
        Self::CreatedAt,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Digest => "user.regfs.digest",
            Self::MediaType => "user.regfs.media_type",
            Self::SignedBy => "user.regfs.signed_by",
            Self::Uuid => "user.regfs.uuid",
            Self::StartedAt => "user.regfs.started_at",
            Self::CreatedAt => "user.regfs.created_at",
        }
    }

    /// Whether a listing of the node's attributes has it, where it has a value.
    fn is_listed_of(self, node: &Node) -> bool {
        match node {
            Node::Layer(..) => matches!(self, Self::Digest),
            Node::Tag(..) | Node::Revision(..) => {
                matches!(self, Self::Digest | Self::MediaType | Self::SignedBy)
            }
            Node::Upload(..) => matches!(self, Self::Digest),
            Node::Root
            | Node::Repository(_)
            | Node::Area(..)
            | Node::StagingFolder(..)
            | Node::Control
            | Node::ControlFile(_) => false,
        }
    }
}

/// What the names of all of them begin with.
const VIRTUAL_PREFIX: &str = "user.regfs.";

/// What names of attributes mean.
enum Name<'a> {
    Virtual(Virtual),
    /// Kept as it is.
    User(&'a str),
    /// One of ours that does not exist.
    Reserved,
    /// Under a prefix that nothing is kept of; reading says that it is not set.
    Unset,
    /// Access lists: tools use the permission bits when they are told that there are none.
    Refused,
}

fn parse(name: &OsStr) -> Name<'_> {
    let Some(text) = name.to_str() else { return Name::Unset };
    match Virtual::ALL.into_iter().find(|known| known.name() == text) {
        Some(known) => Name::Virtual(known),
        None if text.starts_with(VIRTUAL_PREFIX) => Name::Reserved,
        None if text.starts_with("user.") => Name::User(text),
        None if text.starts_with("system.") => Name::Refused,
        None => Name::Unset,
    }
}

impl RegistryFs {
    /// The value of an extended attribute.
    pub(super) fn getxattr(&self, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        match parse(name) {
            Name::Virtual(name) => {
                let value = self.virtual_value(&self.current(ino)?, name)?;
                Ok(value.ok_or(Fault::NoAttribute)?.into_bytes())
            }
            Name::User(name) => {
                let node = self.current(ino)?;
                let value = self.keeper(&node).map_or(Ok(None), |keeper| keeper.get(name))?;
                value.ok_or(Fault::NoAttribute)
            }
            // Whatever it is of: tools ask for these of every file that they have open.
            Name::Reserved | Name::Unset => Err(Fault::NoAttribute),
            Name::Refused => Err(Fault::NotKept("access lists")),
        }
    }

    /// The names of all extended attributes, each with a NUL behind it.
    pub(super) fn listxattr(&self, ino: Ino) -> Result<Vec<u8>> {
        let node = self.current(ino)?;
        let mut names: Vec<String> = Virtual::ALL
            .into_iter()
            .filter(|name| name.is_listed_of(&node) && self.is_set(&node, *name))
            .map(|name| name.name().to_owned())
            .collect();
        if let Some(keeper) = self.keeper(&node) {
            names.extend(keeper.names()?);
        }
        Ok(names.into_iter().flat_map(|name| [name.into_bytes(), vec![0]].concat()).collect())
    }

    /// Whether a listed attribute has a value: only signed manifests say who signed them, and only a
    /// look at the manifest tells.
    fn is_set(&self, node: &Node, name: Virtual) -> bool {
        match name {
            Virtual::SignedBy => matches!(self.virtual_value(node, name), Ok(Some(_))),
            Virtual::Digest
            | Virtual::MediaType
            | Virtual::Uuid
            | Virtual::StartedAt
            | Virtual::CreatedAt => true,
        }
    }

    /// Sets an extended attribute, or removes it for `None`. A virtual one can only be set to what
    /// it is, and stays when it is removed.
    pub(super) fn setxattr(
        &self, ino: Ino, name: &OsStr, value: Option<&[u8]>, condition: SetCondition,
    ) -> Result<()> {
        let node = self.current(ino)?;
        let name = match parse(name) {
            Name::Virtual(name) => return self.set_virtual(&node, name, value),
            Name::User(name) => name,
            Name::Reserved => {
                let value = "not there".to_owned();
                return Err(Fault::AttributeFixed { name: VIRTUAL_PREFIX, value });
            }
            Name::Unset | Name::Refused => return Err(not_kept(name, value)),
        };
        let Some(keeper) = self.keeper(&node) else {
            return Err(Fault::Unkept("extended attributes of this file"));
        };
        if value.is_none() || condition != SetCondition::None {
            let exists = keeper.get(name)?.is_some();
            match condition {
                SetCondition::MustNotExist if exists => {
                    return Err(Error::Exists("the attribute".to_owned()).into());
                }
                SetCondition::MustExist if !exists => return Err(Fault::NoAttribute),
                SetCondition::None if value.is_none() && !exists => {
                    return Err(Fault::NoAttribute);
                }
                SetCondition::MustNotExist | SetCondition::MustExist | SetCondition::None => {}
            }
        }
        Ok(keeper.set(name, value)?)
    }

    fn set_virtual(&self, node: &Node, name: Virtual, value: Option<&[u8]>) -> Result<()> {
        let has = self.virtual_value(node, name)?;
        match (has, value) {
            (Some(has), Some(value)) if has.as_bytes() == value => Ok(()),
            // rsync -X removes what the source does not have, and it would be there again at once.
            (Some(_), None) => Ok(()),
            (Some(_), Some(value)) if self.is_digest_of_manifest(node, name, value)? => Ok(()),
            (None, None) => Err(Fault::NoAttribute),
            (has, _) => Err(Fault::AttributeFixed {
                name: name.name(),
                value: has.unwrap_or_else(|| "not set".to_owned()),
            }),
        }
    }

    /// Whether `value` is the digest that an upload will have once it is put as a manifest: a signed
    /// one is not named by its own bytes.
    fn is_digest_of_manifest(&self, node: &Node, name: Virtual, value: &[u8]) -> Result<bool> {
        let Node::Upload(repository, uuid) = node else { return Ok(false) };
        if name != Virtual::Digest {
            return Ok(false);
        }
        let reader = self.repository(repository).layers().read_upload(uuid)?;
        let manifest = manifest_in(&*reader)?;
        Ok(manifest.is_some_and(|it| it.digest().to_string().as_bytes() == value))
    }

    fn virtual_value(&self, node: &Node, name: Virtual) -> Result<Option<String>> {
        match node {
            Node::Layer(repository, digest) => {
                let repository = self.repository(repository);
                Ok(match name {
                    Virtual::Digest => Some(digest.to_string()),
                    Virtual::CreatedAt => {
                        Some(time(repository.layers().fetch(digest)?.created_at()))
                    }
                    Virtual::MediaType | Virtual::SignedBy | Virtual::Uuid | Virtual::StartedAt => {
                        None
                    }
                })
            }
            Node::Tag(repository, tag) => {
                self.manifest_value(node, repository, &Reference::Tag(tag.clone()), name)
            }
            Node::Revision(repository, digest) => {
                self.manifest_value(node, repository, &Reference::Digest(*digest), name)
            }
            Node::Upload(repository, uuid) => self.upload_value(repository, uuid, name),
            Node::Root
            | Node::Repository(_)
            | Node::Area(..)
            | Node::StagingFolder(..)
            | Node::Control
            | Node::ControlFile(_) => Ok(None),
        }
    }

    /// Of a manifest that is being written those of what is written, for tools that copy attributes
    /// before they close.
    fn manifest_value(
        &self, node: &Node, repository: &RepositoryName, reference: &Reference, name: Virtual,
    ) -> Result<Option<String>> {
        if let Some(Writer::Manifest(writer)) = self.writers.get(node)
            && let Some(draft) = writer.draft()
        {
            return Ok(match name {
                Virtual::Digest => Some(draft.digest().to_string()),
                Virtual::MediaType => Some(draft.format().media_type().to_owned()),
                Virtual::SignedBy => signed_by(&draft),
                Virtual::CreatedAt | Virtual::Uuid | Virtual::StartedAt => None,
            });
        }
        let repository = self.repository(repository);
        let manifests = repository.manifests();
        let value = match name {
            Virtual::Digest => manifests.stat(reference).map(|stat| Some(stat.digest.to_string())),
            Virtual::MediaType => {
                manifests.get(reference).map(|it| Some(it.format().media_type().to_owned()))
            }
            Virtual::SignedBy => manifests.get(reference).map(|manifest| signed_by(&manifest)),
            Virtual::CreatedAt => {
                manifests.stat(reference).map(|stat| Some(time(stat.attributes.changed_at)))
            }
            Virtual::Uuid | Virtual::StartedAt => return Ok(None),
        };
        match value {
            Ok(value) => Ok(value),
            // Being written for the first time.
            Err(error) if error.is_unknown() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The running digest is there so that a user can name the upload without hashing it again.
    fn upload_value(
        &self, repository_name: &RepositoryName, uuid: &UploadId, name: Virtual,
    ) -> Result<Option<String>> {
        let repository = self.repository(repository_name);
        let layers = repository.layers();
        Ok(match name {
            Virtual::Digest => {
                let digest = match self.uploads.take_up(&*self.registry, repository_name, uuid) {
                    Ok(upload) => upload.digest()?,
                    // Another process has it, or nobody may have it: then it is read.
                    Err(Fault::Registry(Error::UploadBusy(_) | Error::ReadOnly)) => {
                        digest_of(&*layers.read_upload(uuid)?)?
                    }
                    Err(fault) => return Err(fault),
                };
                Some(digest.to_string())
            }
            Virtual::Uuid => Some(uuid.to_string()),
            Virtual::StartedAt => Some(time(layers.stat_upload(uuid)?.started_at)),
            Virtual::MediaType => manifest_in(&*layers.read_upload(uuid)?)?
                .map(|it| it.format().media_type().to_owned()),
            Virtual::SignedBy => {
                manifest_in(&*layers.read_upload(uuid)?)?.and_then(|it| signed_by(&it))
            }
            Virtual::CreatedAt => None,
        })
    }
}

/// The manifest that an upload holds, if it is one: rsync -X sets what it found on a manifest on the
/// temporary file that it makes of it.
fn manifest_in(reader: &dyn UploadReader) -> Result<Option<Manifest>> {
    let length = reader.length()?.min(MANIFEST_BYTES_MAX + 1);
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| Fault::TooLong)?];
    let count = reader.read_at(&mut bytes, 0)?;
    Ok(Manifest::parse(&bytes[..count]).ok())
}

/// The names of the keys that signed a manifest. One of whose signatures any does not hold has none.
fn signed_by(manifest: &Manifest) -> Option<String> {
    let keys = manifest.signed()?.verify().ok()?;
    Some(keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(","))
}

/// Bytes hashed at once.
const HASH_STEP_BYTES: usize = 1 << 20;

/// The sha256 of everything that `reader` gives.
fn digest_of(reader: &dyn UploadReader) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; HASH_STEP_BYTES];
    let mut offset = 0;
    loop {
        let count = reader.read_at(&mut buffer, offset)?;
        if count == 0 {
            return Ok(hasher.digest()?);
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
}

/// Length of an access list that says no more than permission bits do: a version, and an entry each
/// for owner, group and others.
const PLAIN_ACCESS_LIST_BYTES: usize = 4 + 3 * 8;

/// Why an attribute that is not called `user.…` is not set. cp and install set access lists that say
/// what the permission bits say, and cp the label of SELinux; they go on without.
fn not_kept(name: &OsStr, value: Option<&[u8]>) -> Fault {
    let length = value.map_or(0, <[u8]>::len);
    match name.to_str() {
        Some("system.posix_acl_access") if length > PLAIN_ACCESS_LIST_BYTES => {
            Fault::Unkept("access lists")
        }
        Some("system.posix_acl_access" | "security.selinux") => Fault::NotKept("access lists"),
        Some("system.posix_acl_default") if length > 0 => Fault::Unkept("default access lists"),
        Some("system.posix_acl_default") => Fault::NotKept("access lists"),
        Some(_) | None => Fault::Unkept("extended attributes that are not called user.…"),
    }
}

/// Where a look at an attribute runs: the digest of an upload may have to be computed first.
pub(super) fn xattr_lane(name: &OsStr) -> Lane {
    if name.as_bytes().starts_with(VIRTUAL_PREFIX.as_bytes()) { Lane::Slow } else { Lane::Quick }
}

/// When an attribute may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetCondition {
    /// Always.
    None,
    /// Only when it is not set (`XATTR_CREATE`).
    MustNotExist,
    /// Only when it is set (`XATTR_REPLACE`).
    MustExist,
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
