//! A PAX header: records of a length, a key and a value, which replace and extend the fields of the
//! next header.

/// The body of a PAX header (type `x`), as it lies in the archive, whose records are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pax(Vec<u8>);

impl Pax {
    /// Takes a body whose records are whole. Errors: where the first one begins that is not.
    pub(super) fn parse(body: Vec<u8>) -> Result<Self, String> {
        let mut rest = &body[..];
        while !rest.is_empty() {
            let at = body.len() - rest.len();
            (_, _, rest) = record(rest).ok_or_else(|| {
                format!("the record at its byte {at} is no length, blank, key, = and value")
            })?;
        }
        Ok(Self(body))
    }

    /// Keys and values in their order. A key may come again; the last one counts.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (key, value, behind) = record(rest)?;
            rest = behind;
            Some((key, value))
        })
    }

    /// The value that counts for `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.records().filter(|(known, _)| *known == key).map(|(_, value)| value).last()
    }

    /// The body, as it lies in the archive.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The first record of `text`: its key, its value, and what stands behind it. The last byte of a
/// record is a newline by rights; nobody looked at it in 2015.
fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&text[..blank])?).ok()?;
    let record = text.get(blank + 1..length.checked_sub(1)?)?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], text.get(length..)?))
}

/// A decimal number, perhaps with a sign.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    // `i64` parses just what Go's `ParseInt` of base 10 does.
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The whole seconds of a time: `1424116800.25` and `-1.5` are cut at the point.
pub(super) fn seconds(text: &[u8]) -> Option<i64> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next()?)?;
    parts.next().is_none_or(|fraction| fraction.iter().all(u8::is_ascii_digit)).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let pax = Pax::parse(body.to_vec()).ok()?;
        Some(pax.records().map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
    }

    #[test]
    fn records_are_length_key_and_value() {
        let owned = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(parse(b""), Some(vec![]));
        assert_eq!(parse(b"9 path=a\n"), Some(vec![owned("path", "a")]));
        assert_eq!(parse(b"8 path=\n6 k=v\n"), Some(vec![owned("path", ""), owned("k", "v")]));
        assert_eq!(parse(b"9 a=b=\nc\n"), Some(vec![owned("a", "b=\nc")]));
        assert_eq!(parse(b"4 =\n"), Some(vec![owned("", "")]));
        for bad in [
            "x",
            "9path=a\n",
            "11 path=a\n",
            "5 path\n",
            "1 a=\n",
            "0 a=\n",
            "-9 path=a\n",
            "4 a\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse(b"6 k=v\n\0\0"), None);
    }

    #[test]
    fn the_last_record_of_a_key_counts() {
        let pax = Pax::parse(b"6 k=v\n6 k=w\n".to_vec()).unwrap();
        assert_eq!(pax.get(b"k"), Some(&b"w"[..]));
        assert_eq!(pax.get(b"l"), None);
    }

    #[test]
    fn times_are_cut_at_the_point() {
        for (text, whole) in [
            ("1424116800", Some(1_424_116_800)),
            ("1424116800.999999999", Some(1_424_116_800)),
            ("-1.5", Some(-1)),
            ("-0.5", Some(0)),
            ("5.", Some(5)),
            (".5", None),
            ("", None),
            ("1.x", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), whole, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_body_crashes_the_parser(body in "[0-9a =\n]{0,40}") {
            parse(body.as_bytes());
        }
    }
}
