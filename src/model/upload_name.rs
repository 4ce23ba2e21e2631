//! The name of an upload: where in a repository's folder a person finds it.
//!
//! Most are files of `uploads/`. A dot file in `layers/` or `manifests/` (rsync's and editors'
//! temporary files) is an upload as well, and so is a layer that is being written under its
//! digest. The text form, `uploads/NAME`, is what the store keeps beside the upload's data.

use crate::model::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

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

/// Where an upload is found: an area and a path in it of one component, or of two when it lies in
/// a staging folder (`layers/.~tmp~/sha256:…`).
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

    /// The name of a file in a staging folder of `area`. Errors as for [`UploadName::new`].
    pub fn in_folder(area: Area, folder: &OsStr, file: &OsStr) -> Result<Self> {
        check(folder)?;
        check(file)?;
        Ok(Self { area, folder: Some(folder.to_owned()), file: file.to_owned() })
    }

    /// The area it lies in.
    pub fn area(&self) -> Area {
        self.area
    }

    /// The staging folder it lies in, if any.
    pub fn folder(&self) -> Option<&OsStr> {
        self.folder.as_deref()
    }

    /// The last component.
    pub fn file(&self) -> &OsStr {
        &self.file
    }

    /// The text form: `AREA/FILE` or `AREA/FOLDER/FILE`, in raw bytes, as file names are.
    pub fn to_bytes(&self) -> Vec<u8> {
        let folder = self.folder.as_ref().map(|folder| folder.as_bytes());
        let parts = [Some(self.area.name().as_bytes()), folder, Some(self.file.as_bytes())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(&b'/')
    }

    /// The inverse of [`UploadName::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let invalid = || {
            let text = String::from_utf8_lossy(bytes);
            Error::name_invalid("upload", &text, "it is not AREA/FILE or AREA/FOLDER/FILE")
        };
        let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'/').collect();
        let area = Area::ALL.into_iter().find(|area| area.name().as_bytes() == parts[0]);
        match (area, &parts[1..]) {
            (Some(area), [file]) => Self::new(area, OsStr::from_bytes(file)),
            (Some(area), [folder, file]) => {
                Self::in_folder(area, OsStr::from_bytes(folder), OsStr::from_bytes(file))
            }
            _ => Err(invalid()),
        }
    }
}

/// Longest file name in bytes, as Linux has it.
const FILE_NAME_BYTES_MAX: usize = 255;

/// Refuses what cannot be the name of a file.
fn check(file: &OsStr) -> Result<()> {
    let bytes = file.as_bytes();
    let refused = |reason| {
        let text = OsString::from_vec(bytes.to_vec());
        Err(Error::name_invalid("file", &text.to_string_lossy(), reason))
    };
    match bytes {
        b"" | b"." | b".." => refused("it is not a file name"),
        _ if bytes.len() > FILE_NAME_BYTES_MAX => refused("it is longer than 255 bytes"),
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
        for bad in ["", "uploads", "uploads/", "other/x", "uploads/..", "layers/a/b/c", "layers//x"]
        {
            assert!(UploadName::from_bytes(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_prints_to_what_parses_back(bytes in "[a-zA-Z .:~é\u{1}-]{1,40}", folder: bool) {
            let file = OsStr::new(&bytes);
            let name = if folder {
                UploadName::in_folder(Area::Layers, OsStr::new(".tmp"), file)
            } else {
                UploadName::new(Area::Uploads, file)
            };
            if let Ok(name) = name {
                prop_assert_eq!(UploadName::from_bytes(&name.to_bytes()).unwrap(), name);
            }
        }
    }
}
