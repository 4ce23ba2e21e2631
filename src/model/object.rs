//! Objects in JSON. serde takes a list of values for a struct, in the order of its members; no other
//! reader of a manifest would see the same in it.

use crate::model::{Error, Result};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, marker::PhantomData};

/// A `T` that is written as an object.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        object(value).map(Self)
    }
}

/// Reads a member that is an object, as `deserialize_with`.
pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<T, D::Error> {
    value.deserialize_map(Members(PhantomData))
}

/// Reads a text that is an object. Errors: `ManifestInvalid`.
pub(super) fn from_json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T> {
    let object = serde_json::from_slice::<Object<T>>(text);
    object.map(|it| it.0).map_err(|error| Error::ManifestInvalid(error.to_string()))
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = T;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Pair {
        first: u8,
        second: u8,
    }

    #[test]
    fn a_list_is_no_object() {
        let pair = Pair { first: 1, second: 2 };
        assert_eq!(from_json::<Pair>(br#"{"first":1,"second":2}"#).unwrap(), pair);
        assert_eq!(serde_json::from_slice::<Pair>(b"[1,2]").unwrap(), pair);
        let refused = from_json::<Pair>(b"[1,2]").unwrap_err().to_string();
        assert!(refused.contains("expected a JSON object"), "{refused}");
        assert!(from_json::<Pair>(b"7").is_err());
    }
}
