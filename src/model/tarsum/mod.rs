//! TarSum: the sum by which registries of 2015 named layers.
//!
//! It says what files an archive holds, and not how the archive writes them: their order, padding,
//! what follows the end, PAX or GNU form do not count. So equal sums do not mean equal bytes, and
//! content is never stored by a TarSum alone.
//!
//! Each entry has a sum: a hash over its fields and its body. The sum of the archive is the hash
//! over these sums as hexadecimal text, in the order of `sort.rs`.
//!
//! Whatever an archiver writes has the sum that it had in 2015. Some archives that no archiver
//! writes had sums by accident, and are refused here: with PAX numbers that are none, and with sparse
//! maps whose pieces overlap, lie behind the end of their file, or have more bytes than are stored.
//! And a piece without bytes in the midst of a sparse file is nothing here; a registry of 2015
//! stopped reading there, without a word, and forgot the files from there on.

mod layer;
mod sort;
mod summer;

pub use layer::LayerSummer;
pub use summer::{ENTRIES_MAX, HOLE_BYTES_MAX, Summer, Sums};

/// Which fields of an entry count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The first: with the time of change, without extended attributes.
    V0,
    /// The one of the registry: without the time of change, with extended attributes.
    V1,
    /// What became the first version; it has always been computed as that.
    Dev,
}

/// What hashes entries and their sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// The usual one.
    Sha256,
    /// The other one that was known.
    Sha512,
}

impl Hash {
    /// Length of the hash in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

#[cfg(test)]
mod tests;
