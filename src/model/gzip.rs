//! Gzip data, inflated as it comes: one member or several, one behind the other.
//!
//! What comes behind the last member must be another one, as for Go's reader: zeros and junk are
//! refused, and so is data whose checksum or length is wrong.

use crate::model::{Error, Result};
use flate2::write::MultiGzDecoder;
use std::io::{self, Write};

/// What gzip data begins with.
pub(in crate::model) const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Takes bytes that were inflated.
pub(in crate::model) trait Sink {
    /// The next bytes.
    fn take(&mut self, bytes: &[u8]);
}

/// How many bytes come out of anything, in seconds.
const INFLATED_BYTES_FREE: u64 = 4 << 30;
/// How many times as long as the data what comes out may be beyond that. Files that people pack come
/// to 50 or less, zeros to 1,000: a short file of those would keep a hasher busy for hours.
const INFLATED_RATIO_MAX: u64 = 200;

/// Inflates gzip data into a sink. Memory and time are bounded, whatever is fed.
#[derive(Debug)]
pub(in crate::model) struct Inflater<S: Sink> {
    decoder: MultiGzDecoder<Writer<S>>,
    fed_bytes: u64,
}

#[derive(Debug)]
struct Writer<S> {
    sink: S,
    taken_bytes: u64,
}

impl<S: Sink> Inflater<S> {
    /// Inflates into `sink`.
    pub(in crate::model) fn new(sink: S) -> Self {
        let decoder = MultiGzDecoder::new(Writer { sink, taken_bytes: 0 });
        Self { decoder, fed_bytes: 0 }
    }

    /// Inflates the next bytes.
    pub(in crate::model) fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.decoder.write_all(bytes).map_err(invalid)?;
        self.fed_bytes += bytes.len() as u64;
        check_ratio(self.fed_bytes, self.decoder.get_ref().taken_bytes)
    }

    /// Says that no more bytes come, and gives the sink back.
    pub(in crate::model) fn finish(self) -> Result<S> {
        self.decoder.finish().map(|writer| writer.sink).map_err(invalid)
    }
}

fn check_ratio(fed_bytes: u64, taken_bytes: u64) -> Result<()> {
    let limit = fed_bytes.saturating_mul(INFLATED_RATIO_MAX).max(INFLATED_BYTES_FREE);
    if taken_bytes <= limit {
        return Ok(());
    }
    let reason = format!("it inflates to more than {INFLATED_RATIO_MAX} times its length");
    Err(Error::GzipInvalid(reason))
}

impl<S: Sink> Write for Writer<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.take(bytes);
        self.taken_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn invalid(error: io::Error) -> Error {
    Error::GzipInvalid(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder, write::GzEncoder};
    use proptest::prelude::*;

    impl Sink for Vec<u8> {
        fn take(&mut self, bytes: &[u8]) {
            self.extend_from_slice(bytes);
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(data: &[u8], step: usize) -> Result<Vec<u8>> {
        let mut inflater = Inflater::new(Vec::new());
        for part in data.chunks(step) {
            inflater.update(part)?;
        }
        inflater.finish()
    }

    #[test]
    fn members_follow_each_other() {
        let data = [gzip(b"one"), gzip(b""), gzip(&[7; 100_000]), gzip(b"end")].concat();
        let expected = [&b"one"[..], &[7; 100_000], b"end"].concat();
        for step in [1, 2, 3, 7, 100, data.len()] {
            assert_eq!(inflate(&data, step).unwrap(), expected, "{step}");
        }
    }

    #[test]
    fn a_short_file_of_endless_zeros_is_refused() {
        assert!(check_ratio(10, INFLATED_BYTES_FREE).is_ok());
        assert!(check_ratio(100 << 20, 19 << 30).is_ok());
        let error = check_ratio(25 << 20, 24 << 30).unwrap_err();
        assert!(matches!(error, Error::GzipInvalid(_)), "{error}");
    }

    #[test]
    fn names_and_comments_are_skipped() {
        let builder = GzBuilder::new().filename("layer.tar").comment("none").extra(vec![1, 2, 3]);
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(b"body").unwrap();
        let data = encoder.finish().unwrap();
        assert_eq!(inflate(&data, 1).unwrap(), b"body");
    }

    #[test]
    fn what_is_cut_or_has_junk_behind_it_is_refused() {
        let data = gzip(b"some text, and some text again");
        for end in 0..data.len() {
            assert!(inflate(&data[..end], 5).is_err(), "{end}");
        }
        for junk in [&[0][..], &[0; 512], b"junk", &[0x1f], &[0x1f, 0x8b, 8, 0]] {
            let data = [&data, junk].concat();
            for step in [1, 7, data.len()] {
                assert!(inflate(&data, step).is_err(), "{step} {junk:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let text: Vec<u8> = (0..2000_u32).flat_map(|number| number.to_le_bytes()).collect();
            let mut data = gzip(&text);
            let at = at.index(data.len());
            data[at] ^= 1 << bit;
            // Time, flags and system in the header say nothing about the content, nor do the bits that fill
            // up the last byte before length and checksum.
            let is_idle = (4..10).contains(&at) || at == data.len() - 9;
            match inflate(&data, 1000) {
                Ok(inflated) => prop_assert!(is_idle && inflated == text, "{}", at),
                Err(error) => prop_assert!(matches!(error, Error::GzipInvalid(_)), "{error}"),
            }
        }

        #[test]
        fn no_bytes_crash_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let data = [&MAGIC[..], &bytes].concat();
            assert!(inflate(&data, 50).is_ok() || inflate(&data, 50).is_err());
        }
    }
}
