//! Texts as digests, and as every kind of name: what is taken prints as it was, and can stand in a
//! path.

use regfs::model::{Area, Component, Digest, RepositoryName, Tag, UploadId, UploadName};
use std::{ffi::OsStr, fmt::Display, os::unix::ffi::OsStrExt as _, str::FromStr};

/// Fails when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        same::<Digest>(text);
        same::<Tag>(text);
        same::<Component>(text);
        if let Some(name) = same::<RepositoryName>(text) {
            assert!(!name.to_string().starts_with('/') && !name.to_string().contains("//"));
        }
        same::<UploadId>(&text.to_ascii_lowercase());
    }
    for area in [Area::Uploads, Area::Layers, Area::Manifests] {
        if let Ok(name) = UploadName::new(area, OsStr::from_bytes(bytes)) {
            assert!(!bytes.contains(&0), "{name:?}");
        }
    }
}

/// What a text stands for, which prints to that text and leads nowhere else as part of a path.
fn same<T: FromStr + Display>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    assert_eq!(value.to_string(), text);
    for part in text.split('/') {
        assert!(
            !part.is_empty() && part != "." && part != ".." && !part.contains('\0'),
            "{text:?}"
        );
    }
    Some(value)
}
