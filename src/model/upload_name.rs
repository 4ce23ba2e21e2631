//! The name of an upload: where in a repository's folder a person finds it.
//!
//! Most are files of `uploads/`, or of folders there. A dot file in `layers/` or `manifests/` (rsync's and editors'
//! temporary files) is an upload as well, and so is a layer that is being written under its
//! digest. The text form, `uploads/NAME`, is what the store keeps beside the upload's data.

use crate::model::{Digest, Error, Result};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

/// The three folders of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// Blobs that the repository links.
    Layers,
    /// Tags and revisions.
    Manifests,
    /// Uploads in progress.
    Uploads,
}

impl Area {
    /// Every area, in the order in which mirroring must copy them.
    pub const ALL: [Self; 3] = [Self::Layers, Self::Manifests, Self::Uploads];

    /// The folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Manifests => "manifests",
            Self::Uploads => "uploads",
        }
    }
}

/// Where an upload is found: an area and a path in it, which has more than one component when the
/// upload lies in a folder (`layers/.~tmp~/sha256:…`, `uploads/image/blobs/sha256/…`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadName {
    area: Area,
    folder: Option<OsString>,
    file: OsString,
}

impl UploadName {
    /// The name of a file directly in `area`. Errors: `NameInvalid` when `file` cannot be a file's
    /// name.
    pub fn new(area: Area, file: &OsStr) -> Result<Self> {
        check(file)?;
        Ok(Self { area, folder: None, file: file.to_owned() })
    }

    /// The name of a file in a folder of `area`, which is given as its path there. Errors as for
    /// [`UploadName::new`].
    pub fn in_folder(area: Area, folder: &OsStr, file: &OsStr) -> Result<Self> {
        if folder.len() > FOLDER_BYTES_MAX {
            return Err(Error::NameTooLong { limit: FOLDER_BYTES_MAX });
        }
        folder.as_bytes().split(|byte| *byte == b'/').map(OsStr::from_bytes).try_for_each(check)?;
        check(file)?;
        Ok(Self { area, folder: Some(folder.to_owned()), file: file.to_owned() })
    }

    /// A name that no listing shows and no tool can give: where content of this digest would be in
    /// `area`, or in `layers`, since in `uploads` every name is shown.
    pub fn unlisted(area: Area, digest: &Digest) -> Self {
        let area = if area == Area::Uploads { Area::Layers } else { area };
        Self { area, folder: None, file: digest.to_string().into() }
    }

    /// The area it lies in.
    pub fn area(&self) -> Area {
        self.area
    }

    /// The path in the area of the folder it lies in, if any.
    pub fn folder(&self) -> Option<&OsStr> {
        self.folder.as_deref()
    }

    /// The paths of the folder it lies in, and of those around that, the innermost first.
    pub fn folders(&self) -> impl Iterator<Item = &OsStr> {
        let innermost = self.folder.as_ref().map(Path::new);
        innermost
            .into_iter()
            .flat_map(Path::ancestors)
            .map(Path::as_os_str)
            .filter(|folder| !folder.is_empty())
    }

    /// The last component.
    pub fn file(&self) -> &OsStr {
        &self.file
    }

    /// The text form: `AREA/FILE` or `AREA/FOLDERS/FILE`, in raw bytes, as file names are.
    pub fn to_bytes(&self) -> Vec<u8> {
        let folder = self.folder.as_ref().map(|folder| folder.as_bytes());
        let parts = [Some(self.area.name().as_bytes()), folder, Some(self.file.as_bytes())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(&b'/')
    }

    /// The inverse of [`UploadName::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let invalid = || {
            let text = String::from_utf8_lossy(bytes);
            Error::name_invalid("upload", &text, "it is not AREA/FILE or AREA/FOLDERS/FILE")
        };
        let split = |bytes: &[u8], at: usize| {
            let (before, after) = (OsStr::from_bytes(&bytes[..at]), &bytes[at + 1..]);
            (before.to_owned(), after.to_vec())
        };
        let first = bytes.iter().position(|byte| *byte == b'/').ok_or_else(invalid)?;
        let (area, path) = split(bytes, first);
        let area = Area::ALL.into_iter().find(|known| area == known.name()).ok_or_else(invalid)?;
        match path.iter().rposition(|byte| *byte == b'/') {
            None => Self::new(area, OsStr::from_bytes(&path)),
            Some(last) => {
                let (folder, file) = split(&path, last);
                Self::in_folder(area, &folder, OsStr::from_bytes(&file))
            }
        }
    }
}

/// Longest file name in bytes, as Linux has it.
const FILE_NAME_BYTES_MAX: usize = 255;
/// Longest path of a folder in its area, in bytes: what Linux takes as a path.
const FOLDER_BYTES_MAX: usize = 4096;

/// Refuses what cannot be the name of a file.
fn check(file: &OsStr) -> Result<()> {
    let bytes = file.as_bytes();
    let refused = |reason| {
        let text = OsString::from_vec(bytes.to_vec());
        Err(Error::name_invalid("file", &text.to_string_lossy(), reason))
    };
    match bytes {
        b"" | b"." | b".." => refused("it is not a file name"),
        _ if bytes.len() > FILE_NAME_BYTES_MAX => {
            Err(Error::NameTooLong { limit: FILE_NAME_BYTES_MAX })
        }
        _ if bytes.iter().any(|byte| matches!(byte, b'/' | 0)) => {
            refused("a slash or NUL is in it")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_upload_name_is_refused() {
        for bad in
            ["", "uploads", "uploads/", "other/x", "uploads/..", "layers/a/../c", "layers//x"]
        {
            assert!(UploadName::from_bytes(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_tells_every_folder_around_it() {
        let name = UploadName::from_bytes(b"uploads/a/b/c/file").unwrap();
        assert_eq!(name.folder(), Some(OsStr::new("a/b/c")));
        assert_eq!(name.folders().collect::<Vec<_>>(), ["a/b/c", "a/b", "a"]);
        assert_eq!(name.file(), "file");
    }

    proptest! {
        #[test]
        fn a_name_prints_to_what_parses_back(bytes in "[a-zA-Z .:~é\u{1}-]{1,40}", folder: bool) {
            let file = OsStr::new(&bytes);
            let name = if folder {
                UploadName::in_folder(Area::Layers, OsStr::new(".tmp/deep"), file)
            } else {
                UploadName::new(Area::Uploads, file)
            };
            if let Ok(name) = name {
                prop_assert_eq!(UploadName::from_bytes(&name.to_bytes()).unwrap(), name);
            }
        }
    }
}
