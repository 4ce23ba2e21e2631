//! The TarSum of a layer, which may be compressed with gzip.

use crate::model::gzip::{Inflater, MAGIC, Sink};
use crate::model::tarsum::{Hash, Summer, Sums, Version};
use crate::model::{Digest, Error, Result};

/// Sums up a layer that is fed in pieces: a tar archive, or gzip data with one in it, which the
/// first bytes tell. TarSum itself inflates nothing: whoever asked for one did so before.
#[derive(Debug)]
pub struct LayerSummer(Input);

#[derive(Debug)]
enum Input {
    /// Too few bytes to tell, and these.
    Unknown(Version, Hash, Vec<u8>),
    Plain(Box<Summer>),
    Gzip(Box<Inflater<Summer>>),
    Refused(Error),
}

impl Sink for Summer {
    fn take(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl LayerSummer {
    /// Nothing summed up yet.
    pub fn new(version: Version, hash: Hash) -> Self {
        Self(Input::Unknown(version, hash, Vec::new()))
    }

    /// Sums up `bytes` behind what came before. What is wrong with them is said at the end.
    pub fn update(&mut self, bytes: &[u8]) {
        let result = match &mut self.0 {
            Input::Plain(summer) => return summer.update(bytes),
            Input::Gzip(inflater) => inflater.update(bytes),
            Input::Refused(_) => return,
            Input::Unknown(..) => return self.begin(bytes),
        };
        if let Err(error) = result {
            self.0 = Input::Refused(error);
        }
    }

    /// Looks at the first bytes.
    fn begin(&mut self, bytes: &[u8]) {
        let Input::Unknown(version, hash, first) = &mut self.0 else { return };
        let missing = bytes.len().min(MAGIC.len() - first.len());
        first.extend_from_slice(&bytes[..missing]);
        if first.len() < MAGIC.len() && MAGIC.starts_with(first) {
            return;
        }
        let first = std::mem::take(first);
        let summer = Summer::new(*version, *hash);
        self.0 = if first == MAGIC {
            Input::Gzip(Box::new(Inflater::new(summer)))
        } else {
            Input::Plain(Box::new(summer))
        };
        self.update(&first);
        self.update(&bytes[missing..]);
    }

    /// The TarSum of everything. Errors: `TarInvalid`, `GzipInvalid`.
    pub fn digest(self) -> Result<Digest> {
        self.finish().map(|sums| sums.digest(&[]))
    }

    /// The sums of all entries. Errors: `TarInvalid`, `GzipInvalid`.
    pub fn finish(self) -> Result<Sums> {
        match self.0 {
            Input::Unknown(version, hash, first) => {
                let mut summer = Summer::new(version, hash);
                summer.update(&first);
                summer.finish()
            }
            Input::Plain(summer) => summer.finish(),
            Input::Gzip(inflater) => inflater.finish()?.finish(),
            Input::Refused(error) => Err(error),
        }
    }
}
