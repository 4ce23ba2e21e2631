//! From what went wrong to the number that a tool sees and the words that help: the only place.

use crate::fs::fault::Fault;
use crate::model::Error;

/// What a person is told of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The error's number.
    pub number: i32,
    /// What to do about it; empty where there is nothing to say.
    pub remedy: &'static str,
    /// Whether it is worth a line in `.regfs/errors`: that a name does not exist is not.
    pub is_refusal: bool,
}

impl Explanation {
    /// The error's name, as in errno(3).
    pub fn name(&self) -> String {
        NAMES
            .iter()
            .find(|(number, _)| *number == self.number)
            .map_or_else(|| format!("errno {}", self.number), |(_, name)| (*name).to_owned())
    }
}

/// The number, the remedy and the weight of `fault`.
pub fn explain(fault: &Fault) -> Explanation {
    let refused = |number, remedy| Explanation { number, remedy, is_refusal: true };
    let quiet = |number| Explanation { number, remedy: "", is_refusal: false };
    match fault {
        Fault::Registry(error) => explain_error(error),
        Fault::Stale => quiet(libc::ESTALE),
        Fault::NoEntry => quiet(libc::ENOENT),
        Fault::NoAttribute => quiet(libc::ENODATA),
        Fault::BufferTooSmall { .. } => quiet(libc::ERANGE),
        // cp and install fall back to chmod when ACLs are not supported.
        Fault::NotKept(_) => quiet(libc::EOPNOTSUPP),
        Fault::Unkept(_) => refused(
            libc::EOPNOTSUPP,
            "leave them out (rsync without -A and -X); mode, owner and times are kept, and \
             attributes called user.…",
        ),
        // mv and rsync copy and remove when they get this.
        Fault::CrossDevice => quiet(libc::EXDEV),
        Fault::Finished(_) => refused(libc::EPERM, "write before it is renamed, or another file"),
        Fault::Cancelled => refused(libc::ENOENT, "write it again, from the beginning"),
        Fault::NothingWritten => refused(libc::EBADMSG, "copy the whole content to it"),
        Fault::LateWrite => refused(libc::EIO, "call msync before close, or close after munmap"),
        Fault::BadHandle => refused(libc::EBADF, "open the file again, for what is to be done"),
        Fault::NotADirectory => quiet(libc::ENOTDIR),
        Fault::IsADirectory => quiet(libc::EISDIR),
        Fault::FolderNotEmpty => refused(libc::ENOTEMPTY, NOT_EMPTY_REMEDY),
        Fault::PositionUnknown => refused(libc::EINVAL, "list the folder from its beginning"),
        Fault::AttributeFixed { .. } => refused(
            libc::EPERM,
            "leave attributes called user.regfs.… out; they follow the content by themselves",
        ),
        Fault::TooLong => refused(libc::EFBIG, "write a shorter file"),
        Fault::Panic(_) => refused(libc::EIO, "report this, with the log"),
    }
}

fn explain_error(error: &Error) -> Explanation {
    let refused = |number, remedy| Explanation { number, remedy, is_refusal: true };
    let quiet = |number| Explanation { number, remedy: "", is_refusal: false };
    match error {
        Error::NameInvalid { kind, .. } => refused(libc::EINVAL, name_remedy(kind)),
        Error::NameTooLong { .. } => refused(libc::ENAMETOOLONG, "use a shorter name"),
        Error::RepositoryUnknown(_)
        | Error::TagUnknown(..)
        | Error::ManifestUnknown(..)
        | Error::LayerUnknown(..)
        | Error::UploadUnknown(_) => quiet(libc::ENOENT),
        // What ext4, xfs and btrfs answer for a wrong checksum: "Bad message".
        // A TarSum is promised of an archive, and other content has none.
        Error::DigestMismatch { .. } | Error::TarInvalid { .. } | Error::GzipInvalid(_) => refused(
            libc::EBADMSG,
            "name it by the digest that it has, or copy the right file; an upload stays as it is",
        ),
        Error::Damaged { .. } | Error::LinkDamaged { .. } => refused(
            libc::EBADMSG,
            "copy it here again from a good copy: that replaces what is damaged",
        ),
        Error::LinkDangling { .. } => refused(libc::ENOLINK, "remove the tag, or put it again"),
        Error::ManifestInvalid(_) => refused(libc::EINVAL, NO_MANIFEST_REMEDY),
        Error::ManifestTooLarge { .. } => refused(
            libc::EFBIG,
            "make it shorter: no registry takes more; big content is for layers/",
        ),
        // ENOLINK prints "Link has been severed": the manifest points at what is not there.
        Error::ReferencesUnknown { .. } => refused(
            libc::ENOLINK,
            "copy these into layers/ (or, for an index, its manifests into manifests/) first, or \
             mount with -o relaxed",
        ),
        Error::ManifestMisplaced { .. } => {
            refused(libc::EINVAL, "copy it to the repository and tag that it names")
        }
        Error::ManifestUntagged => refused(libc::EINVAL, "copy it to a tag, or to its digest"),
        Error::SignatureRejected(_) => refused(libc::EKEYREJECTED, FORGED_REMEDY),
        Error::Unclear { .. } => refused(libc::EIO, "look at it, and remove it if it is nobody's"),
        Error::StoreBusy(_) => refused(libc::EBUSY, "wait until that has ended"),
        Error::SignaturesTooMany { .. } => {
            refused(libc::EKEYREJECTED, "rm it by its digest first: then only new signatures count")
        }
        Error::SignatureMissing => refused(libc::ENOKEY, UNSIGNED_REMEDY),
        Error::SigningKeyInvalid(_) => refused(libc::ENOKEY, SIGNING_KEY_REMEDY),
        Error::LayerImmutable(_) => refused(
            libc::EPERM,
            "content never changes under its digest: copy new content to uploads/, then mv it to \
             its own digest; a manifest goes to a tag",
        ),
        Error::Busy(_) => {
            refused(libc::EBUSY, "wait until the process that writes it has closed it, or end that")
        }
        Error::UploadBusy(_) => {
            refused(libc::EBUSY, "wait until the other process has closed it, or end that")
        }
        Error::TooMany { .. } => refused(libc::ENFILE, "close some, and try again"),
        // As the disk itself answers, which does not say of what there is no more.
        Error::AttributesFull { .. } => refused(libc::ENOSPC, ATTRIBUTES_REMEDY),
        Error::NotEmpty(_) => refused(libc::ENOTEMPTY, NOT_EMPTY_REMEDY),
        // mv tries whether a name is free, and knows what to do when it is not.
        Error::Exists(_) => quiet(libc::EEXIST),
        Error::ReadOnly => refused(libc::EROFS, "unmount it, and mount it again without -o ro"),
        Error::Unsupported(_) => {
            refused(libc::EPERM, "README has a table of what each command means here")
        }
        Error::StoreSplit { .. } => refused(
            libc::EPROTO,
            "unmount what is mounted inside the store: keep it all on one disk",
        ),
        Error::StoreVersion { .. } => refused(libc::EPROTO, "use a newer regfs"),
        Error::Io { source, .. } => {
            let number = source.raw_os_error().unwrap_or(libc::EIO);
            refused(number, io_remedy(number))
        }
    }
}

/// What to do about a folder that is not empty.
const NOT_EMPTY_REMEDY: &str =
    "remove what is in it first (rm -r); what is being written may not be listed";

/// What to do when a file has no room for more attributes.
const ATTRIBUTES_REMEDY: &str = "set fewer or shorter attributes: ext4 keeps about 4,000 bytes of \
                                 them for a file; or free space";

/// What to do about content that is no manifest.
const NO_MANIFEST_REMEDY: &str = "copy a whole manifest, which is JSON: Docker schema 1, schema 2 or \
                                  list, OCI manifest or index";

/// What to do about a manifest with a signature that does not hold.
const FORGED_REMEDY: &str = "copy it again, byte for byte as it was signed; one that was edited has \
                             to be signed anew, or converted: skopeo copy --format oci";

/// What to do about a schema 1 manifest that nobody signed.
const UNSIGNED_REMEDY: &str = "convert the image to a format without signatures: skopeo copy \
                               --format v2s2, or --format oci";

/// What to do about a signing key of the store that is none.
const SIGNING_KEY_REMEDY: &str =
    "move regfs/signing-key.json out of the store: another one is made then";

/// What to do about a name that nothing of its kind can have.
fn name_remedy(kind: &str) -> &'static str {
    match kind {
        "digest" => {
            "name it by its digest, or copy it to uploads/ under any name and then mv it to its \
             digest (getfattr -n user.regfs.digest tells it)"
        }
        "tag" => "choose another tag",
        "repository" => "choose another name",
        _ => "choose another name of that form",
    }
}

/// What to do about the disk's own errors, which are passed on unchanged.
fn io_remedy(number: i32) -> &'static str {
    match number {
        libc::ENOSPC => "free space on the store's disk (df); an upload goes on where it stopped",
        libc::EDQUOT => {
            "raise the quota on the store's disk, or remove something; an upload goes on where it \
             stopped"
        }
        libc::EIO => {
            "the disk beneath the store fails: see the kernel's log (dmesg); then copy again what \
             was being written"
        }
        libc::EACCES | libc::EPERM => {
            "let the user that mounted regfs own the store, or mount as root"
        }
        libc::EMFILE | libc::ENFILE => "close files, or raise the limit of open files (ulimit -n)",
        libc::EROFS => {
            "the store's file system is read-only; mount with -o ro, or make it writable"
        }
        libc::EOPNOTSUPP => "the store's file system cannot do this; go on without",
        _ => "check the store's folder",
    }
}

/// The names of the numbers that are given, for people.
const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::EIO, "EIO"),
    (libc::EBADF, "EBADF"),
    (libc::EACCES, "EACCES"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::EXDEV, "EXDEV"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::EISDIR, "EISDIR"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENFILE, "ENFILE"),
    (libc::EMFILE, "EMFILE"),
    (libc::EFBIG, "EFBIG"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::EROFS, "EROFS"),
    (libc::ERANGE, "ERANGE"),
    (libc::ENAMETOOLONG, "ENAMETOOLONG"),
    (libc::ENOTEMPTY, "ENOTEMPTY"),
    (libc::ELOOP, "ELOOP"),
    (libc::ENODATA, "ENODATA"),
    (libc::ENOLINK, "ENOLINK"),
    (libc::EPROTO, "EPROTO"),
    (libc::EBADMSG, "EBADMSG"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::ESTALE, "ESTALE"),
    (libc::EDQUOT, "EDQUOT"),
    (libc::ENOKEY, "ENOKEY"),
    (libc::EKEYREJECTED, "EKEYREJECTED"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use std::io;

    /// The table of errors in README and DESIGN.
    #[test]
    fn each_refusal_has_the_number_and_name_that_are_promised() {
        let digest = Digest::sha256(b"");
        let io = |number| Error::io("write", "x")(io::Error::from_raw_os_error(number));
        for (error, name) in [
            (Error::DigestMismatch { expected: digest, computed: digest }, "EBADMSG"),
            (Error::Damaged { digest, reason: String::new() }, "EBADMSG"),
            (Error::name_invalid("tag", "", ""), "EINVAL"),
            (Error::ManifestInvalid(String::new()), "EINVAL"),
            (Error::ManifestTooLarge { length: 0, limit: 0 }, "EFBIG"),
            (
                Error::ReferencesUnknown { repository: "a".parse().unwrap(), missing: Vec::new() },
                "ENOLINK",
            ),
            (Error::SignatureRejected(String::new()), "EKEYREJECTED"),
            (Error::Unclear { path: std::path::PathBuf::new(), reason: "" }, "EIO"),
            (Error::StoreBusy(""), "EBUSY"),
            (Error::SignaturesTooMany { count: 65, limit: 64 }, "EKEYREJECTED"),
            (Error::SignatureMissing, "ENOKEY"),
            (Error::SigningKeyInvalid(String::new()), "ENOKEY"),
            (Error::LayerImmutable(digest), "EPERM"),
            (Error::Busy(String::new()), "EBUSY"),
            (Error::ReadOnly, "EROFS"),
            (io(libc::ENOSPC), "ENOSPC"),
            (io(libc::EDQUOT), "EDQUOT"),
            (io(libc::EIO), "EIO"),
        ] {
            let explanation = explain(&Fault::Registry(error));
            assert_eq!(explanation.name(), name);
            assert!(explanation.is_refusal && !explanation.remedy.is_empty(), "{name}");
        }
    }

    #[test]
    fn that_a_name_does_not_exist_is_no_refusal() {
        assert!(!explain(&Fault::NoEntry).is_refusal);
        let unknown = Error::RepositoryUnknown("a".parse().unwrap());
        assert_eq!(explain(&unknown.into()).number, libc::ENOENT);
    }
}
