//! The names of repositories, tags and uploads: their grammars, parsing and printing.
//!
//! The grammars are those of docker/distribution 2.8 (`reference/regexp.go`). A name that cannot
//! exist is refused here, so everything behind the rim has only names that can.

use crate::model::{Digest, Error, Result};
use std::{fmt, str::FromStr};

/// Longest repository name in bytes, slashes included.
const REPOSITORY_NAME_BYTES_MAX: usize = 255;
/// Longest tag in bytes.
const TAG_BYTES_MAX: usize = 128;

/// One part of a repository's name, between slashes.
///
/// Invariant: matches `[a-z0-9]+(?:(?:[._]|__|[-]*)[a-z0-9]+)*`, so it is neither empty nor `..`,
/// and never begins with `_`, `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Component(Box<str>);

/// The name of a repository: components with slashes between, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(std::sync::Arc<str>);

/// A movable name for a manifest: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

/// What identifies an upload for its whole life, across renames and restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(uuid::Uuid);

/// How a manifest is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// By the tag that names it now.
    Tag(Tag),
    /// By its digest: always the same manifest.
    Digest(Digest),
}

impl FromStr for Component {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match component_fault(text) {
            None => Ok(Self(text.into())),
            Some(reason) => Err(Error::name_invalid("repository", text, reason)),
        }
    }
}

impl RepositoryName {
    /// The components, from the outermost inwards.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The name as text, with slashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name one level up; `None` for a name of one component.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(Self(parent.into()))
    }

    /// The innermost component.
    pub fn last(&self) -> Component {
        let last = self.0.rsplit_once('/').map_or(&*self.0, |(_, last)| last);
        Component(last.into())
    }

    /// The name one level down. Errors: `NameInvalid` when it gets too long.
    pub fn child(parent: Option<&Self>, component: &Component) -> Result<Self> {
        match parent {
            None => component.0.parse(),
            Some(parent) => format!("{parent}/{component}").parse(),
        }
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// This name after `from`, which it lies within, was renamed to `to`. `None` when it does not
    /// lie within, or when the new name would be too long.
    pub fn rebased(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&*from.0)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}").parse().ok())?
    }
}

impl FromStr for RepositoryName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > REPOSITORY_NAME_BYTES_MAX {
            return Err(Error::name_invalid("repository", text, "it is longer than 255 bytes"));
        }
        match text.split('/').find_map(component_fault) {
            None => Ok(Self(text.into())),
            Some(reason) => Err(Error::name_invalid("repository", text, reason)),
        }
    }
}

/// Why `text` is not one component of a repository's name; `None` when it is.
fn component_fault(text: &str) -> Option<&'static str> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if text.len() > REPOSITORY_NAME_BYTES_MAX {
        return Some("it is longer than 255 bytes");
    }
    if !text.bytes().all(|byte| is_word(byte) || b"._-".contains(&byte)) {
        return Some("only a-z, 0-9 and . _ - may be in it");
    }
    let ends = [text.bytes().next(), text.bytes().next_back()];
    if !ends.into_iter().all(|end| end.is_some_and(is_word)) {
        return Some("it must begin and end with a letter or digit");
    }
    // What stands between the words: one of `.`, `_`, `__`, or any number of `-`.
    let separators = text.split(|letter: char| letter.is_ascii_alphanumeric());
    let is_separator =
        |part: &str| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|byte| byte == b'-');
    (!separators.into_iter().all(is_separator))
        .then_some("between its words may stand one . or _, or __, or any number of -")
}

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |reason| Err(Error::name_invalid("tag", text, reason));
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let Some(first) = text.bytes().next() else {
            return refused("it is empty");
        };
        if text.len() > TAG_BYTES_MAX {
            return refused("it is longer than 128 bytes");
        }
        if !is_word(first) {
            return refused("it must begin with a letter, a digit or _");
        }
        if !text.bytes().all(|byte| is_word(byte) || b".-".contains(&byte)) {
            return refused("only letters, digits and _ . - may be in it");
        }
        Ok(Self(text.into()))
    }
}

impl UploadId {
    /// A fresh one, random.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl FromStr for UploadId {
    type Err = Error;

    /// Only the form that `Display` prints is taken: docker-registry's purger knows no other.
    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::name_invalid("upload id", text, "it is not a lower-case UUID");
        let id = uuid::Uuid::try_parse(text).map(Self).map_err(|_| refused())?;
        if id.to_string() == text { Ok(id) } else { Err(refused()) }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // A tag has no colon and a digest has one, so nothing is both.
        if text.contains(':') {
            text.parse().map(Self::Digest)
        } else {
            text.parse().map(Self::Tag)
        }
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(formatter),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repository_names_are_those_of_distribution() {
        for good in
            ["a", "a__b", "a--b", "a----b", "a.b", "a/b/c", "library/busybox", "layers", "0"]
        {
            assert_eq!(good.parse::<RepositoryName>().unwrap().to_string(), good);
        }
        let long = "a".repeat(256);
        let bad = ["", "/", "a/", "/a", "a//b", "a___b", "a..b", ".a", "a_", "_a", "-a", "a-"];
        for bad in bad.into_iter().chain(["a/_layers/b", "UPPER", "a._b", "a b", "é", "..", &long])
        {
            let error = bad.parse::<RepositoryName>().unwrap_err();
            assert!(matches!(error, Error::NameInvalid { kind: "repository", .. }), "{bad}");
        }
    }

    #[test]
    fn tags_are_those_of_distribution() {
        let longest = "t".repeat(128);
        for good in ["latest", "1.0", "_x", "V1", "a.b-c_d", &longest] {
            assert_eq!(good.parse::<Tag>().unwrap().to_string(), good);
        }
        for bad in ["", ".x", "-x", "a b", "a:b", "a/b", "é", &"t".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_upload_id_is_a_uuid_in_one_spelling() {
        let id = UploadId::random();
        assert_eq!(id.to_string().parse::<UploadId>().unwrap(), id);
        for bad in ["", "x", &id.to_string().to_uppercase(), &id.to_string().replace('-', "")] {
            assert!(bad.parse::<UploadId>().is_err() || *bad == id.to_string(), "{bad}");
        }
    }

    #[test]
    fn a_repository_moves_with_its_namespace() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        assert!(name("a/b").is_within(&name("a")));
        assert!(!name("ab").is_within(&name("a")));
        assert_eq!(name("a/b/c").rebased(&name("a/b"), &name("x")), Some(name("x/c")));
        assert_eq!(name("a/bc").rebased(&name("a/b"), &name("x")), None);
        assert_eq!(name("a/b").parent(), Some(name("a")));
        assert_eq!(name("a").parent(), None);
        assert_eq!(name("a/b").last(), "b".parse().unwrap());
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "[a-zA-Z0-9._/:-]{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert_eq!(name.to_string(), &*text);
            }
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
