//! What `checks/texts.rs` says, with what the fuzzer invents.
#![no_main]

#[path = "../checks/texts.rs"]
mod texts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| texts::check(bytes));
