//! Whether a JSON text has a member twice.
//!
//! Readers differ in which of the two they take, so a signature on such a text says nothing.

use crate::model::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::{collections::HashSet, fmt};

/// Fails when an object in `text`, at any depth, has two members of one name. Errors:
/// `ManifestInvalid`.
pub(super) fn check(text: &[u8]) -> Result<()> {
    let mut json = serde_json::Deserializer::from_slice(text);
    Unique
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| Error::ManifestInvalid(error.to_string()))
}

/// Reads any value and keeps nothing of it.
#[derive(Clone, Copy)]
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            object.next_value_seed(self)?;
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format!("the member {name:?} is there twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_there_twice_is_found_at_any_depth() {
        for (text, twice) in [
            (r#"{"a":1,"b":{"a":2},"c":[{"a":1.5},{"a":null}]}"#, false),
            (r#"{"a":1,"b":true,"a":1}"#, true),
            (r#"{"a":[{"b":1,"c":"","b":1}]}"#, true),
            (r#"{"a":1,"\u0061":1}"#, true),
        ] {
            assert_eq!(check(text.as_bytes()).is_err(), twice, "{text}");
        }
        assert!(check(b"{} {}").is_err());
    }
}
