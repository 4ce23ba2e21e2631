//! A registry in maps: the reference body.
