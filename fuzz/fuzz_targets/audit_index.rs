//! Fuzz target; its body and what it asserts are `jadeseal_fuzzing::audit_index::run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jadeseal_fuzzing::audit_index::run(data));
