//! What `checks/store.rs` says, with what the fuzzer invents.
#![no_main]

#[path = "../checks/store.rs"]
mod store;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| store::check(bytes));
