//! What `checks/tar.rs` says, with what the fuzzer invents.
#![no_main]

#[path = "../checks/tar.rs"]
mod tar;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tar::check(bytes));
